"""Batches by step, opened and tokenised beside the training."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import islice

import numpy as np
from torch.utils.data import DataLoader, Dataset

from instructseg_ros.data.sample import Sample
from instructseg_ros.training.batch import Batch
from instructseg_ros.training.examples import Example, ExampleMaker, form_of
from instructseg_ros.training.mixture import Draw, Mixture

_TRIES = 20  # samples that are tried in place of a broken one


class Steps(Dataset[Batch]):
    """The share of one process of every step's batch."""

    def __init__(self, mixture: Mixture, maker: ExampleMaker, *, rank: int, batch: int) -> None:
        self._mixture = mixture
        self._maker = maker
        self._share = slice(rank * batch, (rank + 1) * batch)

    def __getitem__(self, step: int) -> Batch:
        """The batch of a step."""
        skipped: list[str] = []
        draws = self._mixture.draw(step)[self._share]
        examples = [self._example(draw, skipped) for draw in draws]
        return dataclasses.replace(self._maker.batch(examples), skipped=tuple(skipped))

    def _example(self, draw: Draw, skipped: list[str]) -> Example:
        """The example that was drawn, or where it is broken, that of another of its form."""
        for tries, sample in enumerate(islice(self._alike(draw), _TRIES)):
            try:
                return self._maker.make(sample, draw.seed + tries)
            except (OSError, ValueError) as error:
                skipped.append(f'{sample.where or sample.key}: {error}')
        raise ValueError(f'{_TRIES} broken samples in a row: {skipped[-1]}')

    def _alike(self, draw: Draw) -> Iterator[Sample]:
        samples = self._mixture.sources[draw.source].samples
        yield samples[draw.index]
        form = form_of(samples[draw.index], self._maker.config)
        # Neighbours may be other sentences of the same broken video.
        for index in np.random.default_rng(draw.seed).permutation(len(samples)):
            if index != draw.index and form_of(samples[index], self._maker.config) == form:
                yield samples[index]


def batches(steps: Steps, order: range, workers: int) -> DataLoader[Batch]:
    """The batches of some steps, in order.

    Args:
        workers: processes that make them; 0: this one.
    """
    return DataLoader(steps, batch_size=None, sampler=order, num_workers=workers)
