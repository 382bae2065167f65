"""Reads frames from a rosbag2 recording, without a ROS installation."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from instructseg_ros.streaming.encodings import (
    BitDepth,
    ConversionError,
    decode_image,
    decode_labels,
)
from instructseg_ros.streaming.image_files import decode_compressed
from instructseg_ros.video.bag_messages import CompressedImage, Image, standard_types
from instructseg_ros.video.bag_reader import BagReader, Topic
from instructseg_ros.video.frame import NANO, Place, SourceError, VideoFrame, readable
from instructseg_ros.video.source import storage_files


def read_image(raw: bytes, kind: str, bits: BitDepth | None = None) -> tuple[Any, np.ndarray]:
    """Return the header and the (H, W, 3) uint8 RGB pixels of a serialised message.

    Args:
        raw: The message.
        kind: Its type.
        bits: How many of 16 bits the camera uses, as for `decode_image`.

    Raises:
        SourceError: The message contradicts itself, or its encoding is not known.
    """
    message = _deserialized(raw, kind)
    try:
        if kind == CompressedImage:
            return message.header, decode_compressed(message.data, message.format, bits)
        return message.header, decode_image(message, bits)
    except ConversionError as error:
        raise SourceError(f'an image cannot be read ({error})') from error


def read_labels(raw: bytes, kind: str) -> np.ndarray:
    """Return the (H, W) numbers of a serialised label image, as for `decode_labels`.

    Raises:
        SourceError: The message is damaged, or no label image.
    """
    try:
        return decode_labels(_deserialized(raw, kind))
    except ConversionError as error:
        raise SourceError(f'a label image cannot be read ({error})') from error


def read_header(raw: bytes, kind: str) -> Any:
    """Return the header of a serialised message.

    Raises:
        SourceError: The message is damaged.
    """
    return _deserialized(raw, kind).header


def _deserialized(raw: bytes, kind: str) -> Any:
    try:
        return standard_types().deserialize_cdr(raw, kind)
    except Exception as error:  # A damaged message makes rosbags raise almost anything.
        raise SourceError(f'a message is damaged ({error})') from error


LOOK_AT = 100  # images; a camera whose stamps are all 0 in so many has no clock


class Bag:
    """The images of one topic of a bag."""

    def __init__(self, path: Path, *, topic: str | None = None) -> None:
        """Look at the bag's topics; None chooses the only topic of images.

        Raises:
            SourceError: It cannot be read, has no such topic, or several to choose from.
        """
        self.path = path
        self.files: Sequence[Path] = storage_files(path) if path.is_dir() else [path]
        with BagReader(path) as bag:
            images = [
                each
                for each in bag.connections
                if each.msgtype in (Image, CompressedImage) and each.msgcount
            ]
            self.topic = self._choose(images, topic)
            self._images = [each for each in images if each.topic == self.topic]
            self.count: int | None = sum(each.msgcount for each in self._images)
            self._is_stamped = any(self._first_stamps(bag))

    def read(self, since: int = 0, bits: int = 8) -> Iterator[VideoFrame]:
        """Yield the images logged at `since` (ns) or later; report those that cannot be read.

        Raises:
            SourceError: No image, or the bag, can be read.
        """
        depth = BitDepth(bits)
        with BagReader(self.path) as bag:
            yield from readable(
                partial(self._frame, raw, image.msgtype, logged, depth)
                for image, logged, raw in bag.messages(self._images, start=since or None)
            )

    def _frame(self, raw: bytes, kind: str, logged: int, depth: BitDepth) -> VideoFrame:
        try:
            header, image = read_image(raw, kind, depth)
        except SourceError as error:
            raise SourceError(
                f'{self.path}, {self.topic}: {error}; if no image of this topic can '
                f'be read, choose another one with --topic'
            ) from error
        stamp = header.stamp.sec * NANO + header.stamp.nanosec
        return VideoFrame(
            image=image,
            place=Place(
                stamp=stamp if self._is_stamped else logged,
                recorded=logged,
                frame_id=header.frame_id,
                bits=depth.bits,
            ),
        )

    def _first_stamps(self, bag: BagReader) -> Iterator[int]:
        """Yield the first stamps: simulated time begins at 0, and some drivers leave them 0."""
        for image, _, raw in itertools.islice(bag.messages(self._images), LOOK_AT):
            try:
                stamp = read_header(raw, image.msgtype).stamp
            except SourceError:  # Reported when the images are read.
                continue
            yield stamp.sec * NANO + stamp.nanosec

    def _choose(self, images: Sequence[Topic], topic: str | None) -> str:
        topics = {connection.topic: connection for connection in images}
        if topic is None and len(topics) == 1:
            return next(iter(topics))
        if topic in topics:
            return topic
        listed = ', '.join(
            f'{name} ({one.msgcount} of {one.msgtype.split("/")[-1]})'
            for name, one in sorted(topics.items())
        )
        if not topics:
            raise SourceError(f'{self.path}: no topic of it holds images')
        if topic is None:
            raise SourceError(
                f'{self.path} has several topics of images, name one with --topic: {listed}'
            )
        raise SourceError(
            f'{self.path} has no images on "{topic}", name with --topic one of: {listed}'
        )
