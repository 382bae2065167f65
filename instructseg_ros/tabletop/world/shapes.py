"""The geometry of one thing: coloured parts and what its neighbours need to know of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from instructseg_ros.tabletop.world.meshes import Mesh

TRIMS: dict[str, tuple[float, float, float]] = {
    'pages': (0.90, 0.87, 0.78),
    'metal': (0.60, 0.60, 0.62),
    'rubber': (0.07, 0.07, 0.07),
    'glass': (0.20, 0.25, 0.30),
    'stem': (0.28, 0.17, 0.08),
}
SHADES = ('main', 'dark', 'light', *TRIMS)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A mesh and its shade: the thing's own colour, a shade of it, or one of TRIMS."""

    mesh: Mesh
    shade: str = 'main'


@dataclass(frozen=True, kw_only=True)
class Hollow:
    """The room inside a container: radius of its mouth and floor, height of its floor (m)."""

    mouth: float
    floor: float
    bottom: float


@dataclass(frozen=True, kw_only=True)
class Platform:
    """The flat top that can carry another thing: its radius and its height (m)."""

    radius: float
    height: float


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A thing at rest on z = 0 around the z axis, long side along x; metres.

    `discs` (n, 3) are circles (x, y, radius) that cover its footprint; `roll` is the radius on
    which it rolls, None when it does not turn as it moves.
    """

    parts: tuple[Part, ...]
    discs: np.ndarray
    height: float
    hollow: Hollow | None = None
    platform: Platform | None = None
    roll: float | None = None

    def scaled(self, factor: float) -> Shape:
        """The same shape, larger or smaller in all directions."""
        hollow, platform = self.hollow, self.platform
        if hollow is not None:
            hollow = Hollow(
                mouth=hollow.mouth * factor,
                floor=hollow.floor * factor,
                bottom=hollow.bottom * factor,
            )
        if platform is not None:
            platform = Platform(radius=platform.radius * factor, height=platform.height * factor)
        return Shape(
            parts=tuple(replace(p, mesh=p.mesh.scaled(factor, factor, factor)) for p in self.parts),
            discs=self.discs * factor,
            height=self.height * factor,
            hollow=hollow,
            platform=platform,
            roll=None if self.roll is None else self.roll * factor,
        )

    @property
    def length(self) -> float:
        """How far it reaches along x, by its footprint."""
        return float(2 * (np.abs(self.discs[:, 0]) + self.discs[:, 2]).max())

    @property
    def reach(self) -> float:
        """The radius around the z axis that its footprint stays in."""
        return float((np.hypot(self.discs[:, 0], self.discs[:, 1]) + self.discs[:, 2]).max())

    def vertices(self) -> np.ndarray:
        """All vertices of all parts (n, 3)."""
        return np.concatenate([part.mesh.vertices for part in self.parts])


def disc(radius: float) -> np.ndarray:
    """A round footprint."""
    return np.array([[0.0, 0.0, radius]])


def strip(length: float, width: float) -> np.ndarray:
    """The footprint of something long, covered by a row of circles along x."""
    radius = 0.5 * np.hypot(width, width)
    count = max(1, int(np.ceil(length / width)))
    centres = (np.arange(count) + 0.5) * length / count - length / 2
    return np.column_stack([centres, np.zeros(count), np.full(count, radius)])


def tinted(color: np.ndarray, shade: str) -> np.ndarray:
    """The RGB of a part of a thing of that colour."""
    if shade in TRIMS:
        return np.array(TRIMS[shade])
    if shade == 'light' or (shade == 'dark' and color.max() < 0.2):
        return color + 0.3 * (1.0 - color) * (1.0 if shade == 'light' else 0.4)
    return color * (0.62 if shade == 'dark' else 1.0)
