"""The pixels of a serialised sensor_msgs/Image or CompressedImage, without a ROS installation."""

from __future__ import annotations

from typing import Any

import numpy as np

from instructseg_ros.streaming.bit_depth import BitDepth
from instructseg_ros.streaming.compressed import decode
from instructseg_ros.streaming.encodings import ConversionError, labels_of, pixels_of
from instructseg_ros.video.frame import SourceError
from instructseg_ros.video.messages import CompressedImage, standard_types


def read_image(raw: bytes, kind: str, bits: BitDepth | None = None) -> tuple[Any, np.ndarray]:
    """Return the header and the (H, W, 3) uint8 RGB pixels of a serialised message.

    Args:
        raw: The message.
        kind: Its type.
        bits: How many of 16 bits the camera uses, as for `pixels_of`.

    Raises:
        SourceError: The message contradicts itself, or its encoding is not known.
    """
    message = _deserialized(raw, kind)
    try:
        if kind == CompressedImage:
            return message.header, decode(message.data, message.format, bits)
        return message.header, pixels_of(message, bits)
    except ConversionError as error:
        raise SourceError(f'an image cannot be read ({error})') from error


def read_labels(raw: bytes, kind: str) -> np.ndarray:
    """Return the (H, W) numbers of a serialised label image, as for `labels_of`.

    Raises:
        SourceError: The message is damaged, or no label image.
    """
    try:
        return labels_of(_deserialized(raw, kind))
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
