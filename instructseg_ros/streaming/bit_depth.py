"""16-bit grey values, of which cameras use 8 to 16 bits, in 8 bits."""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image

_SENSORS: Final = (8, 10, 12, 14, 16)  # bits


class BitDepth:
    """How many bits a camera's 16-bit samples have, learned from its frames.

    An image message does not say it, and many sensors of 10 or 12 bits put them in the low bits:
    the high byte of such an image is nearly black. The largest sample so far decides, and never a
    smaller one after it. The scale does not follow the brightness of each frame, which would make
    a video flicker: it changes when a frame shows that the sensor has more bits, at most four
    times.
    """

    def __init__(self) -> None:
        """Begin as with a sensor of 8 bits."""
        self._bits = _SENSORS[0]

    def to_eight_bits(self, samples: np.ndarray) -> np.ndarray:
        """Return the upper eight of the bits that are in use.

        Args:
            samples: uint16 of any shape, with at least one element.

        Returns:
            uint8 of the same shape.
        """
        if self._bits < _SENSORS[-1]:
            most = int(samples.max())
            self._bits = max(self._bits, next(bits for bits in _SENSORS if most < 1 << bits))
        return (samples >> (self._bits - 8)).astype(np.uint8)

    def image_to_eight_bits(self, image: Image.Image) -> np.ndarray:
        """Return (H, W) uint8 of a grey image of 16 bits, which Pillow would clip at 255."""
        return self.to_eight_bits(np.array(image).astype(np.uint16))
