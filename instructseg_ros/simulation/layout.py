"""Random arrangements: what goes where so that nothing collides and all is in view."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from instructseg_ros.simulation.camera import Camera, project
from instructseg_ros.simulation.scene import Room

FRAME = (640, 480)
MARGIN = 6
GAP = 0.012
FARTHEST = 1.2


def placed(discs: np.ndarray, position: np.ndarray, angle: float) -> np.ndarray:
    """Footprint circles (n, 3), turned by `angle` about z and shifted to `position`."""
    c, s = np.cos(angle), np.sin(angle)
    centres = discs[:, :2] @ np.array([[c, s], [-s, c]]) + position[:2]
    return np.column_stack([centres, discs[:, 2]])


@dataclass
class Layout:
    """The ground that is taken so far on a table, as circles (n, 3) in its frame."""

    camera: Camera
    room: Room
    taken: np.ndarray = field(default_factory=lambda: np.empty((0, 3)))

    def spot(self, rng: np.random.Generator) -> np.ndarray:
        """A point of the table (3,) that is anywhere in the picture with equal chance."""
        k = self.camera.intrinsics(*FRAME)
        u, v = rng.uniform(30, FRAME[0] - 30), rng.uniform(40, FRAME[1] - 20)
        ray = self.camera.rotation @ np.array([(u - k.cx) / k.fx, (v - k.cy) / k.fy, 1.0])
        reach = self.camera.position[2] / max(-ray[2], 1e-3)
        return self.camera.position + min(reach, 10.0) * ray

    def fits(self, discs: np.ndarray, height: float) -> bool:
        """Whether things of that height on those circles are free, on the table and in view."""
        return self._on_table(discs) and self.free(discs) and self.in_view(discs, height)

    def take(self, discs: np.ndarray) -> None:
        """Keep others away from these circles."""
        self.taken = np.concatenate([self.taken, discs])

    def _on_table(self, discs: np.ndarray) -> bool:
        c, s = np.cos(self.room.turn), np.sin(self.room.turn)
        own = np.abs(discs[:, :2] @ np.array([[c, -s], [s, c]])) + discs[:, 2:]
        return bool((own < np.array(self.room.table) - 0.01).all())

    def free(self, discs: np.ndarray, *, but: int = 0) -> bool:
        """Whether no circle reaches into ground that is taken, the last `but` circles aside."""
        taken = self.taken[: len(self.taken) - but]
        apart = np.linalg.norm(discs[:, None, :2] - taken[None, :, :2], axis=-1)
        return bool((apart > discs[:, None, 2] + taken[None, :, 2] + GAP).all())

    def in_view(self, discs: np.ndarray, height: float) -> bool:
        """Whether cylinders of that height on those circles are wholly in the picture."""
        angle = np.arange(6) * np.pi / 3
        around = np.stack([np.cos(angle), np.sin(angle)], -1)
        rim = discs[:, None, :2] + discs[:, None, 2:] * around
        points = np.concatenate([np.concatenate([rim, np.full((*rim.shape[:2], 1), z)], -1)
                                 for z in (0.0, height)]).reshape(-1, 3)  # fmt: skip
        optical = self.camera.to_optical(points)
        pixels = project(optical, self.camera.intrinsics(*FRAME))
        inside = (pixels > MARGIN) & (pixels < np.array(FRAME) - 1 - MARGIN)
        return bool(inside.all() and (optical[:, 2] < FARTHEST).all())
