"""Draws and loads the samples of each training step."""

from __future__ import annotations

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import islice

import numpy as np
from torch.utils.data import DataLoader, Dataset

from instructseg_ros.research.data.sample import ImageSource, Sample
from instructseg_ros.research.data.targets import EmptyMask
from instructseg_ros.research.training.examples import Batch, Example, ExampleMaker, form_of


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """Samples that form one source of batches.

    Args:
        name: Name in logs.
        share: How often a batch comes from this source, relative to the other sources.
        samples: At least one sample.
        per_video: Draw a video, then one of its samples with a target, as `Reason_VOS_dataset` in
            the authors' InstructSegDatasets.py does.
    """

    name: str
    share: int
    samples: Sequence[Sample]
    per_video: bool = False


@dataclasses.dataclass(frozen=True)
class Draw:
    """One sample of a batch.

    Args:
        source: Index of the source.
        index: Index of the sample in the source.
        seed: Seed of all random choices for the sample.
    """

    source: int
    index: int
    seed: int


class Mixture:
    """Draws batches, each of one source and one form, as in the authors' InstructSegDatasets.py."""

    def __init__(
        self,
        sources: Sequence[Source],
        form: Callable[[Sample], Hashable],
        *,
        batch: int,
        seed: int,
    ) -> None:
        """Mix sources.

        Args:
            form: Returns the key that all samples of a batch must share.
            batch: Number of samples in a step, over all processes.
            seed: Seed of the order and of the draws.
        """
        self.sources = sources
        self._form = form
        self._batch = batch
        self._seed = seed
        self._order = _interleaved([source.share for source in sources])
        self._choices = [_choices(source) for source in sources]
        self._epoch = functools.lru_cache(maxsize=2 * len(sources))(self._shuffle)

    @property
    def period(self) -> int:
        """Number of steps after which the order of the sources repeats."""
        return len(self._order)

    def source_of(self, step: int) -> int:
        """Return the index of the source that a step's batch comes from."""
        return self._order[step % self.period]

    def batches_of(self, source: int) -> int:
        """Return the number of batches in one pass over a source."""
        return len(self._epoch(source, 0))

    def draw(self, step: int) -> list[Draw]:
        """Draw the batch of a step."""
        source = self.source_of(step)
        rounds, place = divmod(step, self.period)
        earlier = rounds * self._order.count(source) + self._order[:place].count(source)
        epoch, number = divmod(earlier, self.batches_of(source))
        indices = self._epoch(source, epoch)[number]
        seeds = np.random.SeedSequence([self._seed, step]).generate_state(self._batch, np.uint64)
        return [
            Draw(source, index, int(seed) >> 1) for index, seed in zip(indices, seeds, strict=True)
        ]

    def _shuffle(self, source: int, epoch: int) -> list[list[int]]:
        """Draw the batches of one pass; a form too rare to fill a batch repeats its samples."""
        rng = np.random.default_rng([self._seed, source, epoch])
        samples, choices = self.sources[source].samples, self._choices[source]
        forms: dict[Hashable, list[int]] = defaultdict(list)
        for place in rng.permutation(len(choices)).tolist():
            alike = choices[place]
            index = alike[int(rng.integers(len(alike)))] if len(alike) > 1 else alike[0]
            forms[self._form(samples[index])].append(index)
        batches = [
            [same[(start + place) % len(same)] for place in range(self._batch)]
            for same in forms.values()
            for start in range(0, max(1, len(same) - self._batch + 1), self._batch)
        ]
        return [batches[index] for index in rng.permutation(len(batches))]


def _choices(source: Source) -> list[list[int]]:
    """Group the indices of a source's samples; one index per group is drawn in each pass.

    Raises:
        ValueError: Videos are drawn, but no sample has a target.
    """
    if not source.per_video:
        return [[index] for index in range(len(source.samples))]
    videos: dict[ImageSource, list[int]] = defaultdict(list)
    for index, sample in enumerate(source.samples):
        if not all(isinstance(target, EmptyMask) for target in sample.targets):
            videos[sample.frames[0]].append(index)
    if not videos:
        raise ValueError(f'{source.name}: no sentence has a target in any frame')
    return list(videos.values())


def _interleaved(shares: Sequence[int]) -> list[int]:
    """Repeat each source as often as its share, spread evenly: 4:2 becomes 0 1 0 0 1 0."""
    places = [
        ((turn + 0.5) / share, source)
        for source, share in enumerate(shares)
        for turn in range(share)
    ]
    return [source for _, source in sorted(places)]


_MAX_TRIES = 20  # broken samples in a row


class Steps(Dataset[Batch]):
    """Loads one process's share of each step's batch."""

    def __init__(self, mixture: Mixture, maker: ExampleMaker, *, rank: int, batch: int) -> None:
        self._mixture = mixture
        self._maker = maker
        self._share = slice(rank * batch, (rank + 1) * batch)

    def __getitem__(self, step: int) -> Batch:
        """Load the batch of a step."""
        skipped: list[str] = []
        draws = self._mixture.draw(step)[self._share]
        examples = [self._example(draw, skipped) for draw in draws]
        return dataclasses.replace(self._maker.batch(examples), skipped=tuple(skipped))

    def _example(self, draw: Draw, skipped: list[str]) -> Example:
        """Load the drawn example; a broken one is replaced by another of the same form."""
        for tries, sample in enumerate(islice(self._alike(draw), _MAX_TRIES)):
            try:
                return self._maker.make(sample, draw.seed + tries)
            except (OSError, ValueError) as error:
                skipped.append(f'{sample.where or sample.key}: {error}')
        raise ValueError(f'{_MAX_TRIES} broken samples in a row: {skipped[-1]}')

    def _alike(self, draw: Draw) -> Iterator[Sample]:
        samples = self._mixture.sources[draw.source].samples
        yield samples[draw.index]
        form = form_of(samples[draw.index], self._maker.config)
        # In random order: neighbours may be other sentences of the same broken video.
        for index in np.random.default_rng(draw.seed).permutation(len(samples)):
            if index != draw.index and form_of(samples[index], self._maker.config) == form:
                yield samples[index]


def batches(steps: Steps, order: range, workers: int) -> DataLoader[Batch]:
    """Load the batches of some steps, in order.

    Args:
        workers: Number of processes that load them; 0: this process.
    """
    return DataLoader(steps, batch_size=None, sampler=order, num_workers=workers)
