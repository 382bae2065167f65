"""Message types of bags without a ROS installation, and masks written as a bag."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import Writer
from rosbags.rosbag2.enums import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from instructseg_ros.model.tasks import Task, choose_task
from instructseg_ros.streaming.segmentation import Segmentation, State
from instructseg_ros.video.frame import NANO, Place
from instructseg_ros.video.record import Line

Image = 'sensor_msgs/msg/Image'
CompressedImage = 'sensor_msgs/msg/CompressedImage'
SegmentationMessage = 'instructseg_ros/msg/Segmentation'


@lru_cache(maxsize=1)
def standard_types() -> Typestore:
    """The standard messages, the same from Humble to Kilted."""
    return get_typestore(Stores.ROS2_HUMBLE)


@lru_cache(maxsize=1)
def all_types() -> Typestore:
    """The standard messages, and the Segmentation of this package."""
    types = get_typestore(Stores.ROS2_HUMBLE)
    types.register(get_types_from_msg(_definition(), SegmentationMessage))
    return types


def mask_message(mask: np.ndarray, place: Place) -> Any:
    """(H, W) bool -> mono8, 255 where it is true, with the header of its frame."""
    height, width = mask.shape
    return all_types().types[Image](
        header=_header(place),
        height=height,
        width=width,
        encoding='mono8',
        is_bigendian=0,
        step=width,
        data=mask.astype(np.uint8).ravel() * np.uint8(255),
    )


def segmentation_message(result: Segmentation, place: Place, *, final: bool) -> Any:
    """Return an answer as the node publishes it; its times are those of its frame."""
    types = all_types().types
    found = result.state is State.FOUND and result.mask is not None
    mask = result.mask if found and result.mask is not None else np.zeros((0, 0), bool)
    left, top, width, height = result.region
    text = result.instruction.text
    time, zero = _time(place.stamp), types['builtin_interfaces/msg/Duration'](sec=0, nanosec=0)
    return types[SegmentationMessage](
        header=_header(place),
        camera='',
        command_id=text,
        instruction=text,
        task=int(
            choose_task(text) if result.instruction.task is Task.AUTO else result.instruction.task
        ),
        state=int(result.state),
        reason=result.reason,
        score=result.score,
        mask=mask_message(mask, place),
        region_of_interest=types['sensor_msgs/msg/RegionOfInterest'](
            x_offset=left, y_offset=top, width=width, height=height, do_rectify=False
        ),
        area=result.pixels,
        reference_frames=result.reference_frames,
        source=int(result.source),
        track_id=result.track_id,
        mask_age=zero,
        received=time,
        started=time,
        finished=time,
        latency=zero,
        dropped=0,
        final=final,
    )


def _header(place: Place) -> Any:
    return all_types().types['std_msgs/msg/Header'](
        stamp=_time(place.stamp), frame_id=place.frame_id
    )


def _time(nanoseconds: int) -> Any:
    seconds, rest = divmod(nanoseconds, NANO)
    return all_types().types['builtin_interfaces/msg/Time'](sec=seconds, nanosec=rest)


def _definition() -> str:
    """Text of Segmentation.msg: of a checkout, else of what was installed with this package."""
    package = Path(__file__).resolve().parents[1]
    files = [
        package.parent / 'msg' / 'Segmentation.msg',
        *(
            prefix / 'share' / package.name / 'msg' / 'Segmentation.msg'
            for prefix in package.parents
        ),
    ]
    for file in files:
        if file.is_file():
            return file.read_text()
    raise FileNotFoundError(
        f'share/{package.name}/msg/Segmentation.msg is not there: install {package.name} again'
    )


TOPIC = '/segmentation'


def write_bag(lines: Iterable[Line], names: Sequence[str], bag: Path, *, frames: int) -> None:
    """Write a bag (MCAP) of the instructions of those names.

    On `/segmentation` are all answers as the node publishes them, on `/mask/NAME` the masks of an
    instruction (mono8; all 0 unless FOUND). Headers and times are those of the images.

    Args:
        lines: Of all frames.
        names: For each instruction.
        bag: A folder; what is in it is deleted, a bag cannot be appended to.
        frames: How many lines there are.
    """
    shutil.rmtree(bag)
    types = all_types()
    writer = Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with writer:
        answers = writer.add_connection(TOPIC, SegmentationMessage, typestore=types)
        masks = [writer.add_connection(f'/mask/{name}', Image, typestore=types) for name in names]
        for line in lines:
            time, final = line.place.recorded, line.frame == frames - 1
            for result, topic in zip(line.segmentations(), masks, strict=True):
                assert result.mask is not None
                answer = segmentation_message(result, line.place, final=final)
                mask = mask_message(result.mask, line.place)
                writer.write(answers, time, types.serialize_cdr(answer, SegmentationMessage))
                writer.write(topic, time, types.serialize_cdr(mask, Image))
