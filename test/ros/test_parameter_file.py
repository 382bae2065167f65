from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from instructseg_ros.ros.parameters import default_of
from instructseg_ros.ros.segmentation_parameters import SegmentationParameters
from instructseg_ros.ros.transport import share_folder

CONFIG = share_folder() / 'config'
ROOT = Path(__file__).resolve().parents[2]
FIELDS = {field.name: field for field in dataclasses.fields(SegmentationParameters)}
USES = sorted(file.stem for file in CONFIG.glob('*.yaml') if file.stem != 'segmentation')


def parameters(file: Path) -> dict[str, Any]:
    [node] = yaml.safe_load(file.read_text()).values()
    return node['ros__parameters']


def test_the_parameter_file_holds_every_parameter_with_its_default() -> None:
    assert parameters(CONFIG / 'segmentation.yaml') == dataclasses.asdict(SegmentationParameters())


@pytest.fixture
def script() -> ModuleType:
    path = ROOT / 'scripts' / 'document_parameters.py'
    spec = importlib.util.spec_from_file_location('document_parameters', path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generated_parameter_documents_are_up_to_date(script: ModuleType) -> None:
    assert set(script.documents()) == {
        ROOT / 'docs' / 'parameters.md',
        ROOT / 'config' / 'segmentation.yaml',
    }
    for file, text in script.documents().items():
        assert file.read_text() == text, f'run scripts/document_parameters.py for {file.name}'


def test_the_script_reports_documents_that_are_out_of_date(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, 'ROOT', tmp_path)
    for folder in ('docs', 'config'):
        (tmp_path / folder).mkdir()
    monkeypatch.setattr(sys, 'argv', ['document_parameters.py', '--check'])
    with pytest.raises(SystemExit, match=r'parameters\.md, .*segmentation\.yaml'):
        script.main()
    assert not list((tmp_path / 'docs').iterdir())
    monkeypatch.setattr(sys, 'argv', ['document_parameters.py'])
    script.main()
    monkeypatch.setattr(sys, 'argv', ['document_parameters.py', '--check'])
    with pytest.raises(SystemExit) as ended:
        script.main()
    assert ended.value.code == 0


@pytest.mark.parametrize('use', USES)
def test_the_parameters_for_a_use_differ_from_the_defaults_and_are_allowed(use: str) -> None:
    assert parameters(CONFIG / f'{use}.yaml')
    for name, value in parameters(CONFIG / f'{use}.yaml').items():
        field, default = FIELDS[name], default_of(FIELDS[name])
        assert type(value) is type(default), name
        assert value != default, name
        limits = field.metadata
        assert limits['minimum'] is None or limits['minimum'] <= value <= limits['maximum']
        values = value if isinstance(value, list) else [value]
        assert not limits['choices'] or set(values) <= set(limits['choices'])


def test_every_parameter_has_a_description() -> None:
    for field in FIELDS.values():
        assert field.metadata['description'], field.name
        is_number = type(default_of(field)) in (int, float)
        assert not is_number or field.metadata['minimum'] is not None, field.name
