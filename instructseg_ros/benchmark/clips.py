"""Videos and instructions for the benchmark of the stream."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from instructseg_ros.simulation.instructions import generate
from instructseg_ros.simulation.recording import SCENE_SECONDS, Recording
from instructseg_ros.simulation.tabletop import Observation

# What these mean does not change while things move.
_KINDS: Final = ('attribute', 'plural', 'use')
INSTRUCTIONS: Final = ('the red mug', 'all the balls', 'something I can drink from', 'the book')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """A video with what is asked of it.

    Args:
        images: (H, W, 3) uint8 RGB each.
        stamps: when they were captured, ns.
        instructions: asked one by one, or all at once.
        truths: for each instruction its (H, W) bool mask on each image; () where it is not known.
    """

    images: Sequence[np.ndarray]
    stamps: Sequence[int]
    instructions: Sequence[str]
    truths: Sequence[Sequence[np.ndarray]] = ()

    def __len__(self) -> int:
        return len(self.images)


def timing_clip(frames: int, *, rate: float) -> Clip:
    """The first frames of the shipped recording, as if they had been taken at a rate."""
    with Recording() as recording:
        images = [recording.observe(i / recording.rate, truth=False).rgb for i in range(frames)]
    stamps = [round(i / rate * 1e9) for i in range(frames)]
    return Clip(images=images, stamps=stamps, instructions=INSTRUCTIONS)


def tabletop_clips(*, scenes: int, seconds: float = SCENE_SECONDS) -> Iterator[Clip]:
    """The scenes of the shipped recording, each with an instruction of each lasting kind.

    Args:
        scenes: at most as many as it has.
        seconds: of each scene.
    """
    with Recording() as recording:
        count = round(min(seconds, SCENE_SECONDS) * recording.rate)
        for scene in range(min(scenes, round(recording.duration / SCENE_SECONDS))):
            recording.reset(scene)
            seen = [recording.observe(i / recording.rate) for i in range(count)]
            yield _clip(seen, np.random.default_rng(scene))


def _clip(seen: Sequence[Observation], rng: np.random.Generator) -> Clip:
    drawn = (generate(seen[0].graph, rng, kind=kind) for kind in _KINDS)
    asked = [each for each in drawn if each is not None]
    return Clip(
        images=[each.rgb for each in seen],
        stamps=[round(each.time * 1e9) for each in seen],
        instructions=[each.text for each in asked],
        truths=[
            [np.isin(each.labels, list(instruction.targets)) for each in seen]
            for instruction in asked
        ],
    )
