"""Observations as ROS 2 messages of a rosbag2 file, without a ROS installation."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

from instructseg_ros.simulation.camera import Intrinsics
from instructseg_ros.simulation.scene_graph import SceneGraph, from_json, to_json
from instructseg_ros.simulation.tabletop import Observation

FRAME_ID = 'camera_optical_frame'
LABELS = '/camera/truth/labels'
TOPICS = {
    '/camera/image': 'sensor_msgs/msg/Image',
    '/camera/camera_info': 'sensor_msgs/msg/CameraInfo',
    '/camera/depth/image': 'sensor_msgs/msg/Image',
    LABELS: 'sensor_msgs/msg/Image',
    '/camera/scene': 'std_msgs/msg/String',
}


@lru_cache(maxsize=1)
def typestore() -> Typestore:
    """The standard messages, the same from Humble to Kilted."""
    return get_typestore(Stores.ROS2_HUMBLE)


def _header(nanoseconds: int) -> Any:
    types = typestore().types
    second, rest = divmod(nanoseconds, 10**9)
    stamp = types['builtin_interfaces/msg/Time'](sec=second, nanosec=rest)
    return types['std_msgs/msg/Header'](stamp=stamp, frame_id=FRAME_ID)


def _image(pixels: np.ndarray, encoding: str, header: Any) -> Any:
    height, width = pixels.shape[:2]
    data = np.frombuffer(np.ascontiguousarray(pixels).tobytes(), np.uint8)
    return typestore().types['sensor_msgs/msg/Image'](
        header=header, height=height, width=width, encoding=encoding, is_bigendian=0,
        step=len(data) // height, data=data)  # fmt: skip


def _camera_info(k: Intrinsics, header: Any) -> Any:
    types = typestore().types
    region = types['sensor_msgs/msg/RegionOfInterest'](
        x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)  # fmt: skip
    matrix = np.array([[k.fx, 0.0, k.cx], [0.0, k.fy, k.cy], [0.0, 0.0, 1.0]])
    projection = np.column_stack([matrix, np.zeros(3)])
    return types['sensor_msgs/msg/CameraInfo'](
        header=header, height=k.height, width=k.width, distortion_model='plumb_bob',
        d=np.zeros(5), k=matrix.ravel(), r=np.eye(3).ravel(), p=projection.ravel(), binning_x=0,
        binning_y=0, roi=region)  # fmt: skip


def to_messages(seen: Observation, nanoseconds: int, scene: int) -> dict[str, bytes]:
    """The serialised messages of a frame with truth, by topic; depth as 16UC1 in mm."""
    assert seen.depth is not None and seen.labels is not None
    header = _header(nanoseconds)
    depth = np.rint(1000 * seen.depth).astype(np.uint16)
    graph = to_json(seen.graph, stamp=nanoseconds, scene=scene, time=seen.time)
    messages = {
        '/camera/image': _image(seen.rgb, 'rgb8', header),
        '/camera/camera_info': _camera_info(seen.intrinsics, header),
        '/camera/depth/image': _image(depth, '16UC1', header),
        LABELS: _image(seen.labels, 'mono8', header),
        '/camera/scene': typestore().types['std_msgs/msg/String'](data=graph),
    }
    return {topic: bytes(typestore().serialize_cdr(message, TOPICS[topic]))
            for topic, message in messages.items()}  # fmt: skip


def _pixels(raw: bytes, kind: Any, channels: int) -> np.ndarray:
    message: Any = typestore().deserialize_cdr(raw, 'sensor_msgs/msg/Image')
    shape = (message.height, message.width, channels)[: 3 if channels > 1 else 2]
    return np.frombuffer(message.data.tobytes(), kind).reshape(shape)


def from_messages(raw: dict[str, bytes], time: float, *, truth: bool) -> Observation:
    """The observation of one frame's serialised messages; without truth only its picture."""
    topic = '/camera/camera_info'
    info: Any = typestore().deserialize_cdr(raw[topic], TOPICS[topic])
    fx, cx, fy, cy = (float(info.k[i]) for i in (0, 2, 4, 5))
    depth, labels = None, None
    graph: SceneGraph = ()
    if truth:
        depth = _pixels(raw['/camera/depth/image'], np.uint16, 1) * np.float32(1e-3)
        labels = _pixels(raw[LABELS], np.uint8, 1)
        text: Any = typestore().deserialize_cdr(raw['/camera/scene'], TOPICS['/camera/scene'])
        graph = from_json(text.data)
    return Observation(
        rgb=_pixels(raw['/camera/image'], np.uint8, 3),
        depth=depth,
        labels=labels,
        graph=graph,
        intrinsics=Intrinsics(fx=fx, fy=fy, cx=cx, cy=cy, width=info.width, height=info.height),
        time=time,
    )
