"""The dtype `float16_weights`: what the authors' evaluation computes with."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import SmallModel, released_model
from torch import nn

from instructseg_ros.model.checkpoints import load_model
from instructseg_ros.model.model_files import ModelError
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.precision import Precision, choose_precision
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.model.stage_outputs import InstructSegOutput

ROUNDED = Precision(rounded=True)
WEIGHTS = 'model.safetensors'


@pytest.fixture(scope='module')
def small() -> SmallModel:
    return released_model()


@pytest.fixture(scope='module')
def folder(small: SmallModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder whose language side was stored in float16, as that of the release."""
    folder = tmp_path_factory.mktemp('rounding') / 'model'
    small.model.save_pretrained(folder)
    small.processor.save_pretrained(folder)
    config = json.loads((folder / 'config.json').read_text())
    (folder / 'config.json').write_text(json.dumps(config | {'language_dtype': 'float16'}))
    return folder


class Float16Tables(nn.Module):
    """Cosines and sines as transformers 4.38 keeps them for a model that is loaded as float16."""

    def __init__(self, model: InstructSegModel) -> None:
        super().__init__()
        text = model.config.text_config
        width = int(0.4 * text.hidden_size // text.num_attention_heads)
        frequencies = 10000.0 ** (-torch.arange(0, width, 2).float() / width)
        angles = torch.outer(torch.arange(text.max_position_embeddings).float(), frequencies)
        angles = torch.cat([angles, angles], dim=-1)
        self.cosines, self.sines = angles.cos().half().float(), angles.sin().half().float()

    def forward(
        self, states: torch.Tensor, position_ids: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self.cosines[position_ids], self.sines[position_ids]


def rounded_by_hand(folder: Path, copy: Path) -> InstructSegModel:
    """A float32 model of a copy whose weights went through float16."""
    copy.mkdir()
    for file in folder.glob('*.json'):
        (copy / file.name).write_bytes(file.read_bytes())
    tensors = load_file(folder / WEIGHTS)
    save_file(
        {name: x.half().float() for name, x in tensors.items()}, copy / WEIGHTS, {'format': 'pt'}
    )
    return load_model(copy)[0]


@torch.inference_mode()
def answer(model: InstructSegModel, small: SmallModel, references: int) -> InstructSegOutput:
    prompt = small.prompt('the red mug', references=references)
    return model(**small.inputs(references=references), prompt=prompt)


@pytest.mark.parametrize('references', [0, 2])
def test_float16_weights_compute_what_weights_rounded_by_hand_do(
    small: SmallModel, folder: Path, references: int, tmp_path: Path
) -> None:
    model, _ = load_model(folder, ROUNDED)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    mine = answer(model, small, references).final
    by_hand = rounded_by_hand(folder, tmp_path / 'copy')
    for name, weight in by_hand.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight), name
    scores = answer(by_hand, small, references).final.score_logits.sigmoid()
    assert (mine.score_logits.sigmoid() - scores).abs().max() < 3e-4
    by_hand.language_model.rotary_emb = Float16Tables(by_hand)
    its = answer(by_hand, small, references).final
    torch.testing.assert_close(mine.score_logits, its.score_logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mine.mask_logits, its.mask_logits, rtol=1e-4, atol=1e-4)
    exact = answer(small.model, small, references).final
    assert not torch.equal(mine.score_logits, exact.score_logits)


def test_a_segmenter_of_float16_weights_answers_as_one_of_weights_rounded_by_hand(
    folder: Path, tmp_path: Path
) -> None:
    rounded_by_hand(folder, tmp_path / 'copy')
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    mine, its = (
        Segmenter.from_pretrained(str(where), device='cpu', dtype=dtype).segment(image, 'the mug')
        for where, dtype in ((folder, 'float16_weights'), (tmp_path / 'copy', 'float32'))
    )
    assert mine.score == pytest.approx(its.score, abs=3e-4)


def test_a_weight_that_float16_cannot_hold_is_named(folder: Path, tmp_path: Path) -> None:
    rounded_by_hand(folder, tmp_path / 'copy')
    tensors = load_file(tmp_path / 'copy' / WEIGHTS)
    name = 'seg_query_projector.bias'
    tensors[name][0] = 1e5
    save_file(tensors, tmp_path / 'copy' / WEIGHTS, {'format': 'pt'})
    with pytest.raises(ModelError, match=f'float16 cannot represent {name}: use "float32"'):
        load_model(tmp_path / 'copy', ROUNDED)


def test_a_warning_says_that_rounding_is_meant_for_the_released_weights(
    small: SmallModel, folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    precision = choose_precision('float16_weights', torch.device('cpu'), large=True)
    with caplog.at_level(logging.WARNING):
        load_model(folder, precision)
        assert caplog.records == []
        small.model.save_pretrained(tmp_path)
        small.processor.save_pretrained(tmp_path)
        load_model(tmp_path, precision)
    [record] = caplog.records
    assert str(tmp_path) in record.getMessage() and '"float32"' in record.getMessage()
