"""A complete checkpoint in the released layout at small sizes: converted, used, and refused."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import golden
import numpy as np
import pytest
import torch
from released_checkpoint import (
    EXTRA_TENSORS,
    HALF,
    INDEX,
    SHARDS,
    Tensors,
    add_extra_tensors,
    add_rows,
    drop_index_buffers,
    write_released_checkpoint,
)
from released_layout import INDEX_BUFFER, Sizes, tensor_shapes
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast

from instructseg_ros.cli.main import main
from instructseg_ros.model.checkpoints import load_head, load_model
from instructseg_ros.model.conversion.released import convert_released
from instructseg_ros.model.conversion.released_layout import is_unused, our_names
from instructseg_ros.model.conversion.tensors import TensorFolder, TensorSlice
from instructseg_ros.model.model_files import (
    MANIFEST,
    ModelError,
    check_manifest,
    find_model,
    model_hash,
)
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
LAYERS = Sizes().vision_layers - 1  # that the model uses


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


def stored(folder: Path) -> Tensors:
    """Every tensor of a folder."""
    files = sorted(folder.glob('*.safetensors'))
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def assert_stored_bit_for_bit(source: Path, ours: Path, unknown: Iterable[str] = ()) -> None:
    """Every tensor that the model uses is there as it was, and nothing else is."""
    mine = stored(ours)
    for name, tensor in stored(source).items():
        parts = [mine.pop(each) for each in our_names(name, vision_layers=LAYERS) if each in mine]
        if name == 'lm_head.weight':
            parts = [mine.pop(name)]
        if parts:
            kept = torch.cat(parts)
            assert kept.dtype == tensor.dtype and torch.equal(kept, tensor), name
        else:
            assert is_unused(name, vision_layers=LAYERS) or name in unknown, name
    assert mine == {}


def test_no_bit_of_a_used_tensor_changes(source: Path, ours: Path) -> None:
    assert_stored_bit_for_bit(source, ours)


def test_a_released_checkpoint_is_converted_without_a_warning(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    convert_released(source, tmp_path / 'ours')
    assert caplog.records == []


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


def test_the_configuration_records_the_precision_of_the_language_side(ours: Path) -> None:
    values = json.loads((ours / 'config.json').read_text())
    assert (values['dtype'], values['language_dtype']) == ('float32', 'float16')


def test_a_converted_model_has_the_token_counts_of_the_release(ours: Path) -> None:
    model, processor = load_model(find_model(str(ours)))
    assert model.get_parameter('language_model.embed_tokens.weight').shape == (50296, 40)
    assert model.config.image_tokens == processor.config.image_tokens == 729
    assert model.config.num_latents == processor.config.num_latents == 128
    assert model.config.num_queries == processor.config.num_queries == 100
    assert processor.seg_token_id == 50295


@pytest.mark.parametrize('references', [0, 4])
def test_a_converted_model_answers_with_finite_masks(segmenter: Segmenter, references: int) -> None:
    earlier = segmenter.encode([picture(seed) for seed in range(1, references + 1)])
    instructions = ['the red mug', 'what could I drink from?']
    for answer in segmenter.segment_all(picture(), instructions, earlier):
        assert answer.mask.shape == answer.probability.shape == (60, 80)
        assert np.isfinite(answer.probability).all() and 0 < answer.score < 1
        assert answer.unknown == ()


def answers(segmenter: Segmenter) -> list[np.ndarray]:
    """Masks and scores of two instructions on a still image, and on one with earlier frames."""
    found = []
    for earlier in ([], segmenter.encode([picture(1), picture(2)])):
        for answer in segmenter.segment_all(picture(), ['the red mug', 'a cup'], earlier):
            found += [answer.probability, np.array(answer.score)]
    return found


@pytest.fixture(scope='module')
def plain(segmenter: Segmenter) -> list[np.ndarray]:
    """The answers of the plain checkpoint."""
    return answers(segmenter)


def assert_the_same_answers(folder: Path, plain: list[np.ndarray]) -> Segmenter:
    segmenter = Segmenter.from_pretrained(str(folder), device='cpu')
    for mine, its in zip(answers(segmenter), plain, strict=True):
        np.testing.assert_array_equal(mine, its)
    return segmenter


def test_22_extra_tensors_are_named_in_one_warning_and_change_no_answer(
    tmp_path: Path, plain: list[np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    source = write_released_checkpoint(tmp_path / 'source', change=add_extra_tensors)
    convert_released(source, tmp_path / 'ours')
    [record] = caplog.records
    assert len(EXTRA_TENSORS) == 22 and ' 22 tensors ' in record.getMessage()
    for name, shape in EXTRA_TENSORS.items():
        assert f'{name} {tuple(shape)}' in record.getMessage()
    assert_the_same_answers(tmp_path / 'ours', plain)
    assert_stored_bit_for_bit(source, tmp_path / 'ours', unknown=EXTRA_TENSORS)
    assert len(caplog.records) == 1


def test_the_command_converts_a_checkpoint_and_writes_the_hashes_of_its_files(
    source: Path, ours: Path, tmp_path: Path
) -> None:
    assert main(['convert', str(source), str(tmp_path / 'ours')]) == 0
    check_manifest(tmp_path / 'ours')
    assert (tmp_path / 'ours' / MANIFEST).is_file()
    assert model_hash(tmp_path / 'ours') == model_hash(ours)


def test_a_checkpoint_without_relative_position_index_answers_the_same(
    tmp_path: Path, plain: list[np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    source = write_released_checkpoint(tmp_path / 'source', change=drop_index_buffers)
    assert not any(name.endswith(INDEX_BUFFER) for name in TensorFolder(source).shapes)
    convert_released(source, tmp_path / 'ours')
    assert_the_same_answers(tmp_path / 'ours', plain)
    assert caplog.records == []


@pytest.mark.parametrize(
    ('embeddings', 'head', 'described'),
    [(50296, 51200, 51200), (51200, 51200, 51200), (51200, 50296, 50296)],
)
def test_embeddings_and_head_may_have_different_numbers_of_rows(
    embeddings: int,
    head: int,
    described: int,
    segmenter: Segmenter,
    plain: list[np.ndarray],
    tmp_path: Path,
) -> None:
    resize = partial(add_rows, embeddings=embeddings, head=head)
    source = write_released_checkpoint(tmp_path / 'source', change=resize)
    config = json.loads((source / 'config.json').read_text())
    (source / 'config.json').write_text(json.dumps(config | {'vocab_size': described}))
    convert_released(source, tmp_path / 'ours')
    mine = assert_the_same_answers(tmp_path / 'ours', plain)
    words = [s.generate(picture(), 'What is this?', max_new_tokens=3) for s in (mine, segmenter)]
    assert words[0] == words[1]
    assert len(load_head(tmp_path / 'ours')) == head
    model, _ = load_model(tmp_path / 'ours')
    assert len(model.get_parameter('language_model.embed_tokens.weight')) == embeddings
    assert_stored_bit_for_bit(source, tmp_path / 'ours')


def test_files_of_the_hubs_cache_which_are_links_are_converted(
    source: Path, ours: Path, tmp_path: Path
) -> None:
    snapshot = tmp_path / 'snapshot'
    snapshot.mkdir()
    for file in source.iterdir():
        (snapshot / file.name).symlink_to(file)
    convert_released(snapshot, tmp_path / 'ours')
    assert model_hash(tmp_path / 'ours') == model_hash(ours)


def drop(tensors: Tensors) -> None:
    del tensors['model.layers.1.mlp.fc2.weight']


def rename(tensors: Tensors) -> None:
    tensors['predictor.norm.bias'] = tensors.pop('predictor.decoder_norm.bias')


def reshape(tensors: Tensors) -> None:
    tensors['vmtf_layers.layers.1.0.to_kv.weight'] = torch.zeros(256, 24)


@pytest.mark.parametrize(
    ('change', 'named'),
    [
        (drop, r'no tensors for: \S*layers\.1\.mlp\.fc2\.weight\.'),
        (rename, r'no tensors for: mask_decoder\.norm\.bias\.'),
        (reshape, r'vmtf_layers\.layers\.1\.0\.to_kv\.weight \(256, 24\) instead of \(256, 32\)'),
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


def test_an_index_reaches_only_files_next_to_it(tmp_path: Path) -> None:
    def leave(index: dict[str, object]) -> None:
        index['weight_map'][EMBEDDINGS] = f'../source/{SHARDS[0]}'  # type: ignore[index]

    assert 'not a file next to it' in refused(edited(tmp_path / 'source', INDEX, leave))


@pytest.mark.parametrize(
    'change',
    [
        {'vision_config': None},
        {'num_hidden_layers': 'two'},
        {'hidden_act': 'no such thing'},
        {'num_attention_heads': 0},
    ],
)
def test_a_config_with_fields_of_wrong_types_is_refused(
    change: dict[str, object], tmp_path: Path
) -> None:
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
    assert f'{name} ({rows}, 40) instead of at least (50296, 40)' in message


def test_a_missing_head_is_named(tmp_path: Path) -> None:
    source = write_released_checkpoint(
        tmp_path / 'source', change=lambda tensors: tensors.pop('lm_head.weight')
    )
    assert 'lm_head.weight' in refused(source)


def test_every_user_may_read_the_converted_files(ours: Path) -> None:
    assert [file for file in ours.rglob('*.safetensors') if not file.stat().st_mode & 0o044] == []


TOWER = 'model.vision_tower.vision_model.'
BENT = torch.zeros(2, 2)


def test_tensors_that_only_look_like_those_of_the_release_are_not_used_but_named(
    tmp_path: Path, plain: list[np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    names = (
        f'{TOWER}encoder.layers.7.mlp.fc1.bias',
        f'{TOWER}head.other',
        'predictor.norm.weight',
        'predictor.query_feat.bias',
        'predictor.query_position.weight',
        'lm_head.bias',
        'pixel_decoder.other.weight',
        'model.vision_tower_mask.norm9.weight',
        'seg_query_other',
        'predictor.transformer_cross_attention_layers.0.self_attn.in_proj_weight',
    )
    extra = {name: torch.full((3,), 5.0) for name in names}
    source = write_released_checkpoint(tmp_path / 'source', change=lambda old: old.update(extra))
    convert_released(source, tmp_path / 'ours')
    [record] = caplog.records
    for name in names:
        assert f'{name} (3,)' in record.getMessage()
    assert_the_same_answers(tmp_path / 'ours', plain)
    assert_stored_bit_for_bit(source, tmp_path / 'ours', unknown=names)


@pytest.mark.parametrize(
    'name', ['predictor.SEG_query_embed.weight', f'{TOWER}post_layernorm.weight']
)
def test_an_unused_tensor_may_be_missing_or_of_another_shape(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    changes = {'lost': lambda old: old.pop(name), 'bent': lambda old: old.update({name: BENT})}
    for case, change in changes.items():
        source = write_released_checkpoint(tmp_path / case / 'source', change=change)
        convert_released(source, tmp_path / case / 'ours')
        assert_stored_bit_for_bit(source, tmp_path / case / 'ours')
    assert caplog.records == []


def test_a_misshapen_joined_tensor_is_named_once_with_its_own_shape(tmp_path: Path) -> None:
    name = 'predictor.transformer_cross_attention_layers.0.multihead_attn.in_proj_bias'
    other = {name: torch.zeros(7)}
    message = refused(
        write_released_checkpoint(tmp_path / 'source', change=lambda old: old.update(other))
    )
    width = Sizes().mask_width
    assert message.count(f'{name} (7,) instead of ({3 * width},)') == 1


def changed_config(folder: Path, change: dict[str, object]) -> None:
    values = json.loads((folder / 'config.json').read_text())
    (folder / 'config.json').write_text(json.dumps(values | change))


def only_mipha_s(tensors: Tensors) -> None:
    for name in [name for name in tensors if not name.startswith(('model.', 'lm_head.'))]:
        del tensors[name]


@pytest.mark.parametrize(
    ('model_type', 'change', 'remedy'),
    [
        ('mipha_phi', drop, 'downloading them again does not help'),
        ('phi', drop, 'has the model_type "phi" and not "mipha_phi"'),
        ('mipha_phi', only_mipha_s, 'name a Mask2Former with --mask2former'),
    ],
)
def test_a_refusal_advises_what_fits_the_files_that_are_there(
    model_type: str, change: Callable[[Tensors], None], remedy: str, tmp_path: Path
) -> None:
    source = write_released_checkpoint(tmp_path / 'source', change=change)
    changed_config(source, {'model_type': model_type})
    message = refused(source)
    assert remedy in message and 'download it again' not in message


def test_a_folder_that_is_converted_already_is_refused_as_such(ours: Path, tmp_path: Path) -> None:
    shutil.copytree(ours, tmp_path / 'source')
    assert 'is already converted' in refused(tmp_path / 'source')


def test_a_shard_that_is_missing_or_a_pointer_of_git_lfs_is_named_with_its_remedy(
    tmp_path: Path,
) -> None:
    source = write_released_checkpoint(tmp_path / 'source')
    (source / SHARDS[0]).write_text('version https://git-lfs.github.com/spec/v1\noid sha256:1\n')
    assert 'run `git lfs pull`' in refused(source)
    (source / SHARDS[0]).unlink()
    assert f'{SHARDS[0]} is missing' in refused(source)


@pytest.mark.parametrize('name', ['config.json', 'tokenizer.json', 'tokenizer_config.json', INDEX])
def test_a_description_that_is_a_pointer_of_git_lfs_is_named_with_its_remedy(
    tmp_path: Path, name: str
) -> None:
    source = write_released_checkpoint(tmp_path / 'source')
    (source / name).write_text('version https://git-lfs.github.com/spec/v1\noid sha256:1\n')
    assert refused(source) == (
        f'{source / name} is only a git-lfs pointer: run `git lfs pull` in {source}.'
    )


def test_an_index_of_pickled_shards_is_refused_as_such(tmp_path: Path) -> None:
    def rename(index: dict[str, object]) -> None:
        index['weight_map'][EMBEDDINGS] = 'pytorch_model.bin'  # type: ignore[index]

    assert 'is pickled' in refused(edited(tmp_path / 'source', INDEX, rename))


def test_memory_holds_a_shard_and_not_the_whole_checkpoint(source: Path) -> None:
    tensors = TensorFolder(source)
    before = mapped(source)
    kept = tensors.read(TensorSlice(EMBEDDINGS))
    assert mapped(source) > before == 0
    del kept
    assert mapped(source) == 0


def mapped(folder: Path) -> int:
    """How many pieces of a folder's files this process has in its memory."""
    return Path('/proc/self/maps').read_text().count(f'{folder}/')
