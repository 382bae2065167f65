"""YUV images of cameras as RGB, by BT.601 in its limited range (Y 16..235), as OpenCV does it."""

from __future__ import annotations

from typing import Final

import numpy as np

# Fixed-point factors of BT.601, as exact as int32 allows for 8-bit values.
_SHIFT: Final = 16
_LUMA: Final = round(255 / 219 * 2**_SHIFT)
_RED_V: Final = round(1.402 * 255 / 224 * 2**_SHIFT)
_GREEN_U: Final = round(-0.344136 * 255 / 224 * 2**_SHIFT)
_GREEN_V: Final = round(-0.714136 * 255 / 224 * 2**_SHIFT)
_BLUE_U: Final = round(1.772 * 255 / 224 * 2**_SHIFT)


def packed_to_rgb(pixels: np.ndarray, *, luma_first: bool) -> np.ndarray:
    """Return 4:2:2 pixels, two in four bytes, as (H, W, 3) uint8 RGB.

    Args:
        pixels: (H, W, 2) uint8, W even.
        luma_first: Y U Y V (YUY2), otherwise U Y V Y (UYVY).
    """
    luma, chroma = (pixels[..., 0], pixels[..., 1]) if luma_first else (
        pixels[..., 1], pixels[..., 0])
    return _to_rgb(luma, chroma[:, 0::2], chroma[:, 1::2], repeat_rows=1)


def planar_to_rgb(luma: np.ndarray, chroma: np.ndarray, *, u_first: bool) -> np.ndarray:
    """Return a 4:2:0 image of two planes as (H, W, 3) uint8 RGB.

    Args:
        luma: (H, W) uint8, both even.
        chroma: (H / 2, W / 2, 2) uint8.
        u_first: U V (NV12), otherwise V U (NV21).
    """
    first, second = chroma[..., 0], chroma[..., 1]
    u, v = (first, second) if u_first else (second, first)
    return _to_rgb(luma, u, v, repeat_rows=2)


def _to_rgb(luma: np.ndarray, u: np.ndarray, v: np.ndarray, *, repeat_rows: int) -> np.ndarray:
    """Return (H, W) luma and (H / repeat_rows, W / 2) chroma as (H, W, 3) uint8 RGB."""
    height, width = luma.shape
    blue, red = u.astype(np.int32) - 128, v.astype(np.int32) - 128
    rgb = np.empty((height, width, 3), np.uint8)
    base = (luma.astype(np.int32) - 16) * _LUMA + (1 << (_SHIFT - 1))
    blocks = base.reshape(height // repeat_rows, repeat_rows, width // 2, 2)
    for channel, tint in enumerate((
            red * _RED_V, blue * _GREEN_U + red * _GREEN_V, blue * _BLUE_U)):
        value = (blocks + tint[:, None, :, None]) >> _SHIFT
        rgb[..., channel] = np.clip(value, 0, 255).reshape(height, width)
    return rgb
