"""Pictures without taught objects: rendered scenes and the photographs of the package."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from PIL import Image

from instructseg_ros.research.evaluation.photographs import PHOTOGRAPHS, read_photographs
from instructseg_ros.tabletop.instructions.noun_phrase import noun_wordings
from instructseg_ros.tabletop.world.arrangement import random_scene
from instructseg_ros.tabletop.world.mujoco_model import OpenGLError
from instructseg_ros.tabletop.world.simulator import Observation, Tabletop

CANVAS: Final = 640  # longer side of a picture, pixels
# Seeds of the first scenes to train with, and of the first ones to measure with.
TRAINING_SEED: Final = 1_800_000
MEASURING_SEED: Final = 1_810_000
_RECORDED_SECONDS: Final = 0.5  # between two frames of the recording


@dataclass(frozen=True, kw_only=True, eq=False)
class Background:
    """A picture whose objects are not taught, unless a noun that the model knew is taught again.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) uint8, one value for each object, 0 where there is none.
        nouns: Nouns of the objects in it.
        source: Where it comes from; for messages.
    """

    image: np.ndarray = field(repr=False)
    labels: np.ndarray = field(repr=False)
    nouns: frozenset[str] = frozenset()
    source: str = ''

    def may_show(self, names: Iterable[str]) -> bool:
        """Return whether an object in it may be called by one of some names."""
        return any(name in self.nouns or name.rpartition(' ')[2] in self.nouns for name in names)


def observe_scenes(count: int, first: int = TRAINING_SEED) -> list[Observation]:
    """Render random tabletop scenes; without OpenGL, take frames of the shipped recording."""
    if not count:
        return []
    try:
        with Tabletop() as tabletop:
            seen = []
            for seed in range(first, first + count):
                tabletop.show(random_scene(seed))
                seen.append(tabletop.observe(0.0))
            return seen
    except OpenGLError:
        # Imported here: it needs rosbags.
        from instructseg_ros.tabletop.world.recording import Recording

        with Recording() as recording:
            different = min(count, int(recording.duration / _RECORDED_SECONDS))
            return [recording.observe(_RECORDED_SECONDS * number) for number in range(different)]


def scene_background(observation: Observation, source: str = '') -> Background:
    """Return a rendered scene as a background."""
    assert observation.labels is not None
    categories = {obj.category for obj in observation.graph}
    words = {noun for category in categories for noun in noun_wordings(category).trained}
    return Background(
        image=observation.rgb,
        labels=observation.labels,
        nouns=frozenset(categories | words),
        source=source,
    )


def rendered_backgrounds(count: int, first: int = TRAINING_SEED) -> list[Background]:
    """Return random tabletop scenes, see `observe_scenes`."""
    return [
        scene_background(each, f'scene {number}')
        for number, each in enumerate(observe_scenes(count, first), first)
    ]


def photographed_backgrounds() -> list[Background]:
    """Read the photographs of the package."""
    backgrounds = []
    for each in read_photographs(PHOTOGRAPHS):
        image = np.asarray(_canvas(each.image()))
        backgrounds.append(
            Background(
                image=image,
                labels=np.zeros(image.shape[:2], np.uint8),
                nouns=frozenset(each.present),
                source=each.file.name,
            )
        )
    return backgrounds


def _canvas(image: Image.Image) -> Image.Image:
    factor = CANVAS / max(image.size)
    size = (round(image.width * factor), round(image.height * factor))
    return image.resize(size, Image.Resampling.BILINEAR)
