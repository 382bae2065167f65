"""Mipha and a Mask2Former, joined to what the paper's training begins with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from released_checkpoint import Tensors, write_released_checkpoint
from safetensors import safe_open
from safetensors.torch import load_file
from small_models import released_config
from transformers import Mask2FormerConfig, Mask2FormerModel

from instructseg_ros.cli import main
from instructseg_ros.conversion.start import write_start
from instructseg_ros.model.checkpoints import ModelError, load_head, load_model

QUERIES = 8


def only_mipha_s(tensors: Tensors) -> None:
    mine = ('model.embed_tokens', 'model.layers', 'model.final_layernorm', 'lm_head',
            'model.vision_tower.', 'model.mm_projector')  # fmt: skip
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
    theirs = {name: tensor for file in sorted(base.glob('*.safetensors'))
              for name, tensor in load_file(file).items()}  # fmt: skip
    name = 'model.layers.1.mlp.fc1.weight'
    torch.testing.assert_close(mine['language_model.layers.1.mlp.fc1.weight'], theirs[name].float())
    torch.testing.assert_close(
        mine['language_model.embed_tokens.weight'], theirs['model.embed_tokens.weight'].float())
    torch.testing.assert_close(
        load_head(tmp_path / 'start'), theirs['lm_head.weight'].float())
    with safe_open(mask2former / 'model.safetensors', 'pt') as opened:
        level = opened.get_tensor('transformer_module.level_embed.weight')
    torch.testing.assert_close(mine['mask_decoder.level_embed.weight'], level)
    assert processor.seg_token_id == 50295
    assert model.seg_query.shape[0] == QUERIES and not model.seg_query.any()


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
    with pytest.raises(ModelError, match=r'mm_projector\.0\.weight is'):
        write_start(base, mask2former, tmp_path / 'start', num_queries=QUERIES)
