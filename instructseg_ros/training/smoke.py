"""Shows that a training learns: every loss falls, what is to move moves, what rests rests."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from instructseg_ros.data.registry import make_sample
from instructseg_ros.data.sample import Sample
from instructseg_ros.training.end_to_end import build_learner, read_source, train
from instructseg_ros.training.recipe import Recipe
from instructseg_ros.training.tiny import write_tiny_model

Curves = dict[str, list[tuple[int, float]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What came of a smoke test.

    Args:
        falls: for each loss its mean before anything was learned, over a batch of each source, and
            over the last third of its steps.
        moved: for each part of the recipe and the adapters whether all of its weights moved.
        rested: whether every other weight is bit for bit what it was.
    """

    falls: Mapping[str, tuple[float, float]]
    moved: Mapping[str, bool]
    rested: bool

    @property
    def passed(self) -> bool:
        """Whether all is as it should be."""
        falling = all(last < first for first, last in self.falls.values())
        return falling and all(self.moved.values()) and self.rested

    def __str__(self) -> str:
        lines = [f'{name:40} {a:8.3f} -> {b:8.3f}' for name, (a, b) in self.falls.items()]
        for name, moved in self.moved.items():
            lines.append(f'{name:40} {"moved" if moved else "DID NOT MOVE"}')
        lines.append(f'{"all others":40} {"at rest" if self.rested else "MOVED"}')
        return '\n'.join(lines)


def smoke(recipe: Recipe, output: Path) -> Report:
    """Train the tiny model on synthetic sets of all tasks of a recipe.

    Args:
        output: folder for the sets, the model and the training; one that stopped there goes on.

    Raises:
        ValueError: a training was finished there.
    """
    if (output / 'model').exists():
        raise ValueError(f'{output} has a finished training: remove it or name another --output')
    folders = make_sets(recipe, output / 'data')
    start = output / 'start'
    samples = [read_source(source, folders).samples for source in recipe.sources]
    write_tiny_model(start, [text for each in chain(*samples) for text in _texts(each)])
    train(recipe, start, folders, output)
    moved, rested = _compare(recipe, start, output / 'model')
    return Report(falls=_falls(read_curves(output)), moved=moved, rested=rested)


def make_sets(recipe: Recipe, folder: Path) -> dict[str, Path]:
    """Write a synthetic set for each that a recipe names."""
    names = [name for source in recipe.sources for name in source.sets]
    folders = {name: folder / name for name in names}
    for name, place in folders.items():
        make_sample(name, place, 0)
    return folders


def read_curves(output: Path) -> Curves:
    """What a training logged: (step, value) by name."""
    events = EventAccumulator(str(output / 'logs'), {'scalars': 0})
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()['scalars']
    }


def _falls(curves: Curves) -> dict[str, tuple[float, float]]:
    """The total of each source, and each part over all sources."""
    parts: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for tag, curve in curves.items():
        source, _, part = tag.rpartition('/')
        if source == 'validation':
            continue
        if source and part == 'loss':
            parts[f'{source} loss'] = curve
        elif source:
            parts[part] += curve
    sources = sum(name.endswith(' loss') for name in parts)
    return {name: _ends(sorted(curve), sources) for name, curve in sorted(parts.items())}


def _ends(curve: list[tuple[int, float]], sources: int) -> tuple[float, float]:
    values = [value for _, value in curve]
    first = [value for step, value in curve if step < sources]
    return float(np.mean(first)), float(np.mean(values[-max(1, len(values) // 3) :]))


def _compare(recipe: Recipe, start: Path, end: Path) -> tuple[dict[str, bool], bool]:
    """(whether all weights of each trained part moved, whether all others rested)."""
    plain = dataclasses.replace(recipe, lora=dataclasses.replace(recipe.lora, rank=0))
    before, after = build_learner(plain, start), build_learner(plain, end)
    moved: dict[str, bool] = defaultdict(lambda: True)
    rested = True
    for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True):
        part = next((each for each in recipe.trained if f'.{each}' in f'.{name}'), None)
        if part is None and any(f'.{target}.weight' in name for target in recipe.lora.targets):
            part = 'adapters' if 'language_model' in name else None
        if part is None:
            rested &= torch.equal(old, new)
        else:
            moved[part] &= not torch.equal(old, new)
    return dict(moved), rested


def _texts(sample: Sample) -> Iterator[str]:
    yield from sample.instructions
    yield sample.explanation
    for turn in sample.turns:
        yield from (turn.question, turn.answer)
