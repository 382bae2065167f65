from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from instructseg_ros.conversion.source import find_source, read_config
from instructseg_ros.model.checkpoints import ModelError


def test_a_folder_is_its_own_source(tmp_path: Path) -> None:
    assert find_source(str(tmp_path)) == tmp_path


@pytest.mark.parametrize('name', ['nobody/nothing-of-this-name', 'not a hub id', '/no/such/folder'])
def test_without_a_network_the_files_to_copy_are_named(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    with pytest.raises(ModelError) as error:
        find_source(name)
    for file in ('config.json', 'model.safetensors.index.json', 'tokenizer.json', 'hf download'):
        assert file in str(error.value)
    assert '\n' not in str(error.value)


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r'has no config\.json'):
        read_config(tmp_path)


@pytest.mark.parametrize('text', ['{', 'null', '[1, 2]'])
def test_a_damaged_config_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / 'config.json').write_text(text)
    with pytest.raises(ModelError, match='damaged'):
        read_config(tmp_path)


def test_a_pickled_file_is_refused_as_such(tmp_path: Path) -> None:
    file = tmp_path / 'model_final.pkl'
    file.write_bytes(b'\x80\x04.')
    with pytest.raises(ModelError, match=r'model_final\.pkl is pickled'):
        find_source(str(file))


def test_a_file_is_no_checkpoint(tmp_path: Path) -> None:
    file = tmp_path / 'model.safetensors'
    file.touch()
    with pytest.raises(ModelError, match='name the folder'):
        find_source(str(file))
