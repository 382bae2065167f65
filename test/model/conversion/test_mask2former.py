"""The mask branch of a Mask2Former in transformers' layout, which training starts from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import released_config, scramble
from transformers import Mask2FormerConfig, Mask2FormerModel

from instructseg_ros.model.conversion.training_start import mask_branch
from instructseg_ros.model.mask_decoder import MaskDecoderLayer
from instructseg_ros.model.model_files import ModelError
from instructseg_ros.model.modeling import InstructSegModel

QUERIES = 12


@pytest.fixture(scope='module')
def theirs() -> Mask2FormerModel:
    masks = released_config().mask_config.to_dict() | {'num_queries': QUERIES}
    torch.manual_seed(0)
    model = Mask2FormerModel(Mask2FormerConfig(**masks)).eval()
    scramble(model)
    return model


@pytest.fixture(scope='module')
def source(theirs: Mask2FormerModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Published checkpoints hold the whole model for segmentation, with its class head."""
    folder = tmp_path_factory.mktemp('mask2former')
    theirs.save_pretrained(folder)
    file = folder / 'model.safetensors'
    tensors = {f'model.{name}': tensor for name, tensor in load_file(file).items()}
    tensors['class_predictor.weight'] = torch.zeros(134, theirs.config.hidden_dim)
    save_file(tensors, file, {'format': 'pt'})
    return folder


@pytest.fixture(scope='module')
def started(source: Path) -> InstructSegModel:
    config = released_config()
    weights = mask_branch(source, num_queries=config.num_queries)
    torch.manual_seed(1)
    model = InstructSegModel(config).eval()
    report = model.load_state_dict(weights, strict=False)
    assert not report.unexpected_keys
    branch = ('pixel_branch.', 'mask_decoder.')
    new = [name for name in report.missing_keys if name.startswith(branch)]
    expected = {'adapter_1.0.bias', 'layer_1.0.bias'}
    assert {
        name.removeprefix('pixel_branch.decoder.')
        for name in new
        if not name.startswith('mask_decoder.score_embed.')
    } == expected
    return model


def pictures() -> torch.Tensor:
    return torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def test_levels_of_the_pixel_decoder_are_those_of_mask2former(
    theirs: Mask2FormerModel, started: InstructSegModel
) -> None:
    expected = theirs.pixel_level_module(pictures()).decoder_hidden_states
    for mine, its in zip(started.encode_pixels(pictures()).levels, expected, strict=True):
        torch.testing.assert_close(mine, its, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_layer_of_the_predictor_updates_queries_as_mask2former(
    theirs: Mask2FormerModel, started: InstructSegModel
) -> None:
    generator = torch.Generator().manual_seed(3)
    width, count = theirs.config.hidden_dim, released_config().num_queries
    queries, memory, position = (
        torch.randn(1, n, width, generator=generator) for n in (count, 9, 9)
    )
    mine: MaskDecoderLayer = started.mask_decoder.layers[1]
    asked = started.mask_decoder.query_position.weight
    everywhere = torch.ones(1, 1, count, 9, dtype=torch.bool)
    updated = mine(queries[:, None], asked, memory + position, memory, everywhere)[0]
    expected = theirs.transformer_module.decoder.layers[1](
        queries.transpose(0, 1),
        level_index=0,
        position_embeddings=[position.transpose(0, 1)],
        query_position_embeddings=asked[:, None],
        encoder_hidden_states=[memory.transpose(0, 1)],
        encoder_attention_mask=torch.zeros(theirs.config.num_attention_heads, count, 9).bool(),
    )[0]
    torch.testing.assert_close(updated, expected.transpose(0, 1), atol=1e-4, rtol=1e-4)


def test_the_first_query_positions_are_taken(
    theirs: Mask2FormerModel, started: InstructSegModel
) -> None:
    positions = started.mask_decoder.query_position.weight
    assert torch.equal(
        positions, theirs.transformer_module.queries_embedder.weight[: len(positions)]
    )


def test_a_checkpoint_that_lacks_tensors_is_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / 'config.json').write_text((source / 'config.json').read_text())
    tensors = load_file(source / 'model.safetensors')
    del tensors['model.transformer_module.level_embed.weight']
    save_file(tensors, tmp_path / 'model.safetensors', {'format': 'pt'})
    with pytest.raises(ModelError, match=r'level_embed\.weight'):
        mask_branch(tmp_path, num_queries=8)


def test_pickled_weights_are_refused(source: Path, tmp_path: Path) -> None:
    (tmp_path / 'config.json').write_text((source / 'config.json').read_text())
    (tmp_path / 'pytorch_model.bin').write_bytes(b'\x80\x04.')
    with pytest.raises(ModelError, match='pickled'):
        mask_branch(tmp_path, num_queries=8)


def test_more_queries_than_there_are_is_refused(source: Path) -> None:
    with pytest.raises(ModelError, match='12 queries, not 100'):
        mask_branch(source, num_queries=100)
