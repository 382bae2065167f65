"""Small videos, folders and bags, and a model that needs no weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from channel_model import SETTINGS, ChannelModel
from PIL import Image
from rosbags.rosbag2 import Writer
from rosbags.rosbag2.enums import StoragePlugin

from instructseg_ros.streaming.schedule import EngineSettings
from instructseg_ros.video.bag import standard_types

TYPES = standard_types()


@pytest.fixture
def make_model() -> Callable[..., ChannelModel]:
    return ChannelModel


@pytest.fixture
def settings() -> EngineSettings:
    return SETTINGS


def draw_image(number: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """A red square that moves right over a darkening ground; away on every seventh image."""
    image = np.full((*size, 3), 2 * (number % 40), np.uint8)
    if number % 7 != 6:
        left = number % (size[1] - 12)
        image[8:20, left : left + 12] = (240, 10, 10)
    return image


@pytest.fixture
def make_images() -> Callable[[int], list[np.ndarray]]:
    return lambda count: [draw_image(number) for number in range(count)]


@pytest.fixture
def write_video() -> Callable[..., Path]:
    def write(
        file: Path,
        images: Iterable[np.ndarray],
        times: Sequence[float] | None = None,
        *,
        rotation: int = 0,
        gop: int = 12,
    ) -> Path:
        """An mp4 of images shown at some times (s), at 30 Hz if None."""
        with av.open(str(file), 'w') as container:
            stream = container.add_stream('libx264', rate=30, options={'crf': '10'})
            stream.pix_fmt = 'yuv420p'
            stream.codec_context.gop_size = gop
            stream.codec_context.time_base = Fraction(1, 1000)
            for number, image in enumerate(images):
                if not number:
                    stream.height, stream.width = image.shape[:2]
                    stream.set_display_rotation(rotation)
                frame = av.VideoFrame.from_ndarray(image, format='rgb24')
                frame.pts = round(1000 * (times[number] if times else number / 30))
                frame.time_base = Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return file

    return write


@pytest.fixture
def cut_video() -> Callable[..., Path]:
    def cut(video: Path, target: Path, share: float) -> Path:
        """The first part of a video whose index comes first, so that the rest can be read."""
        with (
            av.open(str(video)) as source,
            av.open(str(target), 'w', options={'movflags': 'faststart'}) as whole,
        ):
            stream = whole.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    whole.mux(packet)
        content = target.read_bytes()
        target.write_bytes(content[: round(share * len(content))])
        return target

    return cut


@pytest.fixture
def write_folder() -> Callable[..., Path]:
    def write(folder: Path, images: Iterable[np.ndarray], name: str = 'frame{}.png') -> Path:
        folder.mkdir()
        for number, image in enumerate(images):
            Image.fromarray(image).save(folder / name.format(number))
        return folder

    return write


def header(stamp: int, frame_id: str = 'camera') -> Any:
    second, rest = divmod(stamp, 10**9)
    time = TYPES.types['builtin_interfaces/msg/Time'](sec=second, nanosec=rest)
    return TYPES.types['std_msgs/msg/Header'](stamp=time, frame_id=frame_id)


@pytest.fixture
def image_message() -> Callable[..., Any]:
    def make(
        pixels: np.ndarray,
        stamp: int = 0,
        *,
        encoding: str = 'rgb8',
        padding: int = 0,
        big: bool = False,
    ) -> Any:
        """A sensor_msgs/Image of (H, W, C) or (H, W) pixels, rows padded by some bytes."""
        rows = np.frombuffer(np.ascontiguousarray(pixels).tobytes(), np.uint8)
        rows = np.pad(rows.reshape(len(pixels), -1), ((0, 0), (0, padding)), constant_values=77)
        return TYPES.types['sensor_msgs/msg/Image'](
            header=header(stamp),
            height=pixels.shape[0],
            width=pixels.shape[1],
            encoding=encoding,
            is_bigendian=int(big),
            step=rows.shape[1],
            data=rows.ravel(),
        )

    return make


@pytest.fixture
def compressed_message() -> Callable[..., Any]:
    def make(data: bytes, stamp: int = 0, *, format: str = 'rgb8; jpeg compressed bgr8') -> Any:
        return TYPES.types['sensor_msgs/msg/CompressedImage'](
            header=header(stamp), format=format, data=np.frombuffer(data, np.uint8)
        )

    return make


@pytest.fixture
def write_bag() -> Callable[..., Path]:
    def write(bag: Path, messages: Sequence[tuple[str, int, Any]], *, mcap: bool = True) -> Path:
        """A bag of (topic, log time in ns, message)."""
        plugin = StoragePlugin.MCAP if mcap else StoragePlugin.SQLITE3
        with Writer(bag, version=9, storage_plugin=plugin) as writer:
            connections: dict[str, Any] = {}
            for topic, time, message in messages:
                kind = message.__msgtype__
                if topic not in connections:
                    connections[topic] = writer.add_connection(topic, kind, typestore=TYPES)
                writer.write(connections[topic], time, TYPES.serialize_cdr(message, kind))
        return bag

    return write
