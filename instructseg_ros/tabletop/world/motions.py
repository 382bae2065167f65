"""Motions of objects: pure, periodic functions of time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from instructseg_ros.spatial.quaternions import IDENTITY, from_axis_angle

UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True, kw_only=True)
class ShuttleMotion:
    """Motion back and forth on a straight line, with a rest at both ends.

    Attributes:
        manner: One of `scene_graph.MANNERS`.
        direction: (3,) unit vector in the table's frame.
        length: Length of the line, m.
        there: Speed in this direction, m/s.
        back: Speed in the opposite direction, m/s.
        rest: Time at either end, s.
        phase: Offset in time, s.
        roll: Radius on which the object rolls, m; None if it slides.
    """

    manner: str
    direction: np.ndarray
    length: float
    there: float
    back: float
    rest: float
    phase: float
    roll: float | None = None

    def _distance(self, time: float) -> float:
        out, home = self.length / self.there, self.length / self.back
        t = (time + self.phase) % (out + home + 2 * self.rest)
        if t < out + self.rest:
            return min(t * self.there, self.length)
        return max(self.length - (t - out - self.rest) * self.back, 0.0)

    def offset(self, time: float) -> np.ndarray:
        """Displacement (3,) from the pose at rest, m."""
        return self._distance(time) * self.direction

    def rotation(self, time: float) -> np.ndarray:
        """Rotation (x, y, z, w) from the pose at rest."""
        if self.roll is None:
            return IDENTITY
        return from_axis_angle(np.cross(UP, self.direction), self._distance(time) / self.roll)

    def sweep(self) -> np.ndarray:
        """Displacements (n, 3) at most 2 cm apart that cover the whole line, m."""
        count = max(2, int(np.ceil(self.length / 0.02)) + 1)
        return np.linspace(0.0, self.length, count)[:, None] * self.direction


@dataclass(frozen=True, kw_only=True)
class EllipseMotion:
    """Motion around an ellipse on the table; half axes (3,) in m, `period` in s."""

    manner: str
    first: np.ndarray
    second: np.ndarray
    period: float
    phase: float

    def offset(self, time: float) -> np.ndarray:
        """Displacement (3,) from the pose at rest, m."""
        angle = 2 * np.pi * (time / self.period + self.phase)
        return np.cos(angle) * self.first + np.sin(angle) * self.second

    def rotation(self, time: float) -> np.ndarray:
        """Rotation (x, y, z, w) from the pose at rest: none."""
        return IDENTITY

    def sweep(self) -> np.ndarray:
        """Displacements (n, 3) that cover the whole ellipse, m."""
        return np.stack([self.offset(t) for t in np.linspace(0.0, self.period, 33)[:-1]])


Motion = ShuttleMotion | EllipseMotion


def velocity(motion: Motion, time: float, *, over: float = 2e-3) -> np.ndarray:
    """Mean velocity (3,) during the last `over` seconds, m/s."""
    return (motion.offset(time) - motion.offset(time - over)) / over


def direction(moved: np.ndarray, right: np.ndarray, away: np.ndarray) -> str | None:
    """Return the main direction of a velocity (3,) on the table; None below 3 cm/s or downwards."""
    along = {'right': moved @ right, 'away': moved @ away, 'up': moved[2]}
    name = max(along, key=lambda key: abs(along[key]))
    if abs(along[name]) < 0.03:
        return None
    if along[name] > 0:
        return name
    return {'right': 'left', 'away': 'towards', 'up': None}[name]
