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
    """Samples that are drawn from as one.

    Args:
        name: for logs.
        share: how often a batch comes from it, relative to the other sources.
        samples: at least one.
        per_video: a video is drawn, then one of the samples of it that have a target, as by
            `Reason_VOS_dataset` of the authors' InstructSegDatasets.py.
    """

    name: str
    share: int
    samples: Sequence[Sample]
    per_video: bool = False


@dataclasses.dataclass(frozen=True)
class Draw:
    """A sample of a batch.

    Args:
        source, index: which of the samples.
        seed: for what is drawn for it.
    """

    source: int
    index: int
    seed: int


class Mixture:
    """Homogeneous batches: all samples of one are of one source and one form (spec 6)."""

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
            form: what the samples of a batch must have in common.
            batch: samples of a step, those of all processes together.
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
        """Steps after which the sources come in the same order again."""
        return len(self._order)

    def source_of(self, step: int) -> int:
        """The source of a step's batch."""
        return self._order[step % len(self._order)]

    def batches_of(self, source: int) -> int:
        """Batches of one pass over a source."""
        return len(self._epoch(source, 0))

    def draw(self, step: int) -> list[Draw]:
        """The batch of a step."""
        source = self.source_of(step)
        rounds, place = divmod(step, len(self._order))
        earlier = rounds * self._order.count(source) + self._order[:place].count(source)
        epoch, number = divmod(earlier, self.batches_of(source))
        indices = self._epoch(source, epoch)[number]
        seeds = np.random.SeedSequence([self._seed, step]).generate_state(self._batch, np.uint64)
        return [
            Draw(source, index, int(seed) >> 1) for index, seed in zip(indices, seeds, strict=True)
        ]

    def _shuffle(self, source: int, epoch: int) -> list[list[int]]:
        """Batches of one pass over a source; a form with too few samples for one repeats them."""
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
    """Indices of the samples, one of each list a pass: all of a video, or one alone.

    Raises:
        ValueError: no sample has a target, of a source whose videos are drawn.
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
    """Each source as often as its share, spread evenly: 4:2 becomes 0 1 0 0 1 0."""
    places = [
        ((turn + 0.5) / share, source)
        for source, share in enumerate(shares)
        for turn in range(share)
    ]
    return [source for _, source in sorted(places)]


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
