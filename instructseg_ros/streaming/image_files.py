"""Decodes image files and compressed image messages."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from instructseg_ros.model.model_files import is_lfs_pointer
from instructseg_ros.streaming.encodings import (
    RED_AT,
    BitDepth,
    ConversionError,
    mosaic_to_rgb,
    refuse_measurements,
)
from instructseg_ros.streaming.instruction import describe_error, quote

# Larger files are damaged or hostile. Pillow's own limit is the same unless somebody lifted it.
MAX_PIXELS: Final = 178_956_970
# Not EPS, which Pillow hands to a program, nor TGA, which other files may be taken for.
_FORMATS: Final = ('AVIF', 'BMP', 'GIF', 'JPEG', 'JPEG2000', 'PNG', 'PPM', 'TIFF', 'WEBP')
_SIXTEEN_BITS: Final = ('PNG', 'PPM')  # formats whose mode I holds 16 bits, not 32
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS: Final = (5, 6, 7, 8)  # orientations that swap width and height
_T = TypeVar('_T')


class ImageError(ValueError):
    """An image file that cannot be used; the message names the file and the remedy."""


def is_clutter(file: Path) -> bool:
    """Whether a file manager made a file: macOS writes `._a.jpg` next to a.jpg, for instance.

    Code that lists a folder skips these.
    """
    return file.name.startswith('.') or '__MACOSX' in file.parts


def read_size(file: Path) -> tuple[int, int]:
    """Read the (height, width) of what `read_rgb` and `read_mask` return, mostly from the header.

    Raises:
        ImageError: The file is not an image, or the image is too large.
        FileNotFoundError: There is no such file.
    """
    return _read(file, '', _size)


def read_rgb(source: Path | bytes, name: str = '', bits: BitDepth | None = None) -> Image.Image:
    """Read a file as 8-bit RGB, turned upright as its camera says.

    Grey of 16 bits is scaled by the bits that are in use, see `BitDepth`. Transparency is dropped.

    Args:
        source: The file, or its content.
        name: Name of the source in messages; by default its path.
        bits: How many of 16 bits the camera uses, as its earlier frames have shown; None: this
            image alone decides.

    Raises:
        ImageError: The source is damaged, too large, or not an image of 8 or 16 bits.
        FileNotFoundError: There is no such file.
    """
    return _read(source, name, lambda image: _upright(_to_rgb(image, bits), image))


def read_labels(file: Path) -> np.ndarray:
    """Read the number of each pixel: its grey value or palette index; 0 and 1 of a 1-bit image.

    Returns:
        (H, W) integers.

    Raises:
        ImageError: The file has colours, or for the reasons given at `read_mask`.
        FileNotFoundError: There is no such file.
    """
    values = _read(file, '', lambda image: np.array(_upright(_to_values(image), image)))
    if values.ndim == 2:
        return values.astype(np.uint8) if values.dtype == bool else values
    if (values != values[..., :1]).any():
        raise ImageError(
            f'{file} has colours where one number for each pixel is wanted: save it '
            f'as a grey PNG, or as one with a palette'
        )
    return values[..., 0]


def read_mask(file: Path) -> np.ndarray:
    """Read which pixels are not 0; in an image with colours, which are not black.

    Returns:
        (H, W) bool.

    Raises:
        ImageError: The file is damaged, too large or not an image; or its pixels are not a mask:
            they are fractions, only the transparency has a shape, or the palette is swapped.
        FileNotFoundError: There is no such file.
    """
    values = _read(file, '', lambda image: np.array(_upright(_to_mask(image), image)))
    return values != 0 if values.ndim == 2 else values.any(axis=2)


def _read(source: Path | bytes, name: str, use: Callable[[Image.Image], _T]) -> _T:
    stream: Any = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with Image.open(stream, formats=_formats()) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(
                    f'{image.width} x {image.height} pixels are more than '
                    f'{MAX_PIXELS}: make it smaller'
                )
            return use(image)
    except FileNotFoundError:
        raise
    # Pillow raises errors of many types for files that are damaged on purpose.
    except Exception as error:
        reason = _reason(error, source)
        raise ImageError(f'{name or str(source)} cannot be read as an image: {reason}') from error


def _formats() -> list[str]:
    """The formats that this build of Pillow can open."""
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def _reason(error: Exception, source: Path | bytes) -> str:
    if not isinstance(error, UnidentifiedImageError):
        return describe_error(error)
    if not (source if isinstance(source, bytes) else source.stat().st_size):
        return 'it is empty'
    if isinstance(source, Path) and is_lfs_pointer(source):
        return f'it is only a pointer to its content: run `git lfs pull` in {source.parent}'
    return f'it is none of {", ".join(_formats())}: save it as PNG or JPEG'


def _upright(pixels: Image.Image, original: Image.Image) -> Image.Image:
    turn = _TURNS.get(_orientation(original))
    return pixels if turn is None else pixels.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation of a file, 1 (upright) where the EXIF data are damaged."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        return 1


def _size(image: Image.Image) -> tuple[int, int]:
    if image.format == 'TIFF':  # which Pillow turns itself
        image.load()
    sideways = _orientation(image) in _SIDEWAYS
    return (image.width, image.height) if sideways else (image.height, image.width)


def _to_rgb(image: Image.Image, bits: BitDepth | None) -> Image.Image:
    image.load()
    _refuse_fractions(image)
    if image.mode == 'I' and image.format not in _SIXTEEN_BITS:
        raise ValueError('its pixels have 32 bits: save it with 8 or 16')
    if image.mode.startswith('I'):
        return Image.fromarray((bits or BitDepth()).image_to_eight_bits(image)).convert('RGB')
    return image.convert('RGB')


def _to_values(image: Image.Image) -> Image.Image:
    """Return an image whose array has the values of a mask: 1, 8, 16 or 32 bits, or RGB."""
    image.load()
    _refuse_fractions(image)
    if image.mode in ('1', 'L', 'P') or image.mode.startswith('I'):
        return image
    if 'A' in image.getbands():
        _refuse_hidden_shape(image.convert('RGBA'))
    return image.convert('RGB')


def _to_mask(image: Image.Image) -> Image.Image:
    if image.mode == 'P':
        _refuse_swapped_palette(image)
    return _to_values(image)


def _refuse_fractions(image: Image.Image) -> None:
    if image.mode == 'F':
        raise ValueError(
            'its pixels are floating-point numbers: save it with whole numbers of 8 or 16 bits'
        )


def _refuse_hidden_shape(image: Image.Image) -> None:
    """Refuse RGBA whose transparency and colours show different shapes.

    Either could be the mask, and tools leave any colour under full transparency.
    """
    values = np.array(image)
    opaque = values[..., 3] > 0
    if not opaque.all() and (opaque != values[..., :3].any(axis=2)).any():
        raise ValueError(
            'its transparency has another shape than its colours: save the mask as a '
            'grey PNG without transparency'
        )


def _refuse_swapped_palette(image: Image.Image) -> None:
    """Refuse a palette with a colour at 0 and black elsewhere, as PNG optimisers write it."""
    numbers, colours = np.array(image) != 0, np.array(image.convert('RGB')).any(axis=2)
    if (~numbers & colours).any() and (numbers & ~colours).any():
        raise ValueError(
            'its palette has a colour for 0 and black for another number: save the '
            'mask as a grey PNG, 0 where the object is absent'
        )


MOST_PIXELS: Final = 64 << 20


def decode(data: Any, format: str, bits: BitDepth | None = None) -> np.ndarray:
    """Return a JPEG or PNG as (H, W, 3) uint8 RGB.

    Args:
        data: The bytes of the file.
        format: That of sensor_msgs/CompressedImage, such as `jpeg` or
            `bgr8; jpeg compressed bgr8`.
        bits: How many of 16 bits the camera uses, as for `pixels_of`.

    Raises:
        ConversionError: It is something else, too large, or only a part.
    """
    if 'compressedDepth' in format:
        raise ConversionError(
            f'format {quote(format)} is one of depth; send the colour image as JPEG or PNG'
        )
    encoding = format.partition(';')[0]
    refuse_measurements(encoding)
    samples = _samples(data, format, bits or BitDepth())
    if samples.ndim == 3:
        return samples
    pattern = encoding.removeprefix('bayer_').rstrip('0168')
    if pattern in RED_AT and not any(side % 2 for side in samples.shape):
        return mosaic_to_rgb(samples, pattern=pattern)
    return np.broadcast_to(samples[..., None], (*samples.shape, 3))


def _samples(data: Any, format: str, bits: BitDepth) -> np.ndarray:
    """Return (H, W, 3) or, of grey, (H, W) uint8."""
    try:
        with Image.open(io.BytesIO(data), formats=('JPEG', 'PNG')) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise ConversionError(
                    f'the image has {picture.width} x {picture.height} pixels, more than '
                    f'{MOST_PIXELS >> 20} Mi; send smaller ones'
                )
            if picture.mode.startswith('I'):
                return bits.image_to_eight_bits(picture)
            return np.array(picture if picture.mode == 'L' else picture.convert('RGB'))
    except ConversionError:
        raise
    except UnidentifiedImageError as error:
        raise ConversionError(
            f'{len(data)} bytes of format {quote(format)} are no whole JPEG '
            f'or PNG; check the camera driver'
        ) from error
    # Pillow raises ValueError and others for files that are damaged on purpose.
    except Exception as error:
        raise ConversionError(
            f'{len(data)} bytes of format {quote(format)} are no whole JPEG or PNG '
            f'({describe_error(error)}); '
            f'check the camera driver'
        ) from error
