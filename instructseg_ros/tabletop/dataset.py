"""Tabletop videos: as a data set in folders, and as clips of the shipped recording."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from instructseg_ros.research.benchmark.stream_runs import Clip
from instructseg_ros.research.data.dataset import DataSet
from instructseg_ros.research.data.image_folder import LAYOUT, read, write_entries
from instructseg_ros.research.data.synthetic import save_jpeg
from instructseg_ros.streaming.image_files import write_mask
from instructseg_ros.tabletop.instructions import INSTRUCTION_CATEGORIES, generate
from instructseg_ros.tabletop.world.recording import SCENE_SECONDS, Recording
from instructseg_ros.tabletop.world.simulator import Observation, Tabletop

_SPLITS: Final = ('train', 'val')
_STRIDE: Final = 0.2  # s between frames
_FRAMES: Final = 3
_ABSENT_SHARE: Final = 0.2
_SAMPLE_SIZE: Final = (160, 120)


def write_tabletop(
    folder: Path, seeds: Iterable[int], *, size: tuple[int, int], instructions: int
) -> None:
    """Render scenes and write them as short videos with instructions and masks.

    Args:
        folder: Folder of the split.
        seeds: Seeds of the scenes.
        size: (width, height) of the images, pixels.
        instructions: Number of instructions for each scene.
    """
    entries: list[dict[str, Any]] = []
    with Tabletop(width=size[0], height=size[1]) as tabletop:
        for seed in seeds:
            tabletop.reset(seed)
            rng = np.random.default_rng(seed)
            start = rng.uniform(0, 4)
            seen = [tabletop.observe(start + index * _STRIDE) for index in range(_FRAMES)]
            frames = [f'{seed}/{index}.jpg' for index in range(_FRAMES)]
            for frame, observation in zip(frames, seen, strict=True):
                save_jpeg(folder / frame, observation.rgb)
            entries += _instructions(folder / str(seed), frames, seen, rng, instructions)
    write_entries(folder, entries)


def _instructions(
    folder: Path, frames: list[str], seen: list[Observation], rng: np.random.Generator, count: int
) -> Iterator[dict[str, Any]]:
    categories = tuple(INSTRUCTION_CATEGORIES)
    for number in range(count):
        category = categories[rng.integers(len(categories))]
        absent = bool(rng.random() < _ABSENT_SHARE)
        instruction = generate(
            seen[-1].graph, rng, category=category, absent=absent, held_out=False
        )
        if instruction is None:
            continue
        masks: list[str | None] = []
        for index, observation in enumerate(seen):
            mask = np.isin(observation.labels, list(instruction.targets))
            name = f'{number}_{index}.png'
            if mask.any():
                write_mask(folder / name, mask)
            masks.append(f'{folder.name}/{name}' if mask.any() else None)
        yield {
            'frames': frames,
            'masks': masks,
            'sentences': [instruction.text],
            'reasoning': INSTRUCTION_CATEGORIES[instruction.category].is_reasoning,
        }


def make_sample(folder: Path, seed: int) -> None:
    """Write a few scenes for each split."""
    for number, split in enumerate(_SPLITS):
        first = 100_000 * (seed + 1) + 10 * number
        write_tabletop(folder / split, range(first, first + 2), size=_SAMPLE_SIZE, instructions=6)


DATA_SETS: Final = (
    DataSet(name='tabletop', splits=_SPLITS, read=read, make_sample=make_sample, layout=LAYOUT),
)


INSTRUCTIONS: Final = ('the red mug', 'all the balls', 'something I can drink from', 'the book')


def recorded_images(count: int) -> list[np.ndarray]:
    """Return the first `count` images of the recording, (H, W, 3) uint8 RGB."""
    with Recording() as recording:
        return [recording.observe(i / recording.rate, truth=False).rgb for i in range(count)]


def timing_clip(frames: int, *, rate: float) -> Clip:
    """Return a clip of the recording's first images, stamped at `rate` Hz, with INSTRUCTIONS."""
    stamps = [round(i / rate * 1e9) for i in range(frames)]
    return Clip(images=recorded_images(frames), stamps=stamps, instructions=INSTRUCTIONS)


def tabletop_clips(*, scenes: int, seconds: float = SCENE_SECONDS) -> Iterator[Clip]:
    """Yield the scenes of the recording, with instructions whose targets never change.

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
