"""Mipha and a Mask2Former joined to the model that the paper's training starts from."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import torch
from released_checkpoint import Tensors, write_released_checkpoint
from safetensors import safe_open
from safetensors.torch import load_file
from small_models import released_config
from torch import nn
from transformers import Mask2FormerConfig, Mask2FormerModel

from instructseg_ros.cli.main import main
from instructseg_ros.model.checkpoints import load_head, load_model
from instructseg_ros.model.conversion.training_start import write_start
from instructseg_ros.model.model_files import ModelError

QUERIES = 8


def only_mipha_s(tensors: Tensors) -> None:
    mine = (
        'model.embed_tokens',
        'model.layers',
        'model.final_layernorm',
        'lm_head',
        'model.vision_tower.',
        'model.mm_projector',
    )
    for name in [name for name in tensors if not name.startswith(mine)]:
        del tensors[name]


@pytest.fixture(scope='module')
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('base') / 'mipha'
    return write_released_checkpoint(folder, change=only_mipha_s)


@pytest.fixture(scope='module')
def mask2former(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('mask2former')
    masks = released_config().mask_config.to_dict() | {'num_queries': QUERIES}
    torch.manual_seed(0)
    Mask2FormerModel(Mask2FormerConfig(**masks)).save_pretrained(folder)
    return folder


def test_each_part_comes_from_where_the_paper_takes_it(
    base: Path, mask2former: Path, tmp_path: Path
) -> None:
    write_start(base, mask2former, tmp_path / 'start', num_queries=QUERIES)
    model, processor = load_model(tmp_path / 'start')
    mine = model.state_dict()
    theirs = {
        name: tensor
        for file in sorted(base.glob('*.safetensors'))
        for name, tensor in load_file(file).items()
    }
    name = 'model.layers.1.mlp.fc1.weight'
    torch.testing.assert_close(mine['language_model.layers.1.mlp.fc1.weight'], theirs[name].float())
    torch.testing.assert_close(
        mine['language_model.embed_tokens.weight'], theirs['model.embed_tokens.weight'].float()
    )
    torch.testing.assert_close(load_head(tmp_path / 'start'), theirs['lm_head.weight'].float())
    with safe_open(mask2former / 'model.safetensors', 'pt') as opened:
        level = opened.get_tensor('transformer_module.level_embed.weight')
    torch.testing.assert_close(mine['mask_decoder.level_embed.weight'], level)
    assert processor.seg_token_id == 50295
    assert model.seg_query.shape[0] == QUERIES and not model.seg_query.any()


def reach(layer: nn.Module) -> float:
    """Largest weight of a layer, times the root of its inputs."""
    return float(layer.weight.detach().abs().max()) * math.sqrt(layer.weight[0].numel())


def test_new_parts_have_the_start_values_of_the_authors(
    base: Path, mask2former: Path, tmp_path: Path
) -> None:
    write_start(base, mask2former, tmp_path / 'start', num_queries=QUERIES)
    model, _ = load_model(tmp_path / 'start')
    fusion = model.text_fusion
    attention, feed_forward = model.perceiver.resampler.layers[0]
    plain = (
        fusion.text_projector,
        fusion.pooled_projector,
        fusion.condition_projector,
        fusion.resampler.layers[0][0].to_kv,
        attention.to_kv,
        feed_forward[1],
        model.mask_decoder.score_embed.get_submodule('0.0'),
        model.seg_query_projector,
    )
    assert [reach(layer) for layer in plain] == pytest.approx([1] * len(plain), abs=0.05)
    assert model.seg_query_projector.bias.all()
    assert reach(fusion.local_project) == pytest.approx(math.sqrt(3), abs=0.05)
    assert not fusion.local_project.bias.any()


def test_a_mask2former_with_too_few_queries_is_refused(
    base: Path, mask2former: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ['convert', str(base), str(tmp_path / 'start'), '--mask2former', str(mask2former)]
    assert main(arguments) == 1
    assert f'has {QUERIES} queries, not 100' in capsys.readouterr().err


def test_a_tensor_of_another_shape_is_named(mask2former: Path, tmp_path: Path) -> None:
    def cut(tensors: Tensors) -> None:
        only_mipha_s(tensors)
        weight = tensors['model.mm_projector.0.weight']
        tensors['model.mm_projector.0.weight'] = weight[:, :-1].contiguous()

    base = write_released_checkpoint(tmp_path / 'mipha', change=cut)
    with pytest.raises(ModelError, match=r'mm_projector\.0\.weight has the shape'):
        write_start(base, mask2former, tmp_path / 'start', num_queries=QUERIES)


@pytest.mark.parametrize(
    ('released', 'ours'),
    [
        ('model.mm_projector.', 'projector.0.weight'),
        ('model.vision_tower.vision_model.encoder.layers.1.', 'vision_tower.encoder.layers.1.'),
        ('model.layers.1.', 'language_model.layers.1.'),
        ('model.final_layernorm.bias', 'language_model.final_layernorm.bias'),
        ('model.embed_tokens.', 'model.embed_tokens.weight'),
        ('lm_head.', 'lm_head.weight'),
    ],
)
def test_a_part_that_the_base_lacks_is_named(
    mask2former: Path, tmp_path: Path, released: str, ours: str
) -> None:
    def remove(tensors: Tensors) -> None:
        only_mipha_s(tensors)
        for name in [name for name in tensors if name.startswith(released)]:
            del tensors[name]

    base = write_released_checkpoint(tmp_path / 'mipha', change=remove)
    with pytest.raises(ModelError, match=re.escape(ours)):
        write_start(base, mask2former, tmp_path / 'start', num_queries=QUERIES)
    assert not (tmp_path / 'start').exists()


@pytest.mark.parametrize('name', ['criterion.empty_weight', 'model.layers.7.mlp.fc1.weight'])
def test_a_tensor_that_the_model_does_not_have_is_named_and_left_out(
    mask2former: Path, tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    def add(tensors: Tensors) -> None:
        only_mipha_s(tensors)
        tensors[name] = torch.zeros(2)

    base = write_released_checkpoint(tmp_path / 'mipha', change=add)
    write_start(base, mask2former, tmp_path / 'start', num_queries=QUERIES)
    [record] = caplog.records
    assert f'left out: {name} (2,)' in record.getMessage()
    load_model(tmp_path / 'start')


def test_a_language_model_alone_is_no_base(mask2former: Path, tmp_path: Path) -> None:
    base = write_released_checkpoint(tmp_path / 'phi', change=only_mipha_s)
    described = json.loads((base / 'config.json').read_text())
    del described['vision_config']
    (base / 'config.json').write_text(json.dumps(described))
    with pytest.raises(ModelError, match='vision_config'):
        write_start(base, mask2former, tmp_path / 'start', num_queries=QUERIES)
