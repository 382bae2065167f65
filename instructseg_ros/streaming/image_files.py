"""Reads and writes image files, and reads compressed image messages, for the whole package."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from instructseg_ros.model.model_files import explain_lfs_pointer, is_lfs_pointer
from instructseg_ros.streaming.encodings import (
    BAYER_CODES,
    BitDepth,
    ConversionError,
    bayer_to_rgb,
    refuse_depth,
)
from instructseg_ros.streaming.instruction import describe_error, quote

# Larger images are damaged or hostile. Pillow has the same limit unless a program raised it.
MAX_PIXELS: Final = 178_956_970
MAX_MESSAGE_PIXELS: Final = 64 << 20
# Excludes EPS, which Pillow passes to an external program, and TGA, whose check is too lax.
_FORMATS: Final = ('AVIF', 'BMP', 'GIF', 'JPEG', 'JPEG2000', 'PNG', 'PPM', 'TIFF', 'WEBP')
_SIXTEEN_BITS: Final = ('PNG', 'PPM')  # formats in which Pillow's mode "I" means 16 bits, not 32
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
    """Return whether a file was left by a file manager, as macOS leaves `._a.jpg` next to a.jpg.

    Code that lists a folder must skip such files.
    """
    return file.name.startswith('.') or '__MACOSX' in file.parts


def read_size(file: Path) -> tuple[int, int]:
    """Read the (height, width) of the result of `read_rgb` or `read_mask`, mostly from the header.

    Raises:
        ImageError: The file is not an image, or the image is too large.
        FileNotFoundError: There is no such file.
    """
    return _read(file, '', _size)


def read_rgb(source: Path | bytes, name: str = '', bits: BitDepth | None = None) -> Image.Image:
    """Read an image as 8-bit RGB, turned upright by its EXIF orientation.

    16-bit gray is scaled by the bits in use, see `BitDepth`. Transparency is dropped.

    Args:
        source: The file, or its content.
        name: Name of the source in errors; by default its path.
        bits: Bit depth of the camera, from its earlier frames; None infers it from this image.

    Raises:
        ImageError: The source is damaged, too large, or not an image of 8 or 16 bits.
        FileNotFoundError: There is no such file.
    """
    return _read(source, name, lambda image: _upright(_to_rgb(image, bits), image))


def read_labels(file: Path) -> np.ndarray:
    """Read a label image: the gray value or palette index of each pixel, 0 or 1 in 1-bit images.

    Returns:
        (H, W) integers.

    Raises:
        ImageError: The file has colors, or cannot be read for a reason listed at `read_mask`.
        FileNotFoundError: There is no such file.
    """
    values = _read(file, '', lambda image: np.array(_upright(_to_values(image), image)))
    if values.ndim == 2:
        return values.astype(np.uint8) if values.dtype == bool else values
    if (values != values[..., :1]).any():
        raise ImageError(
            f'{file} has colors where one number per pixel is needed: save it as a gray PNG, or as '
            f'one with a palette'
        )
    return values[..., 0]


def read_mask(file: Path) -> np.ndarray:
    """Read a mask: the pixels that are not 0 or, in an image with colors, not black.

    Returns:
        (H, W) bool.

    Raises:
        ImageError: The file is damaged, too large or not an image; or it is ambiguous as a mask:
            its pixels are floating-point numbers, its transparency and its colors show different
            shapes, or its palette has a color for 0 and black for another number.
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
    # Pillow raises errors of many types for files that were damaged deliberately.
    except Exception as error:
        reason = _reason(error, source)
        raise ImageError(f'{name or str(source)} cannot be read as an image: {reason}') from error


def _formats() -> list[str]:
    """Return the formats that this build of Pillow can open."""
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def _reason(error: Exception, source: Path | bytes) -> str:
    if not isinstance(error, UnidentifiedImageError):
        return describe_error(error)
    if isinstance(source, Path) and is_lfs_pointer(source):
        return explain_lfs_pointer(source)
    if not (source if isinstance(source, bytes) else source.stat().st_size):
        return 'it is empty'
    return f'its format is not one of {", ".join(_formats())}: save it as PNG or JPEG'


def _upright(pixels: Image.Image, original: Image.Image) -> Image.Image:
    turn = _TURNS.get(_orientation(original))
    return pixels if turn is None else pixels.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of a file, 1 (upright) where the EXIF data are damaged."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        return 1


def _size(image: Image.Image) -> tuple[int, int]:
    if image.format == 'TIFF':  # Pillow rotates these itself.
        image.load()
    sideways = _orientation(image) in _SIDEWAYS
    return (image.width, image.height) if sideways else (image.height, image.width)


def _to_rgb(image: Image.Image, bits: BitDepth | None) -> Image.Image:
    image.load()
    _refuse_fractions(image)
    if image.mode == 'I' and image.format not in _SIXTEEN_BITS:
        raise ValueError('its pixels have 32 bits: save it with 8 or 16')
    if image.mode.startswith('I'):
        return Image.fromarray(_to_eight_bits(image, bits)).convert('RGB')
    return image.convert('RGB')


def _to_eight_bits(image: Image.Image, bits: BitDepth | None) -> np.ndarray:
    """Scale 16-bit gray, which Pillow would clip at 255, to (H, W) uint8."""
    return (bits or BitDepth()).to_eight_bits(np.array(image).astype(np.uint16))


def _to_values(image: Image.Image) -> Image.Image:
    """Convert an image so that its array has the values of a mask: 1 to 32 bits, or RGB."""
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
    """Refuse RGBA whose transparency and colors show different shapes.

    Either could be the mask, and tools leave arbitrary colors under full transparency.
    """
    values = np.array(image)
    opaque = values[..., 3] > 0
    if not opaque.all() and (opaque != values[..., :3].any(axis=2)).any():
        raise ValueError(
            'its transparency and its colors show different shapes: save the mask as a '
            'gray PNG without transparency'
        )


def _refuse_swapped_palette(image: Image.Image) -> None:
    """Refuse a palette with a color at 0 and black elsewhere, which some PNG optimisers write."""
    numbers, colors = np.array(image) != 0, np.array(image.convert('RGB')).any(axis=2)
    if (~numbers & colors).any() and (numbers & ~colors).any():
        raise ValueError(
            'its palette has a color for 0 and black for another number: save the mask as a '
            'gray PNG, 0 where the object is absent'
        )


def write_mask(file: Path, mask: np.ndarray) -> None:
    """Write a (H, W) bool mask as a PNG file of 0 and 255; see `write_png`."""
    write_png(file, Image.fromarray(mask.astype(np.uint8) * 255))


def write_png(file: Path, image: Image.Image) -> None:
    """Write a PNG file, creating its folder; the file appears only when it is complete."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix('.partial')
    image.save(draft, 'PNG')
    draft.replace(file)


def decode_compressed(data: Any, format: str, bits: BitDepth | None = None) -> np.ndarray:
    """Decode a JPEG or PNG of an image message to (H, W, 3) uint8 RGB.

    Args:
        data: The bytes of the file.
        format: Field of sensor_msgs/CompressedImage, such as `jpeg` or
            `bgr8; jpeg compressed bgr8`.
        bits: Bit depth of the camera, as for `decode_image`.

    Raises:
        ConversionError: The data is depth, is no JPEG or PNG, is too large, or is incomplete.
    """
    if 'compressedDepth' in format:
        raise ConversionError(
            f'format {quote(format)} is depth; send the color image as JPEG or PNG'
        )
    encoding = format.partition(';')[0]
    refuse_depth(encoding)
    samples = _decode_samples(data, format, bits)
    if samples.ndim == 3:
        return samples
    pattern = encoding.removeprefix('bayer_').rstrip('0168')
    if pattern in BAYER_CODES and not any(side % 2 for side in samples.shape):
        return bayer_to_rgb(samples, pattern)
    return np.broadcast_to(samples[..., None], (*samples.shape, 3))


def _decode_samples(data: Any, format: str, bits: BitDepth | None) -> np.ndarray:
    """Decode to (H, W, 3) or, for gray, (H, W) uint8."""
    reason = ''
    try:
        with Image.open(io.BytesIO(data), formats=('JPEG', 'PNG')) as image:
            if image.width * image.height > MAX_MESSAGE_PIXELS:
                raise ConversionError(
                    f'the image has {image.width} x {image.height} pixels, more than '
                    f'{MAX_MESSAGE_PIXELS >> 20} Mi; send smaller ones'
                )
            if image.mode.startswith('I'):
                return _to_eight_bits(image, bits)
            return np.array(image if image.mode in ('L', 'RGB') else image.convert('RGB'))
    except ConversionError:
        raise
    # Pillow raises ValueError and others for files that were damaged deliberately.
    except Exception as error:
        # The message for an unknown format contains an address, which differs each time.
        if not isinstance(error, UnidentifiedImageError):
            reason = f' ({describe_error(error)})'
        raise ConversionError(
            f'{len(data)} bytes of format {quote(format)} are no complete JPEG or PNG{reason}; '
            f'check the camera driver'
        ) from error
