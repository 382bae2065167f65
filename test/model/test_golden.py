"""Equality with the authors' model, on every case that was recorded from it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import golden
import pytest
import torch
from small_models import processor_of

from instructseg_ros.model.mask_decoder import MaskPredictions, best_mask, mask_quality
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.stage_outputs import Prompt

FEATURES, LOGITS = 1e-4, 1e-3  # largest deviation, absolute


ModelOf = Callable[[Path], InstructSegModel]


@pytest.fixture(scope='module')
def model_of(tmp_path_factory: pytest.TempPathFactory) -> ModelOf:
    """The model of a folder of cases."""
    return functools.cache(
        lambda source: golden.golden_model(source, tmp_path_factory.mktemp('golden') / 'model')
    )


INFERRED = [case for case in golden.cases(*golden.FOLDERS) if not golden.is_training(case)]


@pytest.mark.parametrize('file', INFERRED, ids=lambda file: file.stem)
@torch.inference_mode()
def test_every_stage_equals_the_authors(file: Path, model_of: ModelOf) -> None:
    model = model_of(file.parent)
    inputs, case = golden.read_case(file, model.config)
    with golden.recorded(model) as outputs:
        answer = model(**vars(inputs))
    features = model.encode_pixels(inputs.pixel_values)

    check_vision(outputs, case, still=inputs.reference_values is None)
    check_language(outputs, case, inputs.prompt)
    for level, mine in enumerate(features.levels):
        near(mine, case[f'pixel_decoder.multi_scale.{level}'])
    near(features.mask_features, case['pixel_decoder.mask_features'])
    for layer, prediction in enumerate(answer.predictions):
        near(prediction.mask_logits[0], case[f'decoder.layer{layer}.pred_masks'], LOGITS)
        scores = case[f'decoder.layer{layer}.pred_SEG_logits']
        near(prediction.score_logits[0], scores[..., 0], LOGITS)
    check_answer(model, answer.final, case)


def near(mine: torch.Tensor, theirs: torch.Tensor, most: float = FEATURES) -> None:
    torch.testing.assert_close(mine, theirs, rtol=0, atol=most)


def check_vision(
    outputs: dict[str, list[torch.Tensor]], case: dict[str, torch.Tensor], *, still: bool
) -> None:
    """They encode references first, one by one, and a still image twice; we the key frame first."""
    calls = sum(name.startswith('siglip.features.') for name in case)
    for name in ('siglip.features', 'projector.out'):
        theirs = torch.cat([case[f'{name}.call{i}'] for i in range(calls)])
        mine = torch.cat([*outputs[name][1:], outputs[name][0]])
        near(mine, theirs[-1:] if still else theirs)
    near(outputs['ovp.out'][0], case['ovp.out.call0'][0])
    for index, features in enumerate(outputs['swin'], start=2):
        near(features, case[f'swin.res{index}'])


def check_language(
    outputs: dict[str, list[torch.Tensor]], case: dict[str, torch.Tensor], prompt: Prompt
) -> None:
    """Everything between the assembled sequence and the condition of the scores."""
    near(outputs['mm.inputs_embeds'][0], case['mm.inputs_embeds'])
    read = outputs['llm.last_hidden_state'][0]
    near(read, case['llm.last_hidden_state'][:, prompt.read_from :])
    states = read[0, prompt.refer_mask[0, 0, prompt.read_from :]]
    near(torch.cat([states.mean(dim=0, keepdim=True), states]), case['llm.refer_hidden.0'])
    near(outputs['decoder.seg_query_in'][0][0], case['decoder.seg_query_in'])
    near(outputs['cond.origin_pooled_proj'][0], case['cond.origin_pooled_proj.call0'])
    near(outputs['vmtf.local_vision_map'][0], case['vmtf.local_vision_map'])
    near(outputs['vmtf.text_latents_in'][0], case['vmtf.text_latents_in.call0'][:, :1])
    near(outputs['vmtf.out'][0], case['vmtf.out.call0'])
    near(outputs['cond.concat_before_projector'][0], case['cond.concat_before_projector'])
    near(outputs['cond.SEG_embedding'][0], case['cond.SEG_embedding'])


def check_answer(
    model: InstructSegModel, answer: MaskPredictions, case: dict[str, torch.Tensor]
) -> None:
    """Masks at the image's size, scores, and the mask that is chosen."""
    mask_logits, score_logits = answer.mask_logits[0, 0], answer.score_logits[0, 0]
    restore = restorer(model, case)
    full = restore(mask_logits)
    near(full, case['post.mask_logits'], LOGITS)
    assert torch.equal((full > 0).to(torch.uint8), case['post.binary_masks'])
    near(score_logits.sigmoid(), case['post.class_prob'])
    near(mask_quality(full), case['post.mask_quality'])
    scores = score_logits.sigmoid() * mask_quality(full)
    near(scores, case['post.scores'])
    assert scores.argmax().item() == case['post.best_query'].item()
    best, score = best_mask(mask_logits, score_logits, restore)
    assert torch.equal((best > 0).to(torch.uint8), case['post.best_mask'])
    assert score == pytest.approx(case['post.scores'].max().item(), abs=FEATURES)
    if 'post.best_soft_mask' in case:
        near(best.sigmoid(), case['post.best_soft_mask'])


def restorer(
    model: InstructSegModel, case: dict[str, torch.Tensor]
) -> Callable[[torch.Tensor], torch.Tensor]:
    """The processor's way back to the image's size, checked against the recorded padding."""
    canvas = tuple(case['in.padding_mask'].shape)
    processor = processor_of(model.config, mask_size=canvas, compact=False)
    height, width = case['in.orig_size'].tolist()
    inside = case['in.padding_mask'] == 0
    shown = (int(inside.any(dim=1).sum()), int(inside.any(dim=0).sum()))
    assert processor.resized_size(height, width) == shown
    return lambda logits: processor.restore_masks(logits, height, width)


def test_the_repository_has_cases_of_inference_and_training() -> None:
    assert {golden.is_training(case) for case in golden.cases(golden.SHIPPED)} == {True, False}


@pytest.mark.parametrize('folder', golden.FOLDERS, ids=str)
def test_there_is_a_case_in_every_golden_folder(folder: Path) -> None:
    assert golden.cases(folder), f'{folder} has no case beside a {golden.WEIGHTS}'
