"""The catalogue of objects: every category in each size, with variants of its proportions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from instructseg_ros.tabletop.world import object_shapes as solids
from instructseg_ros.tabletop.world import object_shapes as tools
from instructseg_ros.tabletop.world import object_shapes as vessels
from instructseg_ros.tabletop.world.shapes import Shape

KINDS = (
    'mug',
    'bowl',
    'bottle',
    'can',
    'box',
    'ball',
    'plate',
    'spoon',
    'knife',
    'banana',
    'apple',
    'book',
    'car',
    'hammer',
    'pen',
    'teapot',
)

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

SIZES: dict[str, float] = {'small': 0.75, 'medium': 1.0, 'large': 1.3}


VARIANTS = 3

BUILDERS: dict[str, Callable[[np.random.Generator], Shape]] = {
    'mug': vessels.mug,
    'bowl': vessels.bowl,
    'bottle': vessels.bottle,
    'can': vessels.can,
    'box': solids.carton,
    'ball': solids.ball,
    'plate': vessels.plate,
    'spoon': tools.spoon,
    'knife': tools.knife,
    'banana': solids.banana,
    'apple': solids.apple,
    'book': solids.book,
    'car': solids.car,
    'hammer': tools.hammer,
    'pen': tools.pen,
    'teapot': vessels.teapot,
}


@dataclass(frozen=True, kw_only=True)
class Article:
    """One entry of the catalogue; `variant` is 0..VARIANTS - 1."""

    kind: str
    size: str
    variant: int
    shape: Shape

    @property
    def name(self) -> str:
        """A unique name."""
        return f'{self.kind}-{self.size}-{self.variant}'


@lru_cache(maxsize=1)
def catalogue() -> dict[tuple[str, str, int], Article]:
    """All articles by (kind, size, variant)."""
    articles = {}
    for number, kind in enumerate(KINDS):
        for variant in range(VARIANTS):
            natural = BUILDERS[kind](np.random.default_rng((number, variant)))
            for size, factor in SIZES.items():
                article = Article(
                    kind=kind, size=size, variant=variant, shape=natural.scaled(factor)
                )
                articles[kind, size, variant] = article
    return articles
