from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from instructseg_ros.evaluation.origin import claim, origin_of

DATA = Path('data')


def test_a_folder_is_for_what_it_was_first_used_for(tiny_model_dir: Path, tmp_path: Path) -> None:
    mine = origin_of('refcoco', DATA, 'val', str(tiny_model_dir), 'auto')
    claim(tmp_path, mine, first=True)
    claim(tmp_path, mine, first=True)
    claim(tmp_path, mine, first=False)
    for other in (origin_of('refcoco+', DATA, 'val', str(tiny_model_dir), 'auto'),
                  origin_of('refcoco', tmp_path, 'val', str(tiny_model_dir), 'auto'),
                  origin_of('refcoco', DATA, 'testA', str(tiny_model_dir), 'auto'),
                  origin_of('refcoco', DATA, 'val', 'embedded', 'auto'),
                  origin_of('refcoco', DATA, 'val', str(tiny_model_dir), 'int8')):  # fmt: skip
        with pytest.raises(ValueError, match='remove it or name another --output'):
            claim(tmp_path, other, first=True)
    claim(tmp_path, mine, first=True)


def test_weights_that_were_trained_further_are_others(tiny_model_dir: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_model_dir, tmp_path / 'model')
    claim(tmp_path / 'out', origin_of('gqa', DATA, 'val', str(model), 'auto'), first=True)
    os.utime(model / 'model.safetensors', (2e9, 2e9))
    with pytest.raises(ValueError, match=r'weights of 20\d\d-.*, not 2033-05-18T03:33:20'):
        claim(tmp_path / 'out', origin_of('gqa', DATA, 'val', str(model), 'auto'), first=True)


def test_a_model_is_the_same_by_whatever_path(
    tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_model_dir.parent)
    absolute = origin_of('gqa', DATA, 'val', str(tiny_model_dir), 'auto')
    assert origin_of('gqa', DATA, 'val', tiny_model_dir.name, 'auto') == absolute


def test_one_process_writes_the_note(tiny_model_dir: Path, tmp_path: Path) -> None:
    claim(tmp_path / 'out', origin_of('gqa', DATA, 'val', str(tiny_model_dir), 'auto'), first=False)
    assert not (tmp_path / 'out').exists()


def test_a_note_that_is_damaged_is_named(tiny_model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / 'evaluation.json').write_text('{')
    with pytest.raises(ValueError, match=r'evaluation\.json is not readable as JSON'):
        claim(tmp_path, origin_of('gqa', DATA, 'val', str(tiny_model_dir), 'auto'), first=True)
