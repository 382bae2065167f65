"""Writes the data that a model is fine-tuned with: examples, composed pictures, rendered scenes."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from instructseg_ros.research.data.image_folder import write_entries
from instructseg_ros.research.data.synthetic import save_jpeg
from instructseg_ros.streaming.image_files import write_mask
from instructseg_ros.tabletop.instructions import INSTRUCTION_CATEGORIES, generate
from instructseg_ros.tabletop.instructions.movement import MOTION
from instructseg_ros.tabletop.world.simulator import Observation
from instructseg_ros.teaching.backgrounds import (
    Background,
    observe_scenes,
    photographed_backgrounds,
    scene_background,
)
from instructseg_ros.teaching.composer import Composer, Composite, Random, is_whole
from instructseg_ros.teaching.examples import MAX_SIDE, Example, LabelledObject, names_of
from instructseg_ros.teaching.sentences import Sentences, grouped, sentences
from instructseg_ros.teaching.trainer import HELD_OUT, hold_out, split

MAX_COMPOSITES: Final = 200  # in the training split
_SCENE_SENTENCES: Final = 4
_ABSENT_SHARE: Final = 0.2  # of the instructions for rendered scenes
_MAX_DRAWS: Final = 8  # of a composed picture in which no taught object is almost hidden
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
    seen = [each for each in observe_scenes(scenes) if not scene_background(each).may_show(names)]
    rendered = hold_out(seen)
    photographs = hold_out([e for e in photographed_backgrounds() if not e.may_show(names)])
    report(0.2)
    count = min(composites * len(examples), MAX_COMPOSITES)
    counts = (count, -(-count // HELD_OUT))
    parts = zip(('train', 'val'), split(examples, names), rendered, photographs, strict=True)
    for number, (name, labelled, observed, photographed) in enumerate(parts):
        rng = np.random.default_rng([seed, number])
        backgrounds = [*map(scene_background, observed), *photographed]
        writer = _SplitWriter(draft / name, names, rng)
        writer.add_examples(labelled)
        for place, one in enumerate(_composed(labelled, names, backgrounds, counts[number], rng)):
            writer.add_examples([one])
            report(0.2 + 0.4 * number + 0.4 * (place + 1) / counts[number])
        writer.add_scenes(observed)
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
    if not any(is_whole(one.mask) for each in examples for one in each.objects):
        return  # nothing can be cut out
    composer = Composer(examples, names, backgrounds, rng)
    for _ in range(count):
        drawn = (composer.draw() for _ in range(_MAX_DRAWS))
        composite = next((each for each in drawn if not _has_hidden(each)), None)
        if composite is not None:
            yield _labelled(composite, names)


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
