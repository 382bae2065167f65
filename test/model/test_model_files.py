from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from instructseg_ros.model.checkpoints import load_model
from instructseg_ros.model.model_files import (
    MANIFEST,
    ModelError,
    check_manifest,
    find_model,
    model_hash,
    write_manifest,
)


@pytest.fixture
def folder(tmp_path: Path, tiny_model_dir: Path) -> Path:
    copy = tmp_path / 'model'
    shutil.copytree(tiny_model_dir, copy)
    write_manifest(copy)
    return copy


def test_a_manifest_is_what_sha256sum_writes(folder: Path) -> None:
    lines = (folder / MANIFEST).read_text().splitlines()
    digest = hashlib.sha256((folder / 'model.safetensors').read_bytes()).hexdigest()
    assert f'{digest}  model.safetensors' in lines


def test_a_folder_as_it_was_pinned_loads(folder: Path) -> None:
    model, _ = load_model(find_model(str(folder)))
    assert not model.training


def test_a_folder_without_a_manifest_is_not_checked(tiny_model_dir: Path) -> None:
    check_manifest(tiny_model_dir)


def test_a_single_changed_bit_of_the_weights_is_refused_by_name(folder: Path) -> None:
    file = folder / 'model.safetensors'
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    with pytest.raises(ModelError, match=r'model\.safetensors does not have the hash'):
        load_model(find_model(str(folder)))


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        (lambda folder: (folder / 'tokenizer.json').unlink(), r'tokenizer\.json is listed'),
        (lambda folder: (folder / 'more.safetensors').write_bytes(b''), 'is not listed'),
        (lambda folder: (folder / MANIFEST).write_text('no hash'), 'line 1 of SHA256SUMS'),
        (lambda folder: (folder / MANIFEST).write_text(f'{"0" * 64}  ../config.json'), 'line 1'),
        (lambda folder: (folder / MANIFEST).write_bytes(b'\xff\x00'), 'line 1'),
        (lambda folder: (folder / MANIFEST).write_text(''), 'is not listed'),
    ],
)
def test_a_folder_that_differs_from_its_manifest_is_refused(
    folder: Path, change: object, reason: str
) -> None:
    change(folder)  # type: ignore[operator]
    with pytest.raises(ModelError, match=reason):
        check_manifest(folder)


def test_the_embedded_model_is_pinned() -> None:
    folder = find_model('embedded')
    assert (folder / MANIFEST).is_file()
    check_manifest(folder)


def test_a_model_has_one_hash_with_and_without_a_manifest(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / 'copy')
    (copy / MANIFEST).unlink()
    assert model_hash(copy) == model_hash(folder)
    (copy / 'config.json').write_text((copy / 'config.json').read_text() + ' ')
    assert model_hash(copy) != model_hash(folder)


def test_the_manifest_saves_reading_the_weights(folder: Path, tmp_path: Path) -> None:
    before = model_hash(folder)
    # Loading would refuse this file; the hash does not open it.
    (folder / 'model.safetensors').write_bytes(b'')
    assert model_hash(folder) == before
