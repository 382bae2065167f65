"""Conversion of the authors' layout, on their tiny recorded model in two shards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import golden
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import WORDS

from instructseg_ros.model.checkpoints import load_head, load_model
from instructseg_ros.model.conversion.released import convert_released
from instructseg_ros.model.embedded_model import word_tokenizer
from instructseg_ros.model.model_files import ModelError, find_model

SHARDS = ('model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors')
Tensors = dict[str, torch.Tensor]


def released(folder: Path, change: Callable[[Tensors], object] = lambda tensors: None) -> Path:
    """Write a checkpoint in the released layout, its tensors changed by a test."""
    folder.mkdir()
    tensors = load_file(golden.SHIPPED / golden.WEIGHTS)
    change(tensors)
    names = sorted(tensors)
    half = len(names) // 2
    weight_map = {}
    for shard, part in zip(SHARDS, (names[:half], names[half:]), strict=True):
        save_file({name: tensors[name] for name in part}, folder / shard, {'format': 'pt'})
        weight_map |= dict.fromkeys(part, shard)
    index = {'metadata': {}, 'weight_map': weight_map}
    (folder / 'model.safetensors.index.json').write_text(json.dumps(index))
    (folder / 'config.json').write_text(json.dumps(golden.CONFIG))
    word_tokenizer(WORDS).save_pretrained(folder)
    return folder


def refusal(tmp_path: Path, change: Callable[[Tensors], object]) -> str:
    with pytest.raises(ModelError) as error:
        convert_released(released(tmp_path / 'source', change), tmp_path / 'ours')
    assert not (tmp_path / 'ours').exists()
    return str(error.value)


def test_a_converted_model_loads_by_its_folder(tmp_path: Path) -> None:
    convert_released(released(tmp_path / 'source'), tmp_path / 'ours')
    model, processor = load_model(find_model(str(tmp_path / 'ours')))
    assert model.num_parameters() > 3e6
    assert processor.config.mask_size == (1024, 1024)


def test_the_head_may_have_more_rows_than_the_embeddings(tmp_path: Path) -> None:
    def widen(tensors: Tensors) -> None:
        head = tensors['lm_head.weight']
        tensors['lm_head.weight'] = torch.cat([head, head[:64]])

    convert_released(released(tmp_path / 'source', widen), tmp_path / 'ours')
    head = load_file(golden.SHIPPED / golden.WEIGHTS)['lm_head.weight']
    assert torch.equal(load_head(tmp_path / 'ours'), torch.cat([head, head[:64]]))


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    name = 'predictor.decoder_norm.bias'
    assert 'mask_decoder.norm.bias' in refusal(tmp_path, lambda tensors: tensors.pop(name))


@pytest.mark.parametrize('name', ['predictor.extra.weight', 'criterion.empty_weight'])
def test_an_unknown_tensor_is_named_and_left_out(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    extra = {name: torch.arange(2.0)}
    source = released(tmp_path / 'source', lambda tensors: tensors.update(extra))
    convert_released(source, tmp_path / 'ours')
    [record] = caplog.records
    assert record.getMessage().endswith(f'left out: {name} (2,)')
    load_model(tmp_path / 'ours')


def test_a_tensor_of_another_shape_is_named(tmp_path: Path) -> None:
    other = {'seg_query_projector.bias': torch.zeros(5)}
    message = refusal(tmp_path, lambda tensors: tensors.update(other))
    assert 'seg_query_projector.bias (5,)' in message


def test_pickled_weights_are_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / 'config.json').write_text(json.dumps(golden.CONFIG))
    (tmp_path / 'pytorch_model.bin').write_bytes(b'\x80\x04.')
    with pytest.raises(ModelError, match=r'pytorch_model\.bin.*safetensors'):
        convert_released(tmp_path, tmp_path / 'ours')


def test_a_truncated_shard_is_named(tmp_path: Path) -> None:
    source = released(tmp_path / 'source')
    (source / SHARDS[1]).write_bytes((source / SHARDS[1]).read_bytes()[:1000])
    with pytest.raises(ModelError, match=f'{SHARDS[1]} is truncated'):
        convert_released(source, tmp_path / 'ours')


def test_a_folder_that_is_in_use_is_not_written_to(tmp_path: Path) -> None:
    source = released(tmp_path / 'source')
    with pytest.raises(ModelError, match='not empty'):
        convert_released(source, source)
