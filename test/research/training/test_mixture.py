from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from instructseg_ros.research.data.sample import ImageFile, Sample, SampleTask
from instructseg_ros.research.data.targets import EmptyMask, Polygons
from instructseg_ros.research.training.batches import Mixture, Source
from instructseg_ros.research.training.examples import ExampleConfig, form_of

CONFIG = ExampleConfig()


def sample(key: str, frames: int = 1) -> Sample:
    task = SampleTask.VIDEO_REFERRING if frames > 1 else SampleTask.IMAGE_REFERRING
    return Sample(key=key, task=task, frames=(None,) * frames)  # type: ignore[arg-type]


def sentence(video: int, number: int, *, target: bool = True) -> Sample:
    """One of the sentences about a video."""
    frames = tuple(ImageFile(Path(f'{video}/{index}.jpg')) for index in range(6))
    nothing = EmptyMask((4, 4))
    targets = (nothing, Polygons((4, 4), ((1, 1),)) if target else nothing, *[nothing] * 4)
    return Sample(
        key=f'{video}/{number}', task=SampleTask.VIDEO_REASONING, frames=frames, targets=targets
    )


def mixture(*counts: tuple[int, Sequence[Sample]], batch: int = 4, seed: int = 0) -> Mixture:
    sources = [
        Source(name=str(index), share=share, samples=samples)
        for index, (share, samples) in enumerate(counts)
    ]
    return Mixture(sources, lambda each: form_of(each, CONFIG), batch=batch, seed=seed)


STILLS = [sample(str(index)) for index in range(12)]
VIDEOS = [sample(str(index), frames=6) for index in range(5)]
SHORT = [sample(f's{index}', frames=3) for index in range(6)]


def test_sources_come_as_often_as_their_share_says_and_evenly_spread() -> None:
    mixed = mixture((4, STILLS), (2, STILLS), (4, STILLS), (1, STILLS), (3, STILLS))
    order = [mixed.source_of(step) for step in range(28)]
    assert Counter(order) == {0: 8, 1: 4, 2: 8, 3: 2, 4: 6}
    assert all(first != second for first, second in itertools.pairwise(order))


def test_an_epoch_has_every_sample_once() -> None:
    mixed = mixture((1, STILLS))
    drawn = [draw.index for step in range(3) for draw in mixed.draw(step)]
    assert sorted(drawn) == list(range(12))
    again = [draw.index for step in range(3, 6) for draw in mixed.draw(step)]
    assert sorted(again) == list(range(12)) and again != drawn


def test_samples_of_a_batch_have_the_same_form() -> None:
    samples = [*STILLS, *VIDEOS, *SHORT]
    mixed = mixture((1, samples))
    for step in range(20):
        assert len({form_of(samples[draw.index], CONFIG) for draw in mixed.draw(step)}) == 1


def test_too_few_samples_for_a_batch_are_repeated() -> None:
    mixed = mixture((1, VIDEOS[:3]), batch=8)
    assert Counter(draw.index for draw in mixed.draw(0)).keys() == {0, 1, 2}


def test_a_video_is_drawn_and_then_one_of_its_sentences_that_have_a_target() -> None:
    talked_about = [sentence(0, number) for number in range(30)]
    samples = [
        *talked_about,
        sentence(0, 30, target=False),
        sentence(1, 0),
        sentence(1, 1),
        sentence(2, 0),
        sentence(3, 0, target=False),
    ]
    source = Source(name='revos', share=1, samples=samples, per_video=True)
    mixed = Mixture([source], lambda each: form_of(each, CONFIG), batch=3, seed=0)
    drawn = [[samples[draw.index].key for draw in mixed.draw(step)] for step in range(200)]
    assert all({key[0] for key in batch} == {'0', '1', '2'} for batch in drawn)
    counts = Counter(key for batch in drawn for key in batch)
    assert '0/30' not in counts and counts['2/0'] == 200
    assert counts['1/0'] > 50 and counts['1/1'] > 50  # each about every other time
    assert len(counts) > 20


def test_videos_without_a_target_cannot_be_drawn() -> None:
    source = Source(name='revos', share=1, samples=[sentence(0, 0, target=False)], per_video=True)
    with pytest.raises(ValueError, match='revos: no sentence has a target in any frame'):
        Mixture([source], lambda each: form_of(each, CONFIG), batch=3, seed=0)


def test_a_step_is_drawn_alike_whatever_was_drawn_before() -> None:
    ordered = mixture((1, STILLS), (2, VIDEOS))
    drawn = [ordered.draw(step) for step in range(30)]
    alone = mixture((1, STILLS), (2, VIDEOS))
    assert alone.draw(29) == drawn[29]
    assert mixture((1, STILLS), (2, VIDEOS), seed=1).draw(29) != drawn[29]
    assert len({draw.seed for batch in drawn for draw in batch}) == 30 * 4
