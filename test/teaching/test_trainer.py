"""The training of the heads of taught nouns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from shape_examples import plain_background, quick_teaching, shape_example, shape_examples  # noqa: F401

from instructseg_ros.model.model_files import find_model
from instructseg_ros.model.noun_finder import NounNetwork
from instructseg_ros.teaching.examples import Example, names_of
from instructseg_ros.teaching.trainer import HeadTrainer, Progress, split

pytestmark = pytest.mark.usefixtures('quick_teaching')


@pytest.fixture(scope='module')
def backbone() -> NounNetwork:
    return NounNetwork.load(find_model('embedded'))


@pytest.fixture
def trainer(backbone: NounNetwork) -> Callable[..., HeadTrainer]:
    """Return a function that makes a trainer of stars and staplers."""

    def make(steps: int = 2, **options: Any) -> HeadTrainer:
        names = ['stapler', 'star']
        backgrounds = [plain_background(seed) for seed in range(2)]
        return HeadTrainer(
            backbone, names, shape_examples(*names), backgrounds, steps=steps, **options
        )

    return make


def sources(examples: Sequence[Example]) -> list[str]:
    return [each.source for each in examples]


def test_every_sixth_example_of_a_noun_is_held_out() -> None:
    kept, held_out = split(shape_examples('star', 'stapler', count=13), ['stapler', 'star'])
    assert sources(held_out) == ['star 5', 'star 11', 'stapler 5', 'stapler 11']
    assert len(kept) == 22 and not {*sources(kept)} & {*sources(held_out)}


def test_few_examples_both_train_and_choose_the_best_step() -> None:
    examples = [*shape_examples('star', count=6), *shape_examples('stapler', count=5)]
    kept, held_out = split(examples, ['stapler', 'star'])
    assert sources(kept) == sources(held_out) == sources(examples)


def test_the_progress_of_each_stage_grows_to_its_end_and_has_the_iou_of_the_pixels(
    trainer: Callable[..., HeadTrainer],
) -> None:
    reported: list[Progress] = []
    trainer().run(reported.append)
    for stage in ('views', 'pixels'):
        done = [each.done for each in reported if each.stage == stage]
        assert done == sorted(done) and done[-1] == 1.0
    assert reported[-1].stage == 'pixels'
    assert reported[-1].iou is not None and 0 <= reported[-1].iou <= 1
    assert all(each.iou is None for each in reported if each.stage == 'views')


def test_the_backbone_does_not_change(
    trainer: Callable[..., HeadTrainer], backbone: NounNetwork
) -> None:
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    trainer().run(lambda progress: None)
    for name, value in backbone.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_the_same_seed_gives_the_same_heads(trainer: Callable[..., HeadTrainer]) -> None:
    first, second = (trainer(1).run(lambda progress: None).state_dict() for _ in range(2))
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_the_thresholds_and_the_number_of_examples_are_stored(
    trainer: Callable[..., HeadTrainer],
) -> None:
    network = trainer(1).run(lambda progress: None)
    assert [noun.name for noun in network.nouns] == ['stapler', 'star']
    for noun in network.nouns:
        assert noun.examples == 3
        assert 0.39 < noun.view_threshold < 0.76


def stop_after(steps: int, error: BaseException) -> Callable[[Progress], None]:
    """Return a report that raises an error after some steps of the pixel head."""
    done: list[float] = []

    def report(progress: Progress) -> None:
        if progress.stage == 'pixels':
            done.append(progress.done)
        if len(done) == steps:
            done.clear()
            raise error

    return report


def validate_as(monkeypatch: pytest.MonkeyPatch, *figures: float) -> list[torch.Tensor]:
    """Let measurements have these results; return a list of the weights that were measured."""
    measured: list[torch.Tensor] = []

    def validate(self: HeadTrainer) -> float:
        measured.append(self.network.pixels.join.weight.detach().clone())
        return figures[len(measured) - 1]

    monkeypatch.setattr(HeadTrainer, '_validate', validate)
    return measured


def test_the_weights_with_the_best_measurement_are_kept(
    trainer: Callable[..., HeadTrainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = validate_as(monkeypatch, 0.1, 0.5, 0.3)
    network = trainer(3).run(lambda progress: None)
    assert torch.equal(network.pixels.join.weight, measured[1])
    assert not torch.equal(measured[1], measured[2])


def test_an_interruption_keeps_the_best_weights_so_far(
    trainer: Callable[..., HeadTrainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = validate_as(monkeypatch, 0.5, 0.1)
    network = trainer(9).run(stop_after(2, KeyboardInterrupt()))
    assert len(measured) == 2
    assert torch.equal(network.pixels.join.weight, measured[0])


def test_an_interruption_before_the_first_measurement_keeps_the_newest_weights(
    trainer: Callable[..., HeadTrainer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('instructseg_ros.teaching.trainer._VALIDATE_EVERY', 50)
    made = trainer(9)
    start = made.network.pixels.join.weight.detach().clone()
    network = made.run(stop_after(2, KeyboardInterrupt()))
    assert not torch.equal(network.pixels.join.weight, start)


def test_a_resumed_training_starts_with_the_checkpoint_and_measures_it(
    trainer: Callable[..., HeadTrainer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / 'checkpoint.safetensors'
    with pytest.raises(RuntimeError, match='killed'):
        trainer(3, checkpoint=file).run(stop_after(2, RuntimeError('killed')))
    saved = load_file(file)
    assert int(saved['step']) == 2
    measured = validate_as(monkeypatch, 0.5, 0.1)
    network = trainer(3, checkpoint=file).run(lambda progress: None)
    assert torch.equal(measured[0], saved['join.weight'])
    assert torch.equal(network.pixels.join.weight, measured[0])  # better than after the last step


def test_a_finished_checkpoint_needs_no_step(
    trainer: Callable[..., HeadTrainer], tmp_path: Path
) -> None:
    file = tmp_path / 'checkpoint.safetensors'
    first = trainer(1, checkpoint=file).run(lambda progress: None)
    reported: list[Progress] = []
    second = trainer(1, checkpoint=file).run(reported.append)
    assert {each.stage for each in reported} == {'views'}
    assert torch.equal(first.pixels.join.weight, second.pixels.join.weight)


def test_a_picture_of_several_nouns_counts_for_each() -> None:
    star, stapler = shape_example('star', 1), shape_example('stapler', 2)
    both = Example(image=star.image, objects=(*star.objects, *stapler.objects), source='both')
    assert names_of([both]) == ['stapler', 'star']
    _, held_out = split([both] * 6, ['stapler', 'star'])
    assert held_out == [both]
    assert np.array_equal(both.union('star'), star.union('star'))
