"""The part of an image around a target, with the depth of what surrounds it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from instructseg_ros.spatial.neighbourhood import steadied
from instructseg_ros.spatial.pinhole import Pinhole
from instructseg_ros.spatial.points import points_in, window_of


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """A window of an image.

    Attributes:
        mask: (h, w) bool, the target.
        points: (h, w, 3) m in the optical frame, NaN without depth.
        steady: (h, w, 3) m, those of the target without flying pixels and noise, NaN elsewhere.
        pinhole: The camera, for columns and rows of the window.
    """

    mask: np.ndarray = field(repr=False)
    points: np.ndarray = field(repr=False)
    steady: np.ndarray = field(repr=False)
    pinhole: Pinhole

    @staticmethod
    def of(depth: np.ndarray, pinhole: Pinhole, mask: np.ndarray) -> View:
        """Return what surrounds a mask (H, W) that has a pixel, as far as its size.

        Args:
            depth: (h, w) m along the optical axis, NaN without.
            pinhole: The camera, of any resolution.
            mask: (H, W) bool.
        """
        size = max(each.stop - each.start for each in window_of(mask))
        window = window_of(mask, margin=max(32, size))
        points = points_in(window, depth, pinhole, mask.shape).astype(float)
        inside, z = mask[window], points[..., 2]
        with np.errstate(invalid='ignore'):
            steady = points * (steadied(z, inside) / z)[..., None]
        camera = pinhole.scaled(mask.shape[1], mask.shape[0])
        camera = replace(camera, cx=camera.cx - window[1].start, cy=camera.cy - window[0].start)
        return View(mask=inside, points=points, steady=steady, pinhole=camera)

    def target(self) -> np.ndarray:
        """Return the points (n, 3) of the target that are to be trusted, m."""
        return self.steady[np.isfinite(self.steady[..., 2])]
