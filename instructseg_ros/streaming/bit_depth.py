"""16-bit grey values, of which cameras use 8 to 16 bits, in 8 bits."""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image

_SENSORS: Final = (8, 10, 12, 14, 16)  # bits
_OUTLIERS: Final = 1e-4  # share of the samples that may lie above: hot or invalid pixels


class BitDepth:
    """Infers the bit depth from the largest samples seen.

    It only grows, at most four times, so that brightness does not flicker. An image message does
    not say how many bits are in use, and many sensors of 10 or 12 bits put them in the low bits:
    the high byte of such an image is nearly black. At most 0.01 % of the samples of a frame may
    lie above the bit depth: hot pixels, or invalid ones marked with 65535, would otherwise darken
    the camera for ever.
    """

    def __init__(self, bits: int = _SENSORS[0]) -> None:
        """Begin with the bits that earlier frames have shown."""
        self._bits = bits

    @property
    def bits(self) -> int:
        """The bits that the frames so far have shown."""
        return self._bits

    def to_eight_bits(self, samples: np.ndarray) -> np.ndarray:
        """Return the upper eight of the bits that are in use.

        Outliers become 255.

        Args:
            samples: uint16 of any shape, with at least one element.

        Returns:
            uint8 of the same shape.
        """
        self._bits = next(bits for bits in _SENSORS if bits >= self._bits and _fits(samples, bits))
        return np.minimum(samples >> (self._bits - 8), 255).astype(np.uint8)

    def image_to_eight_bits(self, image: Image.Image) -> np.ndarray:
        """Return (H, W) uint8 of a grey image of 16 bits, which Pillow would clip at 255."""
        return self.to_eight_bits(np.array(image).astype(np.uint16))


def _fits(samples: np.ndarray, bits: int) -> bool:
    """Tell whether samples have no more bits, but for outliers."""
    return (bits == _SENSORS[-1]
            or np.count_nonzero(samples >> bits) <= _OUTLIERS * samples.size)
