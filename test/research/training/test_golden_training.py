"""Equality with the authors' training, on every case that was recorded from it."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from pathlib import Path

import golden
import pytest
import torch
from torch import nn

from instructseg_ros.model.conversion.released_layout import our_names
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.prompt_builder import IGNORED
from instructseg_ros.research.training.criterion import Criterion, CriterionConfig
from instructseg_ros.research.training.examples import Batch
from instructseg_ros.research.training.trainer import LossOutput
from instructseg_ros.research.training.training_model import TrainingModel

CASES = [case for case in golden.cases(*golden.FOLDERS) if golden.is_training(case)]
CRITERION = Criterion(CriterionConfig(points=112))
LOSSES, GRADIENTS = 1e-5, 1e-3  # largest deviation, relative

Case = dict[str, torch.Tensor]
LearnerOf = Callable[[Path], TrainingModel]


class RecordedDraws:
    """The random points that the authors' code drew for one prediction: three times a sample."""

    def __init__(self, case: Case, name: str, counts: list[int]) -> None:
        self._case, self._name, self._counts = case, f'rand.{name}', counts

    def __call__(self, sample: int, masks: int, count: int) -> torch.Tensor:
        if count == CRITERION.config.points:
            return self._case[f'{self._name}.matcher.b{sample}']
        whole = int(CRITERION.config.points * CRITERION.config.oversampling)
        which = 'oversampled' if count == whole else 'extra_random'
        start = sum(self._counts[:sample])
        points = self._case[f'{self._name}.loss.{which}'][start : start + masks]
        assert points.shape == (masks, count, 2)
        return points


def names(predictions: int) -> list[str]:
    return [f'aux{index}' for index in range(predictions - 1)] + ['final']


def read_batch(file: Path, model: InstructSegModel) -> tuple[Batch, Case]:
    inputs, case = golden.read_case(file, model.config)
    count = len(case['in.input_ids'])
    batch = Batch(
        keys=tuple(str(index) for index in range(count)),
        seeds=(0,) * count,
        labels=labels(case, inputs.prompt.input_ids.shape[-1]),
        targets=tuple(case[f'in.gt_masks.b{index}'] for index in range(count)),
        **vars(inputs),
    )
    return batch, case


def labels(case: Case, length: int) -> torch.Tensor:
    """The next token at each place where it is learned."""
    shifted = torch.full((len(case['mm.labels']), length), IGNORED)
    if case['loss.total.loss_llm'].item():
        shifted[:, :-1] = case['mm.labels'][:, 1:length]
    return shifted


def with_head(model: InstructSegModel, head: torch.Tensor) -> TrainingModel:
    linear = nn.Linear(*reversed(head.shape), bias=False)
    linear.weight = nn.Parameter(head)
    return TrainingModel(model, CRITERION, linear)


@pytest.fixture(scope='module')
def learner_of(tmp_path_factory: pytest.TempPathFactory) -> LearnerOf:
    """The learner of a folder of cases."""

    @functools.cache
    def make(source: Path) -> TrainingModel:
        model = golden.golden_model(source, tmp_path_factory.mktemp('golden') / 'model')
        return with_head(model, golden.head(source))

    return make


def near(mine: torch.Tensor, theirs: torch.Tensor, relative: float = LOSSES) -> None:
    torch.testing.assert_close(mine.detach(), theirs.view_as(mine), rtol=relative, atol=relative)


def learn(learner: TrainingModel, batch: Batch, case: Case) -> LossOutput:
    counts = [len(target) for target in batch.targets]
    count = len(learner.model.mask_decoder.layers) + 1
    return learner(batch, [RecordedDraws(case, name, counts) for name in names(count)])


@pytest.mark.parametrize('file', CASES, ids=lambda file: file.stem)
def test_matching_costs_and_assignments_equal_the_authors(
    file: Path, learner_of: LearnerOf
) -> None:
    learner = learner_of(file.parent)
    batch, case = read_batch(file, learner.model)
    counts = [len(target) for target in batch.targets]
    for layer, name in enumerate(names(len(learner.model.mask_decoder.layers) + 1)):
        masks = case[f'decoder.layer{layer}.pred_masks']
        draws = RecordedDraws(case, name, counts)
        for sample, found in enumerate(CRITERION.match(masks, batch.targets, draws)):
            points = draws(sample, 1, CRITERION.config.points)
            costs = CRITERION.costs(masks[sample], batch.targets[sample], points)
            near(costs, case[f'match.{name}.cost.b{sample}'])
            assert torch.equal(found.queries, case[f'match.{name}.query_idx.b{sample}'])
            assert torch.equal(found.targets, case[f'match.{name}.target_idx.b{sample}'])


@pytest.mark.parametrize('file', CASES, ids=lambda file: file.stem)
def test_sampled_points_equal_the_authors(file: Path, learner_of: LearnerOf) -> None:
    learner = learner_of(file.parent)
    batch, case = read_batch(file, learner.model)
    counts = [len(target) for target in batch.targets]
    for layer, name in enumerate(names(len(learner.model.mask_decoder.layers) + 1)):
        draws = RecordedDraws(case, name, counts)
        masks = case[f'decoder.layer{layer}.pred_masks']
        chosen = CRITERION.match(masks, batch.targets, draws)
        logits = torch.cat([all_of[m.queries] for all_of, m in zip(masks, chosen, strict=True)])
        points = CRITERION.points(logits, counts, draws)
        near(points, case[f'loss.{name}.point_coords'])


@pytest.mark.parametrize('file', CASES, ids=lambda file: file.stem)
@torch.no_grad()
def test_every_loss_equals_the_authors(file: Path, learner_of: LearnerOf) -> None:
    learner = learner_of(file.parent)
    batch, case = read_batch(file, learner.model)
    lesson = learn(learner, batch, case)
    theirs = {'score': 'loss_SEG_class', 'mask': 'loss_mask', 'dice': 'loss_dice'}
    for name, value in lesson.parts.items():
        if name == 'words':
            near(value, case['loss.total.loss_llm'])
            continue
        part, _, layer = name.partition('_')
        ending = f'_{layer}' if layer else ''
        recorded = f'loss.unweighted.{theirs[part]}{ending}'
        near(value, case[recorded])
    near(lesson.loss, case['loss.total.loss'])


@pytest.mark.parametrize('file', CASES, ids=lambda file: file.stem)
def test_gradients_equal_the_authors(file: Path, learner_of: LearnerOf) -> None:
    learner = learner_of(file.parent)
    recorded = file.with_suffix('.gradnorms.json')
    if not recorded.is_file():
        pytest.skip(f'{recorded} is missing: there are no norms to compare with')
    norms = json.loads(recorded.read_text())
    batch, case = read_batch(file, learner.model)
    learner.zero_grad()
    learn(learner, batch, case).loss.backward()
    gradients = {name: p.grad for name, p in learner.model.named_parameters()}
    layers = learner.model.config.vision_config.num_hidden_layers
    for name, theirs in norms.items():
        if name == 'lm_head.weight':
            mine = [learner.head.weight.grad]
        else:
            mine = [gradients[ours] for ours in our_names(name, vision_layers=layers)]
        if theirs is None:
            assert all(each is None for each in mine), name
        else:
            norm = math.sqrt(sum(each.norm().item() ** 2 for each in mine))
            assert norm == pytest.approx(theirs, rel=GRADIENTS, abs=1e-6), name


def test_there_is_a_case_of_training() -> None:
    shipped = [case for case in golden.cases(golden.SHIPPED) if golden.is_training(case)]
    assert shipped
