from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from small_models import scramble

from instructseg_ros.model.deformable_attention import DeformableAttention
from instructseg_ros.model.mask_decoder import best_mask
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.precision import Precision
from instructseg_ros.research.benchmark.baseline import (
    make_straightforward,
    straightforward_configuration,
    straightforward_pass,
)
from instructseg_ros.research.benchmark.random_model import (
    Inputs,
    configuration,
    random_inputs,
    random_model,
    restore,
)
from instructseg_ros.research.benchmark.stages import benchmark_model, table

CPU = torch.device('cpu')
STAGES = ['encode_frame', 'perceive', 'reason', 'encode_pixels', 'decode', 'choose_mask']


def tiny_figures(dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    precision = Precision(dtype=dtype, language=dtype)
    return benchmark_model('tiny', precision, CPU, frames=1, naive=False)


@pytest.mark.usefixtures('small_products')
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_a_benchmark_has_figures_of_every_stage(dtype: str) -> None:
    figures = tiny_figures(getattr(torch, dtype))
    assert json.loads(json.dumps(figures)) == figures
    assert figures['dtype'] == figures['language_dtype'] == dtype
    assert figures['device'] == 'cpu'
    assert list(figures['stages']) == STAGES
    assert list(figures['video_stages']) == ['encode_frame', 'encode_references', *STAGES[1:]]
    for cost in (*figures['stages'].values(), *figures['video_stages'].values()):
        assert cost['seconds'] > 0 and cost['peak_memory_gb'] > 0
        # For so small a model they may round to 0.
        assert cost['gflop'] >= 0 and cost['share_of_gemm'] >= 0
    assert figures['video_stages']['perceive']['gflop'] > figures['stages']['perceive']['gflop'] > 0
    for name in (
        'gemm_gflops',
        'image_seconds',
        'video_seconds',
        'video_seconds_with_kept_references',
        'peak_memory_gb',
    ):
        assert figures[name] > 0


@pytest.mark.usefixtures('small_products')
def test_the_table_names_every_stage() -> None:
    shown = table(tiny_figures())
    rows = [line.split()[:2] for line in shown.splitlines()]
    assert all(['image', name] in rows and ['video', name] in rows for name in STAGES)
    assert ['video', 'encode_references'] in rows
    assert 'peak_memory_gb: ' in shown


@pytest.mark.usefixtures('small_products')
def test_the_straightforward_pass_is_measured_only_where_it_is_asked_for() -> None:
    without = tiny_figures()
    figures = benchmark_model('tiny', Precision(), CPU, frames=1, naive=True)
    for name in ('naive_fp32_image_seconds', 'naive_fp32_image_seconds_with_kept_memory'):
        assert without[name] is None and name not in table(without)
        assert figures[name] > 0 and f'{name}: ' in table(figures)
    assert figures['naive_fp32_gemm_gflops'] > 0 and figures['naive_fp32_peak_memory_gb'] > 0


def fast_mask(model: InstructSegModel, inputs: Inputs) -> torch.Tensor:
    """(720, 1280) logits of the answer, stage by stage as `Segmenter` has it."""
    prompt = inputs.prompt
    context = model.perceive(model.encode_frame(inputs.vision_values), None, prompt)
    features = model.encode_pixels(inputs.pixel_values)
    answer = model.decode(model.reason(context, prompt), features, final_only=True).final
    return best_mask(answer.mask_logits[0, 0], answer.score_logits[0, 0], restore)[0]


@torch.inference_mode()
def test_the_straightforward_pass_gives_the_same_mask() -> None:
    torch.manual_seed(3)
    fast = random_model(configuration('tiny'), Precision(), CPU)
    scramble(fast)  # so that one mask token is far above the others
    inputs = random_inputs(fast.config, CPU, references=0)
    plain = random_model(straightforward_configuration(configuration('tiny')), Precision(), CPU)
    plain.load_state_dict(fast.state_dict())
    make_straightforward(plain)
    mask, expected = straightforward_pass(plain, inputs), fast_mask(fast, inputs) > 0
    assert mask.shape == (720, 1280) and mask.dtype == torch.bool
    assert 0.1 < mask.float().mean() < 0.9
    assert (mask != expected).float().mean() < 1e-3


def test_only_a_straightforward_model_samples_as_transformers_does() -> None:
    model = random_model(configuration('tiny'), Precision(), CPU)
    assert any(isinstance(part, DeformableAttention) for part in model.modules())
    make_straightforward(model)
    assert not any(isinstance(part, DeformableAttention) for part in model.modules())
