from __future__ import annotations

import copy
import os
import subprocess
import sys

import pytest
import torch
from small_models import SmallModel, released_config, scramble
from torch import nn
from transformers.models.phi.modeling_phi import PhiMLP
from transformers.models.siglip.modeling_siglip import SiglipMLP

from instructseg_ros.model.precision import PackedLinear, onednn_has_bfloat16, pack_linear_layers
from instructseg_ros.model.stage_outputs import InstructSegOutput

pytestmark = pytest.mark.skipif(
    not onednn_has_bfloat16(),
    reason='torch is built without oneDNN, or oneDNN has no bfloat16 on this CPU',
)

BFLOAT16 = torch.bfloat16


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(BFLOAT16)


def packed(module: nn.Module) -> nn.Module:
    """A packed copy."""
    holder = nn.Sequential(copy.deepcopy(module))
    pack_linear_layers(holder)
    return holder[0]


def mlp(kind: str, activation: str) -> SiglipMLP | PhiMLP:
    config = released_config()
    text, vision = config.text_config, config.vision_config
    text.hidden_act = vision.hidden_act = activation
    torch.manual_seed(0)
    module = PhiMLP(text) if kind == 'phi' else SiglipMLP(vision)
    scramble(module)
    return module


def in_bfloat16(small: SmallModel) -> SmallModel:
    """A copy whose rotations by position stay in float32, as `load_model` leaves them."""
    model = copy.deepcopy(small.model).to(BFLOAT16)
    model.language_model.rotary_emb = copy.deepcopy(small.model.language_model.rotary_emb)
    return SmallModel(model=model, processor=small.processor)


def near(mine: torch.Tensor, expected: torch.Tensor) -> None:
    assert mine.dtype == expected.dtype == BFLOAT16
    torch.testing.assert_close(mine, expected, atol=0.02, rtol=0.02)


@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('shape', [(40,), (1, 40), (2, 7, 40), (2, 3, 5, 40), (0, 40)])
@torch.no_grad()
def test_a_packed_layer_is_the_layer(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(40, 24, bias=bias).to(BFLOAT16)
    assert isinstance(packed(layer), PackedLinear)
    near(packed(layer)(random(*shape)), layer(random(*shape)))


@torch.no_grad()
def test_a_packed_layer_reads_any_layout() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(40, 24).to(BFLOAT16)
    views = [random(3, 40, 5).transpose(1, 2), random(3, 80)[:, ::2], random(40).expand(3, 40)]
    for x in views:
        near(packed(layer)(x), layer(x))


@pytest.mark.parametrize('kind', ['phi', 'siglip'])
@pytest.mark.parametrize('activation', ['gelu_pytorch_tanh', 'gelu_new', 'gelu', 'relu'])
@torch.no_grad()
def test_a_packed_mlp_is_the_mlp_with_any_activation(kind: str, activation: str) -> None:
    plain = mlp(kind, activation).to(BFLOAT16)
    x = random(2, 9, plain.fc1.in_features)
    mine = packed(plain)
    assert isinstance(mine.fc1, PackedLinear) and isinstance(mine.fc2, PackedLinear)
    near(mine(x), plain(x))


@pytest.mark.parametrize('kind', ['phi', 'siglip'])
def test_float32_layers_are_left_alone_and_can_be_trained(kind: str) -> None:
    module = nn.ModuleList([mlp(kind, 'gelu_pytorch_tanh'), nn.Linear(40, 24)])
    before = list(module.modules())
    pack_linear_layers(module)
    assert all(mine is its for mine, its in zip(module.modules(), before, strict=True))
    inputs = module[0].fc1.in_features
    (module[0](torch.ones(3, inputs)).sum() + module[1](torch.ones(3, 40)).sum()).backward()
    assert [name for name, p in module.named_parameters() if p.grad is None] == []


def test_other_devices_are_left_alone() -> None:
    module = nn.Sequential(nn.Linear(4, 3, dtype=BFLOAT16, device='meta'))
    pack_linear_layers(module)
    assert type(module[0]) is nn.Linear


@torch.no_grad()
def test_a_packed_model_answers_nearly_as_before(small: SmallModel) -> None:
    plain = in_bfloat16(small)
    mine = copy.deepcopy(plain.model)
    pack_linear_layers(mine)
    assert not any(type(part) is nn.Linear for part in mine.modules())
    inputs = plain.inputs(references=2)
    prompt = plain.prompt('the red mug', 'where is the blue ball', references=2)

    def answer(model: nn.Module) -> InstructSegOutput:
        return model(**{k: x.to(BFLOAT16) for k, x in inputs.items()}, prompt=prompt)

    first, second = answer(mine).final, answer(plain.model).final
    for name in ('mask_logits', 'score_logits'):
        ours, theirs = (getattr(x, name).float().sigmoid() for x in (first, second))
        torch.testing.assert_close(ours, theirs, atol=0.1, rtol=0)


@torch.no_grad()
def test_packing_again_changes_nothing() -> None:
    module = nn.Sequential(mlp('siglip', 'gelu_pytorch_tanh'), nn.Linear(16, 4)).to(BFLOAT16)
    pack_linear_layers(module)
    x = random(3, 16)
    before = module(x)
    pack_linear_layers(module)
    assert torch.equal(module(x), before)


def test_a_cpu_without_bfloat16_in_onednn_keeps_its_layers() -> None:
    code = (
        'import torch\n'
        'from instructseg_ros.model.precision import pack_linear_layers\n'
        'module = torch.nn.Sequential(torch.nn.Linear(4, 4)).to(torch.bfloat16)\n'
        'pack_linear_layers(module)\n'
        'module(torch.zeros(1, 4, dtype=torch.bfloat16))\n'
    )
    older = {**os.environ, 'ONEDNN_MAX_CPU_ISA': 'AVX2'}
    done = subprocess.run([sys.executable, '-c', code], env=older, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
