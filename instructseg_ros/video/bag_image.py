"""The pixels of a serialised sensor_msgs/Image or CompressedImage, without a ROS installation."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image as Pictures

from instructseg_ros.streaming.encodings import ConversionError, pixels_of
from instructseg_ros.video.frame import SourceError
from instructseg_ros.video.messages import CompressedImage, standard_types


def read_image(raw: bytes, kind: str) -> tuple[Any, np.ndarray]:
    """Return the header and the (H, W, 3) uint8 RGB pixels of a serialised message.

    Raises:
        SourceError: The message contradicts itself, or its encoding is not known.
    """
    message: Any = standard_types().deserialize_cdr(raw, kind)
    pixels = _decompress(message) if kind == CompressedImage else _pixels(message)
    return message.header, pixels


def _pixels(message: Any) -> np.ndarray:
    try:
        return pixels_of(message)
    except ConversionError as error:
        raise SourceError(
            f'an image cannot be read ({error}); choose another topic with --topic') from error


def _decompress(message: Any) -> np.ndarray:
    try:
        with Pictures.open(io.BytesIO(message.data), formats=('JPEG', 'PNG')) as picture:
            if picture.mode.startswith('I'):  # 16 bits of grey, which Pillow would clip at 255
                grey = (np.array(picture) >> 8).astype(np.uint8)
                return np.repeat(grey[..., None], 3, axis=2)
            return np.array(picture.convert('RGB'))
    except (OSError, SyntaxError, Pictures.DecompressionBombError) as error:
        raise SourceError(
            f'a compressed image of format "{message.format}" cannot be read as JPEG or PNG '
            f'({error}); choose another topic with --topic') from error
