"""Every thing there is: each kind in each size in a few variants of its proportions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from instructseg_ros.simulation import solids, tools, vessels
from instructseg_ros.simulation.shapes import Shape
from instructseg_ros.simulation.things import KINDS, SIZES

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
                article = Article(kind=kind, size=size, variant=variant,
                                  shape=natural.scaled(factor))  # fmt: skip
                articles[kind, size, variant] = article
    return articles
