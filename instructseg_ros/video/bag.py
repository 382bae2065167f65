"""A bag (a folder of rosbag2, or an .mcap or .db3 file) as a source of frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rosbags.rosbag2 import Reader

from instructseg_ros.streaming.bit_depth import BitDepth
from instructseg_ros.video.bag_image import read_image
from instructseg_ros.video.frame import NANO, Place, SourceError, VideoFrame
from instructseg_ros.video.messages import CompressedImage, Image

if TYPE_CHECKING:
    from rosbags.interfaces import Connection


class Bag:
    """The images of one topic of a bag."""

    def __init__(self, path: Path, *, topic: str | None = None) -> None:
        """Look at the bag's topics; None chooses the only topic of images.

        Raises:
            SourceError: It cannot be read, has no such topic, or several to choose from.
        """
        self.path = path
        with self._open() as reader:
            images = [connection for connection in reader.connections
                      if connection.msgtype in (Image, CompressedImage) and connection.msgcount]
            self.topic = self._choose(images, topic)
            self.count: int | None = sum(
                connection.msgcount for connection in images if connection.topic == self.topic)

    def read(self, since: int = 0) -> Iterator[VideoFrame]:
        """Yield the images logged at `since` (ns) or later.

        Raises:
            SourceError: An image, or the bag, cannot be read.
        """
        bits = BitDepth()
        with self._open() as reader:
            chosen = [connection for connection in reader.connections
                      if connection.topic == self.topic
                      and connection.msgtype in (Image, CompressedImage)]
            for connection, logged, raw in reader.messages(chosen, start=since or None):
                header, image = read_image(bytes(raw), connection.msgtype, bits)
                stamp = header.stamp.sec * NANO + header.stamp.nanosec
                # Some drivers leave the stamp 0, and time would stand still.
                yield VideoFrame(image=image, place=Place(
                    stamp=stamp or logged, recorded=logged, frame_id=header.frame_id))

    @contextmanager
    def _open(self) -> Iterator[Reader]:
        try:
            with Reader(self.path) as reader:
                yield reader
        except SourceError as error:
            raise SourceError(f'{self.path}: {error}') from error
        except Exception as error:  # a damaged bag makes the reader raise almost anything
            raise SourceError(
                f'{self.path} cannot be read as a bag: {error}; was its recording cut off? '
                f'`ros2 bag reindex` mends that') from error

    def _choose(self, images: Sequence[Connection], topic: str | None) -> str:
        topics = {connection.topic: connection for connection in images}
        if topic is None and len(topics) == 1:
            return next(iter(topics))
        if topic in topics:
            return topic
        listed = ', '.join(f'{name} ({one.msgcount} of {one.msgtype.split("/")[-1]})'
                           for name, one in sorted(topics.items()))
        if not topics:
            raise SourceError('no topic of it holds images')
        if topic is None:
            raise SourceError(f'it has several topics of images, name one with --topic: {listed}')
        raise SourceError(f'it has no images on "{topic}", name with --topic one of: {listed}')
