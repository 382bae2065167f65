from __future__ import annotations

import copy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import SmallModel
from torch import nn

from instructseg_ros.model.checkpoints import load_model
from instructseg_ros.model.model_files import ModelError
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.precision import (
    PackedLinear,
    Precision,
    pack_linear_layers,
    quantize_weights,
)
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.model.stage_outputs import InstructSegOutput
from instructseg_ros.research.benchmark.random_model import configuration, random_model

try:
    import torchao  # noqa: F401
except ImportError:
    INSTALLED = False
else:
    INSTALLED = True

needs_torchao = pytest.mark.skipif(not INSTALLED, reason='torchao, for int8, is not installed')

CPU = torch.device('cpu')
LANGUAGE_SIDE = ('vision_tower', 'projector', 'language_model')
PRECISIONS = {
    'float32': Precision(int8=True),
    'bfloat16': Precision(dtype=torch.bfloat16, language=torch.bfloat16, int8=True),
    'mixed': Precision(language=torch.bfloat16, int8=True),
}


@pytest.fixture(params=list(PRECISIONS))
def precision(request: pytest.FixtureRequest) -> Precision:
    return PRECISIONS[request.param]


def saved(small: SmallModel, folder: Path) -> Path:
    small.model.save_pretrained(folder)
    small.processor.save_pretrained(folder)
    return folder


def quantized(small: SmallModel) -> InstructSegModel:
    """A rounded copy."""
    model = copy.deepcopy(small.model)
    quantize_weights(model)
    return model


def linear_layers(model: nn.Module, *, language: bool) -> dict[str, nn.Linear]:
    """Linear layers of one of the two sides, by name."""
    return {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and name.startswith(LANGUAGE_SIDE) == language
    }


def stored(weight: torch.Tensor) -> list[torch.Tensor]:
    """Tensors that store a weight."""
    if type(weight) is nn.Parameter:
        return [weight]
    parts = (getattr(weight, name) for name in weight.__tensor_flatten__()[0])
    return [part for part in parts if part is not None]


def bytes_of(layer: nn.Linear) -> int:
    return sum(part.nbytes for part in stored(layer.weight))


@torch.inference_mode()
def answer(model: InstructSegModel, small: SmallModel, references: int) -> InstructSegOutput:
    prompt = small.prompt('the red mug', 'where is the blue ball', references=references)
    return model(**small.inputs(references=references), prompt=prompt)


def assert_near(model: InstructSegModel, small: SmallModel) -> None:
    """Check the outputs for an image and for a video."""
    for references in (0, 2):
        mine, exact = (answer(x, small, references).final for x in (model, small.model))
        for name in ('mask_logits', 'score_logits'):
            difference = getattr(mine, name).float() - getattr(exact, name)
            assert 0 < difference.abs().mean() < 0.15 * getattr(exact, name).std()


@needs_torchao
def test_the_weights_of_the_language_side_are_bytes_and_all_others_as_before(
    small: SmallModel,
) -> None:
    model = quantized(small)
    layers = linear_layers(model, language=True)
    assert all(any(name.startswith(part) for name in layers) for part in LANGUAGE_SIDE)
    for layer in layers.values():
        assert max(stored(layer.weight), key=torch.numel).dtype == torch.int8
    weights = {f'{name}.weight' for name in layers}
    before = dict(small.model.named_parameters())
    for name, parameter in model.named_parameters():
        assert name in weights or torch.equal(parameter, before[name])


@needs_torchao
def test_they_take_about_a_quarter_of_float32_and_half_of_bfloat16() -> None:
    wide = nn.Linear(512, 512)
    for dtype, share in ((torch.float32, 4), (torch.bfloat16, 2)):
        model = random_model(configuration('tiny'), Precision(), CPU)
        model.projector = nn.Sequential(copy.deepcopy(wide)).to(dtype)
        before = bytes_of(model.projector[0])
        quantize_weights(model)
        assert bytes_of(model.projector[0]) == pytest.approx(before / share, rel=0.04)


@needs_torchao
def test_a_weight_is_rounded_by_less_than_a_hundredth_of_its_rows_largest(
    small: SmallModel,
) -> None:
    exact = linear_layers(small.model, language=True)
    for name, layer in linear_layers(quantized(small), language=True).items():
        change = (layer.weight.dequantize() - exact[name].weight).abs()
        assert (change <= exact[name].weight.abs().amax(dim=1, keepdim=True) / 100).all()


@needs_torchao
def test_masks_and_scores_are_nearly_those_of_float32(small: SmallModel) -> None:
    assert_near(quantized(small), small)


@needs_torchao
def test_a_model_is_loaded_with_int8_whatever_it_computes_in(
    small: SmallModel, precision: Precision, tmp_path: Path
) -> None:
    model, _ = load_model(saved(small, tmp_path), precision)
    for name, parameter in model.named_parameters():
        of_language = name.startswith(LANGUAGE_SIDE)
        assert parameter.dtype == (precision.language if of_language else precision.dtype)
    assert_near(model, small)


@needs_torchao
def test_a_segmenter_answers_with_int8_nearly_as_with_float32(
    small: SmallModel, tmp_path: Path
) -> None:
    folder = str(saved(small, tmp_path))
    image = np.random.default_rng(0).integers(256, size=(48, 64, 3), dtype=np.uint8)
    mine, exact = (
        Segmenter.from_pretrained(folder, device='cpu', dtype=dtype).segment(image, 'the red mug')
        for dtype in ('int8', 'float32')
    )
    assert 0 < np.abs(mine.probability - exact.probability).mean() < 0.02
    assert mine.score == pytest.approx(exact.score, abs=0.03)
    assert (mine.mask == exact.mask).mean() > 0.95


@needs_torchao
def test_packing_leaves_int8_alone_and_packs_the_rest(small: SmallModel, tmp_path: Path) -> None:
    model, _ = load_model(saved(small, tmp_path), PRECISIONS['bfloat16'])
    layers = linear_layers(model, language=True)
    plain = linear_layers(model, language=False)
    pack_linear_layers(model)
    assert linear_layers(model, language=True) == layers
    packed = sum(isinstance(part, PackedLinear) for part in model.modules())
    assert packed in (0, len(plain))  # none where oneDNN has no bfloat16
    assert_near(model, small)


@needs_torchao
def test_a_random_model_for_the_benchmark_has_them_too(precision: Precision) -> None:
    model = random_model(configuration('tiny'), precision, CPU)
    for layer in linear_layers(model, language=True).values():
        assert max(stored(layer.weight), key=torch.numel).dtype == torch.int8
    plain = random_model(configuration('tiny'), Precision(), CPU)
    assert model.num_parameters() == plain.num_parameters()


@needs_torchao
def test_they_can_be_moved_to_another_device(small: SmallModel) -> None:
    model = quantized(small).to('meta')
    for layer in linear_layers(model, language=True).values():
        assert {part.device.type for part in stored(layer.weight)} == {'meta'}


def test_without_torchao_the_remedy_is_named(
    small: SmallModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, 'torchao.quantization', None)
    with pytest.raises(ModelError, match='pip install torchao') as refusal:
        load_model(saved(small, tmp_path), Precision(int8=True))
    assert '\n' not in str(refusal.value)
    load_model(tmp_path, Precision())
