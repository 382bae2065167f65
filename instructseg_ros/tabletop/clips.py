"""Clips of the shipped recording, with or without true masks, for `instructseg benchmark`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from instructseg_ros.research.benchmark.stream_runs import Clip
from instructseg_ros.tabletop.instructions import INSTRUCTION_CATEGORIES, generate
from instructseg_ros.tabletop.world.recording import SCENE_SECONDS, Recording
from instructseg_ros.tabletop.world.simulator import Observation

INSTRUCTIONS: Final = ('the red mug', 'all the balls', 'something I can drink from', 'the book')


def recorded_images(count: int) -> list[np.ndarray]:
    """The first (H, W, 3) uint8 RGB images of the recording."""
    with Recording() as recording:
        return [recording.observe(i / recording.rate, truth=False).rgb for i in range(count)]


def timing_clip(frames: int, *, rate: float) -> Clip:
    """The first images of the recording with four instructions, stamped at `rate` frames/s."""
    stamps = [round(i / rate * 1e9) for i in range(frames)]
    return Clip(images=recorded_images(frames), stamps=stamps, instructions=INSTRUCTIONS)


def tabletop_clips(*, scenes: int, seconds: float = SCENE_SECONDS) -> Iterator[Clip]:
    """The scenes of the recording, with instructions whose targets never change.

    Args:
        scenes: Number of scenes, limited to those that were recorded.
        seconds: Length of each clip.
    """
    with Recording() as recording:
        count = round(min(seconds, SCENE_SECONDS) * recording.rate)
        for scene in range(min(scenes, round(recording.duration / SCENE_SECONDS))):
            recording.reset(scene)
            observations = [recording.observe(i / recording.rate) for i in range(count)]
            yield _clip(observations, np.random.default_rng(scene))


def _clip(observations: Sequence[Observation], rng: np.random.Generator) -> Clip:
    graph = observations[0].graph
    names = [name for name, category in INSTRUCTION_CATEGORIES.items() if category.is_lasting]
    drawn = [generate(graph, rng, category=name) for name in names]
    instructions = [instruction for instruction in drawn if instruction is not None]
    return Clip(
        images=[each.rgb for each in observations],
        stamps=[round(each.time * 1e9) for each in observations],
        instructions=[instruction.text for instruction in instructions],
        truths=[
            [np.isin(each.labels, list(instruction.targets)) for each in observations]
            for instruction in instructions
        ],
    )
