"""Records simulated scenes to a rosbag2 file (MCAP) and plays them back.

`python -m instructseg_ros.tabletop.world.recording` makes a recording. Half a minute of 640x480
color, depth and labels at 15 Hz takes a few megabytes: colors are rounded to six bits and depth to
4 mm, and zstd compresses chunks of many frames, in which most pixels do not change.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import Writer
from rosbags.rosbag2.enums import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2.storage_mcap import McapWriter, zstd

from instructseg_ros import interruption
from instructseg_ros.spatial.pinhole import Pinhole
from instructseg_ros.tabletop.world.scene_graph import SceneGraph, from_json, to_json
from instructseg_ros.tabletop.world.simulator import Observation, Tabletop
from instructseg_ros.video.bag import decode_message, open_storage, standard_types
from instructseg_ros.video.source import SourceError

FRAME_ID = 'camera_optical_frame'
LABELS = '/camera/truth/labels'
TOPICS = {
    '/camera/image': 'sensor_msgs/msg/Image',
    '/camera/camera_info': 'sensor_msgs/msg/CameraInfo',
    '/camera/depth/image': 'sensor_msgs/msg/Image',
    LABELS: 'sensor_msgs/msg/Image',
    '/camera/scene': 'std_msgs/msg/String',
}
# Topic of the label images in the shipped recording.
PLAIN_LABELS = '/camera/labels'
SHIPPED = Path(__file__).parent / 'recordings' / 'tabletop.mcap'
RECORDED_SCENES = (684, 1749, 2191, 2422)
SCENE_SECONDS = 8.0
CHUNK = 24 * 2**20
LEVEL, WINDOW = 19, 26


def _header(nanoseconds: int) -> Any:
    types = standard_types().types
    second, rest = divmod(nanoseconds, 10**9)
    stamp = types['builtin_interfaces/msg/Time'](sec=second, nanosec=rest)
    return types['std_msgs/msg/Header'](stamp=stamp, frame_id=FRAME_ID)


def _image(pixels: np.ndarray, encoding: str, header: Any) -> Any:
    height, width = pixels.shape[:2]
    data = np.frombuffer(np.ascontiguousarray(pixels).tobytes(), np.uint8)
    return standard_types().types['sensor_msgs/msg/Image'](
        header=header,
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=len(data) // height,
        data=data,
    )


def _camera_info(k: Pinhole, header: Any) -> Any:
    types = standard_types().types
    region = types['sensor_msgs/msg/RegionOfInterest'](
        x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
    )
    matrix = np.array([[k.fx, 0.0, k.cx], [0.0, k.fy, k.cy], [0.0, 0.0, 1.0]])
    projection = np.column_stack([matrix, np.zeros(3)])
    return types['sensor_msgs/msg/CameraInfo'](
        header=header,
        height=k.height,
        width=k.width,
        distortion_model='plumb_bob',
        d=np.zeros(5),
        k=matrix.ravel(),
        r=np.eye(3).ravel(),
        p=projection.ravel(),
        binning_x=0,
        binning_y=0,
        roi=region,
    )


def to_messages(seen: Observation, nanoseconds: int, scene: int) -> dict[str, bytes]:
    """Serialise an observation as one message per topic; depth becomes 16UC1 in mm."""
    assert seen.depth is not None and seen.labels is not None
    header = _header(nanoseconds)
    depth = np.rint(1000 * seen.depth).astype(np.uint16)
    graph = to_json(seen.graph, stamp=nanoseconds, scene=scene, time=seen.time)
    messages = {
        '/camera/image': _image(seen.rgb, 'rgb8', header),
        '/camera/camera_info': _camera_info(seen.pinhole, header),
        '/camera/depth/image': _image(depth, '16UC1', header),
        LABELS: _image(seen.labels, 'mono8', header),
        '/camera/scene': standard_types().types['std_msgs/msg/String'](data=graph),
    }
    return {
        topic: bytes(standard_types().serialize_cdr(message, TOPICS[topic]))
        for topic, message in messages.items()
    }


def _pixels(raw: bytes, dtype: type, channels: int) -> np.ndarray:
    message: Any = decode_message(raw, 'sensor_msgs/msg/Image')
    shape = (message.height, message.width, channels)[: 3 if channels > 1 else 2]
    return np.frombuffer(message.data.tobytes(), dtype).reshape(shape)


def from_messages(raw: dict[str, bytes], time: float, *, truth: bool) -> Observation:
    """Deserialise an observation; without `truth`, only its image and camera."""
    topic = '/camera/camera_info'
    info: Any = decode_message(raw[topic], TOPICS[topic])
    fx, cx, fy, cy = (float(info.k[i]) for i in (0, 2, 4, 5))
    depth, labels = None, None
    graph: SceneGraph = ()
    if truth:
        depth = _pixels(raw['/camera/depth/image'], np.uint16, 1) * np.float32(1e-3)
        labels = _pixels(raw[LABELS], np.uint8, 1)
        text: Any = decode_message(raw['/camera/scene'], TOPICS['/camera/scene'])
        graph = from_json(text.data)
    return Observation(
        rgb=_pixels(raw['/camera/image'], np.uint8, 3),
        depth=depth,
        labels=labels,
        graph=graph,
        pinhole=Pinhole(fx=fx, fy=fy, cx=cx, cy=cy, width=info.width, height=info.height),
        time=time,
    )


class RecordingError(RuntimeError):
    """A recording is missing or unreadable; the message says how to fix it."""


class Recording:
    """Plays a recording in an endless loop, like a `Tabletop`; iterating yields a single pass.

    The file is a rosbag2 MCAP file with the topics of TOPICS, in which all messages of a frame have
    one log time. Reading forward is fast; a jump back or far ahead opens another chunk (0.1 s).

    Raises:
        RecordingError: The file is missing, truncated or not such a recording.
    """

    def __init__(self, path: Path | str = SHIPPED) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise RecordingError(
                f'no recording at {self.path}: make one with '
                '`python -m instructseg_ros.tabletop.world.recording`'
            )
        try:
            self._reader = open_storage(self.path)
        except SourceError as error:
            raise RecordingError(f'{self.path} is not a readable MCAP file: {error}') from error
        self._names: dict[str, str] = {}
        self._index()
        self._offset = 0.0
        self._frames, self._next = self._read(0), 0
        self._frame: dict[str, bytes] = {}

    def _index(self) -> None:
        topics = self._reader.topics
        if LABELS not in topics and PLAIN_LABELS in topics:
            self._names[PLAIN_LABELS] = LABELS
        known = {self._names.get(topic, topic) for topic in topics}
        missing = [topic for topic in TOPICS if topic not in known]
        self.frames = 0 if missing else topics['/camera/image'].msgcount
        if not self.frames:
            lacking = ', '.join(missing) or 'images'
            raise RecordingError(f'{self.path} is not a recorded tabletop: no {lacking}')
        span = self._reader.end_time - 1 - self._reader.start_time
        self._step = span / max(1, self.frames - 1)
        self.rate = round(1e9 / self._step, 6) if self.frames > 1 else 1.0
        self.duration = self.frames / self.rate

    def reset(self, seed: int) -> None:
        """Let time 0 be the start of recorded scene `seed` modulo the number of scenes."""
        scenes = max(1, round(self.duration / SCENE_SECONDS))
        self._offset = (seed % scenes) * SCENE_SECONDS

    def observe(self, time: float, *, truth: bool = True) -> Observation:
        """Return the frame at `time` seconds; the recording repeats in both directions."""
        number = math.floor((time + self._offset) * self.rate + 1e-6) % self.frames
        return from_messages(self._seek(number), float(time), truth=truth)

    def __iter__(self) -> Iterator[Observation]:
        """Yield all frames once, with ground truth."""
        for number, raw in enumerate(self._read(0)):
            yield from_messages(raw, number / self.rate, truth=True)

    def __len__(self) -> int:
        return self.frames

    def _seek(self, number: int) -> dict[str, bytes]:
        shown = self._next - 1
        if not max(0, shown) <= number < shown + self.rate:
            self._frames, self._next = self._read(number), number
        while self._next <= number:
            self._frame = next(self._frames)
            self._next += 1
        return self._frame

    def _read(self, first: int) -> Iterator[dict[str, bytes]]:
        start = self._reader.start_time + round((first - 0.5) * self._step)
        messages = self._reader.messages(start=start)
        for _, group in groupby(messages, key=lambda message: message[1]):
            yield {
                self._names.get(connection.topic, connection.topic): data
                for connection, _, data in group
            }

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        if self._reader.is_open:
            self._reader.close()

    def __enter__(self) -> Recording:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


class _LongChunks(McapWriter):
    """The MCAP writer of rosbags with chunks of many frames, each compressed as a whole."""

    def __init__(self, path: Path, compression: CompressionMode) -> None:
        super().__init__(path, compression)
        self._last = False
        parameter = zstd.CompressionParameter
        options: dict[int, int] = {
            parameter.compression_level: LEVEL,
            parameter.window_log: WINDOW,
            parameter.enable_long_distance_matching: 1,
        }
        self.compressor = lambda data: zstd.compress(data, options=options)

    def close_chunk(self) -> None:
        if self._last or self.chunk.bio.tell() > CHUNK:
            super().close_chunk()

    def close(self, version: int, metadata: str) -> None:
        self._last = True
        super().close(version, metadata)


class _BagWriter(Writer):
    STORAGE_PLUGINS = {StoragePlugin.MCAP: _LongChunks}


def quantized(seen: Observation) -> Observation:
    """Return the observation with colors in steps of 4 and depth in steps of 4 mm."""
    assert seen.depth is not None
    depth = np.rint(seen.depth * 250).astype(np.float32) / 250
    return replace(seen, rgb=(seen.rgb & 0xFC) | 2, depth=depth)


def render_frames(
    scenes: Sequence[int], *, seconds: float, rate: float, width: int, height: int
) -> Iterator[tuple[int, Observation]]:
    """Render `seconds` of each scene at `rate` frames/s; yield the seed and the frame each time."""
    with Tabletop(width=width, height=height, seed=scenes[0]) as tabletop:
        for scene in scenes:
            tabletop.reset(scene)
            for number in range(round(seconds * rate)):
                yield scene, quantized(tabletop.observe(number / rate))


def record(
    path: Path,
    *,
    scenes: Sequence[int] = RECORDED_SCENES,
    seconds: float = SCENE_SECONDS,
    rate: float = 15.0,
    width: int = 640,
    height: int = 480,
) -> None:
    """Record scenes one after the other; an existing file is replaced."""
    with tempfile.TemporaryDirectory() as folder:
        bag = Path(folder) / 'tabletop'
        writer = _BagWriter(bag, version=9, storage_plugin=StoragePlugin.MCAP)
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        with writer:
            connections = {
                topic: writer.add_connection(topic, message_type, typestore=standard_types())
                for topic, message_type in TOPICS.items()
            }
            taken = render_frames(scenes, seconds=seconds, rate=rate, width=width, height=height)
            for number, (scene, seen) in enumerate(taken):
                stamp = 10**9 + round(number * 1e9 / rate)
                for topic, data in to_messages(seen, stamp, scene).items():
                    writer.write(connections[topic], stamp, data)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(bag / 'tabletop.mcap', path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Record to a file and return the exit status."""
    interruption.raise_again()
    parser = argparse.ArgumentParser(
        prog='python -m instructseg_ros.tabletop.world.recording',
        description='Record simulated scenes with ground truth to a rosbag2 file.',
    )
    parser.add_argument(
        '--output',
        type=Path,
        default=SHIPPED,
        help='.mcap file to write (default: the one in the package)',
    )
    parser.add_argument(
        '--scenes', type=int, nargs='+', default=list(RECORDED_SCENES), help='seeds of the scenes'
    )
    parser.add_argument('--rate', type=float, default=15.0, help='frames per second')
    options = parser.parse_args(arguments)
    try:
        record(options.output, scenes=options.scenes, rate=options.rate)
    except KeyboardInterrupt:
        return 130
    size = options.output.stat().st_size
    sys.stdout.write(f'{options.output}: {size / 1e6:.1f} MB\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
