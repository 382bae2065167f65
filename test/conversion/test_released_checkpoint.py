"""A whole checkpoint of the release at small sizes: converted, used, and refused where damaged."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import golden
import numpy as np
import pytest
import torch
from released_checkpoint import HALF, INDEX, SHARDS, Tensors, write_released_checkpoint
from released_layout import INDEX_BUFFER, Sizes, tensor_shapes
from safetensors import safe_open
from transformers import PreTrainedTokenizerFast

from instructseg_ros.conversion.released import convert_released, restore_released
from instructseg_ros.conversion.tensors import TensorFolder
from instructseg_ros.model.checkpoints import ModelError, find_model, load_model
from instructseg_ros.model.segmenter import Segmenter

RELEASED = Sizes(
    width=2560,
    feedforward=10240,
    layers=32,
    heads=32,
    vision_width=1152,
    vision_feedforward=4304,
    vision_layers=27,
    vision_heads=16,
    swin_width=128,
    swin_depths=(2, 2, 18, 2),
    swin_heads=(4, 8, 16, 32),
    swin_window=12,
    mask_width=256,
    encoder_layers=6,
    encoder_feedforward=1024,
    decoder_layers=9,
    decoder_feedforward=2048,
    fusion_width=1024,
    resampler_layers=3,
    resampler_width=1024,
)
EMBEDDINGS = 'model.embed_tokens.weight'


@pytest.fixture(scope='module')
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_released_checkpoint(tmp_path_factory.mktemp('released') / 'source')


@pytest.fixture(scope='module')
def ours(source: Path) -> Path:
    target = source.parent / 'ours'
    convert_released(source, target)
    return target


@pytest.fixture(scope='module')
def segmenter(ours: Path) -> Segmenter:
    return Segmenter.from_pretrained(str(ours), device='cpu')


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (60, 80, 3), dtype=np.uint8)


def patterns(names: Iterable[str]) -> set[str]:
    """Names without their numbers."""
    return {re.sub(r'\d+', '#', name) for name in names}


def test_the_layout_has_every_tensor_of_the_authors_model_and_no_other() -> None:
    with safe_open(golden.SHIPPED / golden.WEIGHTS, 'pt') as authors:
        assert patterns(tensor_shapes(Sizes())) == patterns(authors.keys())


def test_at_the_released_sizes_the_layout_has_as_many_parameters_as_the_release() -> None:
    sizes = {name: math.prod(shape) for name, shape in tensor_shapes(RELEASED).items()}
    buffers = sum(size for name, size in sizes.items() if name.endswith(INDEX_BUFFER))
    assert sum(sizes.values()) - buffers == 3_465_489_528
    assert buffers == 497_664


def test_the_way_there_and_back_changes_no_bit_of_any_file(
    source: Path, ours: Path, tmp_path: Path
) -> None:
    restore_released(ours, tmp_path / 'back')
    before = {file.name: file.read_bytes() for file in source.iterdir()}
    after = {file.name: file.read_bytes() for file in (tmp_path / 'back').iterdir()}
    assert set(after) == {
        *('config.json', 'generation_config.json', 'tokenizer.json', 'tokenizer_config.json'),
        *('vocab.json', 'merges.txt', 'added_tokens.json', 'special_tokens_map.json'),
        *(INDEX, *SHARDS),
    }
    assert set(before) == set(after)
    assert [name for name in before if after[name] != before[name]] == []


def test_every_number_keeps_its_format(source: Path, ours: Path) -> None:
    def formats(folder: Path) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        tensors = TensorFolder(folder)
        for name in tensors.shapes:
            found.setdefault(tensors.dtype_of(name), set()).add(name)
        return found

    theirs, mine = formats(source), formats(ours)
    assert set(theirs) == {'F16', 'F32', 'I64'}
    assert all(name.startswith(HALF) for name in theirs['F16'])
    assert set(mine) == {'F16', 'F32'}
    language = ('language_model.', 'vision_tower.', 'projector.')
    assert all(name.startswith(language) for name in mine['F16'])
    assert not any(name.startswith(language) for name in mine['F32'])


def test_the_configuration_tells_the_precision_of_the_language_side(ours: Path) -> None:
    values = json.loads((ours / 'config.json').read_text())
    assert (values['dtype'], values['language_dtype']) == ('float32', 'float16')


def test_what_is_converted_loads_with_the_release_s_numbers_of_tokens(ours: Path) -> None:
    model, processor = load_model(find_model(str(ours)))
    assert model.get_parameter('language_model.embed_tokens.weight').shape == (50296, 40)
    assert model.config.image_tokens == processor.config.image_tokens == 729
    assert model.config.num_latents == processor.config.num_latents == 128
    assert model.config.num_queries == processor.config.num_queries == 100
    assert processor.seg_token_id == 50295


@pytest.mark.parametrize('references', [0, 4])
def test_a_converted_model_answers_with_finite_masks(
    segmenter: Segmenter, references: int
) -> None:
    earlier = segmenter.encode([picture(seed) for seed in range(1, references + 1)])
    instructions = ['the red mug', 'what could I drink from?']
    for answer in segmenter.segment_all(picture(), instructions, earlier):
        assert answer.mask.shape == answer.probability.shape == (60, 80)
        assert np.isfinite(answer.probability).all() and 0 < answer.score < 1
        assert answer.unknown == ()


@pytest.mark.parametrize('rows', [50296, 51200])
def test_either_number_of_embeddings_is_right(tmp_path: Path, rows: int) -> None:
    def resize(tensors: Tensors) -> None:
        spare = torch.ones(rows - 50296, 40, dtype=torch.float16)
        tensors[EMBEDDINGS] = torch.cat([tensors[EMBEDDINGS], spare])

    source = write_released_checkpoint(tmp_path / 'source', change=resize)
    convert_released(source, tmp_path / 'ours')
    model, _ = load_model(find_model(str(tmp_path / 'ours')))
    assert len(model.get_parameter('language_model.embed_tokens.weight')) == rows


def drop(tensors: Tensors) -> None:
    del tensors['model.layers.1.mlp.fc2.weight']


def add(tensors: Tensors) -> None:
    tensors['predictor.class_embed.weight'] = torch.zeros(2, 32)


def reshape(tensors: Tensors) -> None:
    tensors['vmtf_layers.layers.1.0.to_kv.weight'] = torch.zeros(256, 24)


@pytest.mark.parametrize(
    ('change', 'named'),
    [
        (drop, r'no tensors for: \S*layers\.1\.mlp\.fc2\.weight\.'),
        (add, r'does not have: predictor\.class_embed\.weight\.'),
        (reshape, r'vmtf_layers\.layers\.1\.0\.to_kv\.weight \(256, 24\) in place of \(256, 32\)'),
    ],
)
def test_a_checkpoint_of_other_tensors_is_refused_and_the_tensor_named(
    tmp_path: Path, change: Callable[[Tensors], None], named: str
) -> None:
    source = write_released_checkpoint(tmp_path / 'source', change=change)
    with pytest.raises(ModelError, match=named):
        convert_released(source, tmp_path / 'ours')
    assert not (tmp_path / 'ours').exists()


def test_a_checkpoint_of_pickled_weights_is_refused_and_the_file_named(tmp_path: Path) -> None:
    source = write_released_checkpoint(tmp_path / 'source')
    for file in (INDEX, *SHARDS):
        (source / file).unlink()
    (source / 'pytorch_model.bin').write_bytes(b'\x80\x04.')
    with pytest.raises(ModelError, match=r'pytorch_model\.bin is pickled'):
        convert_released(source, tmp_path / 'ours')
    assert not (tmp_path / 'ours').exists()


def test_a_tokenizer_without_seg_is_refused_with_the_remedy(tmp_path: Path) -> None:
    source = write_released_checkpoint(tmp_path / 'source')
    values = json.loads((source / 'tokenizer.json').read_text(encoding='utf-8'))
    values['added_tokens'].pop()
    (source / 'tokenizer.json').write_text(json.dumps(values))
    config = json.loads((source / 'tokenizer_config.json').read_text())
    del config['added_tokens_decoder']['50295']
    (source / 'tokenizer_config.json').write_text(json.dumps(config))
    assert len(PreTrainedTokenizerFast.from_pretrained(source)) == 50295
    with pytest.raises(ModelError, match=r'no \[SEG\]: copy added_tokens\.json'):
        convert_released(source, tmp_path / 'ours')


def edited(folder: Path, file: str, edit: Callable[[dict[str, object]], object]) -> Path:
    """A checkpoint whose JSON file a test has changed."""
    write_released_checkpoint(folder)
    values = json.loads((folder / file).read_text())
    edit(values)
    (folder / file).write_text(json.dumps(values))
    return folder


def refused(source: Path) -> str:
    with pytest.raises(ModelError) as error:
        convert_released(source, source.parent / 'ours')
    assert not (source.parent / 'ours').exists() and '\n' not in str(error.value)
    return str(error.value)


def test_a_tensor_that_only_the_index_has_is_named(tmp_path: Path) -> None:
    name = 'ovp_layers.layers.9.0.to_q.weight'

    def add(index: dict[str, object]) -> None:
        index['weight_map'][name] = SHARDS[1]  # type: ignore[index]

    assert f'{name} is not in {SHARDS[1]}' in refused(edited(tmp_path / 'source', INDEX, add))


def test_an_index_reaches_only_files_beside_it(tmp_path: Path) -> None:
    def leave(index: dict[str, object]) -> None:
        index['weight_map'][EMBEDDINGS] = f'../source/{SHARDS[0]}'  # type: ignore[index]

    assert 'not a file beside it' in refused(edited(tmp_path / 'source', INDEX, leave))


@pytest.mark.parametrize(
    'change',
    [
        {'vision_config': None},
        {'num_hidden_layers': 'two'},
        {'hidden_act': 'no such thing'},
        {'num_attention_heads': 0},
    ],
)
def test_a_config_of_wrong_kinds_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    message = refused(edited(tmp_path / 'source', 'config.json', lambda old: old.update(change)))
    assert 'copy' in message.lower()


@pytest.mark.parametrize('name', [EMBEDDINGS, 'lm_head.weight'])
@pytest.mark.parametrize('rows', [50257, 1])
def test_fewer_rows_than_the_tokenizer_has_tokens_are_refused(
    name: str, rows: int, tmp_path: Path
) -> None:
    def cut(tensors: Tensors) -> None:
        tensors[name] = tensors[name][:rows].clone()

    message = refused(write_released_checkpoint(tmp_path / 'source', change=cut))
    assert f'{name} ({rows}, 40) in place of at least (50296, 40)' in message


def test_a_missing_head_is_named(tmp_path: Path) -> None:
    source = write_released_checkpoint(
        tmp_path / 'source', change=lambda tensors: tensors.pop('lm_head.weight')
    )
    assert 'lm_head.weight' in refused(source)


def test_everybody_may_read_what_was_converted(ours: Path) -> None:
    assert [file for file in ours.rglob('*.safetensors') if not file.stat().st_mode & 0o044] == []


TOWER = 'model.vision_tower.vision_model.'


@pytest.mark.parametrize(
    'name',
    [f'{TOWER}encoder.layers.7.mlp.fc1.bias', f'{TOWER}head.other', 'predictor.norm.weight',
     'predictor.query_feat.bias'],
)  # fmt: skip
def test_a_tensor_that_only_looks_like_one_of_the_release_is_named(
    name: str, tmp_path: Path
) -> None:
    extra = {name: torch.zeros(3)}
    source = write_released_checkpoint(tmp_path / 'source', change=lambda old: old.update(extra))
    assert name in refused(source)


@pytest.mark.parametrize(
    'name',
    ['predictor.SEG_query_embed.weight', f'{TOWER}post_layernorm.weight', f'{TOWER}head.probe'],
)
def test_unused_tensors_are_there_and_of_their_shape_too(name: str, tmp_path: Path) -> None:
    lost = write_released_checkpoint(tmp_path / 'lost' / 'source', change=lambda old: old.pop(name))
    assert f'no tensors for: {name}' in refused(lost)
    other = {name: torch.zeros(2, 2)}
    bent = write_released_checkpoint(
        tmp_path / 'bent' / 'source', change=lambda old: old.update(other)
    )
    assert f'{name} (2, 2) in place of' in refused(bent)


def test_a_misshapen_joined_tensor_is_named_once_with_its_own_shape(tmp_path: Path) -> None:
    name = 'predictor.transformer_cross_attention_layers.0.multihead_attn.in_proj_bias'
    other = {name: torch.zeros(7)}
    message = refused(write_released_checkpoint(
        tmp_path / 'source', change=lambda old: old.update(other)))  # fmt: skip
    width = Sizes().mask_width
    assert message.count(f'{name} (7,) in place of ({3 * width},)') == 1


def test_an_index_of_pickled_shards_is_refused_as_such(tmp_path: Path) -> None:
    def rename(index: dict[str, object]) -> None:
        index['weight_map'][EMBEDDINGS] = 'pytorch_model.bin'  # type: ignore[index]

    assert 'is pickled' in refused(edited(tmp_path / 'source', INDEX, rename))


@pytest.mark.parametrize('damage', ['{}', '[]', '{"shards": {"../x": {"tensors": ["a"]}}}'])
def test_the_way_back_needs_a_sound_manifest(damage: str, ours: Path, tmp_path: Path) -> None:
    copy = tmp_path / 'ours'
    shutil.copytree(ours, copy)
    (copy / 'released' / 'manifest.json').write_text(damage)
    with pytest.raises(ModelError, match=r'manifest\.json is damaged'):
        restore_released(copy, tmp_path / 'back')
    assert not (tmp_path / 'back').exists()


def test_memory_holds_a_shard_and_not_the_whole_checkpoint(source: Path) -> None:
    tensors = TensorFolder(source)
    before = mapped(source)
    kept = tensors.read(EMBEDDINGS)
    assert mapped(source) > before == 0
    del kept
    assert mapped(source) == 0


def mapped(folder: Path) -> int:
    """How many pieces of a folder's files this process has in its memory."""
    return Path('/proc/self/maps').read_text().count(f'{folder}/')
