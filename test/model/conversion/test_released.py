"""The authors' layout to ours and back, on their tiny recorded model in two shards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import golden
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import WORDS

from instructseg_ros.model.checkpoints import load_model
from instructseg_ros.model.conversion.released import convert_released, restore_released
from instructseg_ros.model.embedded import word_tokenizer
from instructseg_ros.model.model_files import ModelError, find_model, sha256

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


def test_the_way_there_and_back_changes_no_bit(tmp_path: Path) -> None:
    source = released(tmp_path / 'source')
    convert_released(source, tmp_path / 'ours')
    restore_released(tmp_path / 'ours', tmp_path / 'back')
    before = {file.name: file.read_bytes() for file in source.iterdir()}
    assert {file.name: file.read_bytes() for file in (tmp_path / 'back').iterdir()} == before


def test_what_is_converted_loads_by_its_folder(tmp_path: Path) -> None:
    convert_released(released(tmp_path / 'source'), tmp_path / 'ours')
    model, processor = load_model(find_model(str(tmp_path / 'ours')))
    assert model.num_parameters() > 3e6
    assert processor.config.mask_size == (1024, 1024)


def test_the_manifest_tells_what_was_read(tmp_path: Path) -> None:
    source = released(tmp_path / 'source')
    convert_released(source, tmp_path / 'ours')
    manifest = json.loads((tmp_path / 'ours' / 'released' / 'manifest.json').read_text())
    assert manifest['sha256'] == {file.name: sha256(file) for file in source.iterdir()}


def test_either_number_of_words_is_right(tmp_path: Path) -> None:
    def widen(tensors: Tensors) -> None:
        head = tensors['lm_head.weight']
        tensors['lm_head.weight'] = torch.cat([head, head[:64]])

    convert_released(released(tmp_path / 'source', widen), tmp_path / 'ours')
    restore_released(tmp_path / 'ours', tmp_path / 'back')
    shard = (tmp_path / 'back' / SHARDS[0]).read_bytes()
    assert shard == (tmp_path / 'source' / SHARDS[0]).read_bytes()


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    name = 'predictor.decoder_norm.bias'
    assert 'mask_decoder.norm.bias' in refusal(tmp_path, lambda tensors: tensors.pop(name))


@pytest.mark.parametrize('name', ['predictor.extra.weight', 'criterion.empty_weight'])
def test_an_extra_tensor_is_named_and_kept_for_the_way_back(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    extra = {name: torch.arange(2.0)}
    source = released(tmp_path / 'source', lambda tensors: tensors.update(extra))
    convert_released(source, tmp_path / 'ours')
    [record] = caplog.records
    assert f'does not use (1): {name} (2,). ' in record.getMessage()
    unused = load_file(tmp_path / 'ours' / 'released' / 'unused.safetensors')
    assert unused[name].tolist() == [0, 1]
    restore_released(tmp_path / 'ours', tmp_path / 'back')
    for shard in SHARDS:
        assert (tmp_path / 'back' / shard).read_bytes() == (source / shard).read_bytes()


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
