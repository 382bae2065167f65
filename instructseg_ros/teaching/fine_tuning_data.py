"""Writes the data that a model is fine-tuned with: examples, composed pictures, rendered scenes."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from instructseg_ros.research.data.image_folder import write_entries
from instructseg_ros.research.data.synthetic import save_jpeg
from instructseg_ros.research.evaluation.photographs import PHOTOGRAPHS, read_photographs
from instructseg_ros.streaming.image_files import write_mask
from instructseg_ros.tabletop.instructions import INSTRUCTION_CATEGORIES, generate
from instructseg_ros.tabletop.instructions.movement import MOTION
from instructseg_ros.tabletop.instructions.noun_phrase import noun_wordings
from instructseg_ros.tabletop.world.arrangement import random_scene
from instructseg_ros.tabletop.world.mujoco_model import OpenGLError
from instructseg_ros.tabletop.world.simulator import Observation, Tabletop
from instructseg_ros.teaching.composer import (
    CANVAS,
    MIN_PIXELS,
    Background,
    Composer,
    Composite,
    Random,
)
from instructseg_ros.teaching.examples import MAX_SIDE, Example, LabelledObject, names_of
from instructseg_ros.teaching.sentences import Sentences, grouped, sentences
from instructseg_ros.teaching.trainer import split

MAX_COMPOSITES: Final = 200  # in the training split
_HELD_OUT: Final = 6  # of so many scenes, photographs and composites, one is for validation
_FIRST_SCENE: Final = 1_810_000  # seed of the first rendered scene
_RECORDED_SECONDS: Final = 2.0  # between two frames of the recording
_SCENE_SENTENCES: Final = 4
_ABSENT_SHARE: Final = 0.2  # of the instructions for rendered scenes
_MAX_DRAWS: Final = 8  # of a composed picture in which no taught object is almost hidden
_T = TypeVar('_T')
Entry = dict[str, Any]


def write_data(
    examples: Sequence[Example],
    folder: Path,
    *,
    composites: int,
    scenes: int,
    report: Callable[[float], None],
    seed: int = 0,
) -> None:
    """Write the splits `train` and `val` in the package's folder format, if they are not there.

    The held-out examples are those of `trainer.split`. Scenes and photographs that may show a
    taught object are left out, because it is not labelled in them.

    Args:
        examples: Examples of the taught objects.
        folder: Folder of the splits; appears only when it is complete.
        composites: Composed pictures for each example, up to `MAX_COMPOSITES`.
        scenes: Rendered scenes: backgrounds, and ordinary objects to rehearse.
        report: Receives the share that is done.
        seed: Seed of everything that is random.
    """
    if folder.is_dir():
        return
    draft = folder.with_suffix('.partial')
    shutil.rmtree(draft, ignore_errors=True)
    names = names_of(examples)
    rendered = _hold_out([each for each in see_scenes(scenes) if not _may_show(each, names)])
    photographs = _hold_out(_photographs(names))
    report(0.2)
    count = min(composites * len(examples), MAX_COMPOSITES)
    counts = (count, -(-count // _HELD_OUT))
    parts = zip(('train', 'val'), split(examples, names), rendered, photographs, strict=True)
    for number, (name, labelled, seen, photographed) in enumerate(parts):
        rng = np.random.default_rng([seed, number])
        backgrounds = [*map(_background, seen), *photographed]
        writer = _SplitWriter(draft / name, names, rng)
        writer.add_examples(labelled)
        for place, one in enumerate(_composed(labelled, names, backgrounds, counts[number], rng)):
            writer.add_examples([one])
            report(0.2 + 0.4 * number + 0.4 * (place + 1) / counts[number])
        writer.add_scenes(seen)
        write_entries(draft / name, writer.entries)
    report(1.0)
    draft.rename(folder)


class _SplitWriter:
    """Writes pictures and masks of one split, and collects its lines."""

    def __init__(self, folder: Path, names: Sequence[str], rng: Random) -> None:
        self.entries: list[Entry] = []
        self._folder = folder
        self._names = names
        self._rng = rng
        self._pictures = 0

    def add_examples(self, examples: Iterable[Example]) -> None:
        """Add labelled pictures with the sentences of their grammar."""
        for example in examples:
            small = example.scaled(MAX_SIDE)
            there = {one.name for one in small.objects}
            asked = [name for name in self._names if name in there]
            written: Sentences = {}
            for name in asked or [str(self._rng.choice(self._names))]:
                written |= sentences(small, name, others=self._names, rng=self._rng)
            self._add(small.image, [(mask, texts, False) for mask, texts in grouped(written)])

    def add_scenes(self, seen: Iterable[Observation]) -> None:
        """Add rendered scenes with generated instructions for their ordinary objects."""
        for observation in seen:
            self._add(observation.rgb, list(_instructions(observation, self._rng)))

    def _add(
        self, image: np.ndarray, lines: Sequence[tuple[np.ndarray | None, list[str], bool]]
    ) -> None:
        picture = f'images/{self._pictures:04}.jpg'
        save_jpeg(self._folder / picture, image)
        for number, (mask, texts, reasoning) in enumerate(lines):
            file = None if mask is None else f'masks/{self._pictures:04}_{number}.png'
            if file is not None and mask is not None:
                write_mask(self._folder / file, mask)
            self.entries.append(
                {'image': picture, 'mask': file, 'sentences': texts, 'reasoning': reasoning}
            )
        self._pictures += 1


def see_scenes(count: int) -> list[Observation]:
    """Render random tabletop scenes; without OpenGL, take frames of the shipped recording."""
    if not count:
        return []
    try:
        with Tabletop() as tabletop:
            seen = []
            for seed in range(_FIRST_SCENE, _FIRST_SCENE + count):
                tabletop.show(random_scene(seed))
                seen.append(tabletop.observe(0.0))
            return seen
    except OpenGLError:
        # Imported here: it needs rosbags.
        from instructseg_ros.tabletop.world.recording import Recording

        with Recording() as recording:
            different = int(recording.duration / _RECORDED_SECONDS)
            times = [_RECORDED_SECONDS * number for number in range(min(count, different))]
            return [recording.observe(time) for time in times]


def _may_show(observation: Observation, names: Sequence[str]) -> bool:
    """Return whether an object of a rendered scene may be called by one of some names."""
    nouns = {obj.category for obj in observation.graph}
    nouns |= {noun for category in nouns for noun in noun_wordings(category).trained}
    return any(name in nouns or name.rpartition(' ')[2] in nouns for name in names)


def _photographs(names: Sequence[str]) -> list[Background]:
    """Read the photographs of the package that show none of some objects."""
    pictures = [
        each for each in read_photographs(PHOTOGRAPHS) if not {*names} & each.present.keys()
    ]
    images = [np.asarray(each.image()) for each in pictures]
    scaled = [Example(image=image, objects=(), source='').scaled(CANVAS) for image in images]
    return [
        Background(image=each.image, labels=np.zeros(each.image.shape[:2], np.uint8))
        for each in scaled
    ]


def _background(observation: Observation) -> Background:
    assert observation.labels is not None
    return Background(image=observation.rgb, labels=observation.labels)


def _instructions(
    observation: Observation, rng: Random
) -> Iterator[tuple[np.ndarray | None, list[str], bool]]:
    """Generate instructions that need no video: their masks, texts, and whether they are questions.

    Categories are as frequent as in the training of the embedded model.
    """
    assert observation.labels is not None
    graph = tuple(dataclasses.replace(obj, motion=None, manner=None) for obj in observation.graph)
    categories = [each for each in INSTRUCTION_CATEGORIES.values() if each is not MOTION]
    shares = np.array([each.share_at_rest for each in categories])
    for _ in range(_SCENE_SENTENCES):
        category = categories[int(rng.choice(len(categories), p=shares / shares.sum()))]
        absent = bool(rng.random() < _ABSENT_SHARE)
        instruction = generate(graph, rng, category=category.name, absent=absent)
        if instruction is not None:
            mask = np.isin(observation.labels, list(instruction.targets))
            yield (mask if mask.any() else None), [instruction.text], category.is_reasoning


def _composed(
    examples: Sequence[Example],
    names: Sequence[str],
    backgrounds: Sequence[Background],
    count: int,
    rng: Random,
) -> Iterator[Example]:
    """Compose pictures in which the objects of some examples lie among others."""
    if not any(_is_whole(one.mask) for each in examples for one in each.objects):
        return  # nothing can be cut out
    composer = Composer(examples, names, backgrounds, rng)
    for _ in range(count):
        drawn = (composer.draw() for _ in range(_MAX_DRAWS))
        composite = next((each for each in drawn if not _has_hidden(each)), None)
        if composite is not None:
            yield _labelled(composite, names)


def _is_whole(mask: np.ndarray) -> bool:
    """Return whether an object is large enough and not cut off by the edge of its picture."""
    return bool(mask.sum() >= MIN_PIXELS and not mask[[0, -1]].any() and not mask[:, [0, -1]].any())


def _has_hidden(composite: Composite) -> bool:
    """Return whether a taught object is hidden so far that nobody could name it."""
    return bool(((composite.names > 0) & (composite.objects == 0)).any())


def _labelled(composite: Composite, names: Sequence[str]) -> Example:
    taught = composite.names > 0
    objects = []
    for value in np.unique(composite.objects[taught]):
        mask = taught & (composite.objects == value)
        name = names[int(composite.names[mask][0]) - 1]
        objects.append(LabelledObject(name=name, mask=mask))
    return Example(image=composite.image, objects=tuple(objects), source='composed')


def _hold_out(items: Sequence[_T]) -> tuple[list[_T], list[_T]]:
    """Split items into those to train with and those to validate with."""
    held_out = list(items[_HELD_OUT - 1 :: _HELD_OUT])
    return [each for i, each in enumerate(items) if i % _HELD_OUT != _HELD_OUT - 1], held_out
