"""The catalogue of objects: every category in each size, with variants of its proportions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from instructseg_ros.tabletop.world.geometry import Shape
from instructseg_ros.tabletop.world.object_shapes import BUILDERS, NOVEL_BUILDERS

OBJECT_CATEGORIES = tuple(BUILDERS)
# Categories that a scene contains only on request, see `random_scene`.
NOVEL_CATEGORIES = tuple(NOVEL_BUILDERS)

COLORS: dict[str, tuple[float, float, float]] = {
    'red': (0.80, 0.06, 0.06),
    'green': (0.10, 0.58, 0.14),
    'blue': (0.08, 0.22, 0.80),
    'yellow': (0.95, 0.83, 0.06),
    'orange': (1.00, 0.49, 0.02),
    'purple': (0.46, 0.12, 0.66),
    'pink': (0.98, 0.52, 0.72),
    'brown': (0.33, 0.17, 0.075),
    'white': (0.93, 0.93, 0.92),
    'black': (0.05, 0.05, 0.06),
}
SIZES = {'small': 0.75, 'medium': 1.0, 'large': 1.3}
VARIANTS = 3


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """An object that scenes are made of; `variant` is 0..VARIANTS - 1."""

    category: str
    size: str
    variant: int
    shape: Shape

    @property
    def name(self) -> str:
        """A unique name."""
        return f'{self.category}-{self.size}-{self.variant}'


@lru_cache(maxsize=1)
def catalogue() -> dict[tuple[str, str, int], CatalogueEntry]:
    """Return all entries by (category, size, variant)."""
    entries = {}
    for number, (category, build) in enumerate({**BUILDERS, **NOVEL_BUILDERS}.items()):
        for variant in range(VARIANTS):
            natural = build(np.random.default_rng((number, variant)))
            for size, factor in SIZES.items():
                entries[category, size, variant] = CatalogueEntry(
                    category=category, size=size, variant=variant, shape=natural.scaled(factor)
                )
    return entries
