"""Equality with the official evaluators, on every set of predictions that they were run on."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from instructseg_ros.data.reading import DataError
from instructseg_ros.evaluation.davis import score_davis
from instructseg_ros.evaluation.revos import score_revos

SHIPPED = Path(__file__).resolve().parents[1] / 'data' / 'metrics'
FOLDER = Path(os.environ.get('INSTRUCTSEG_METRICS_DIR') or SHIPPED)
CASES = sorted(file.parent for file in FOLDER.rglob('expected.json'))


def expected(case: Path, name: str) -> dict[str, Any]:
    figures = json.loads((case / 'expected.json').read_text())
    if name not in figures:
        pytest.skip(f'{case} has no figures of {name}')
    return figures


@pytest.mark.parametrize('case', CASES, ids=lambda case: case.name)
def test_revos_figures_are_the_official_ones(case: Path) -> None:
    official = expected(case, 'revos')
    mine = score_revos(case / 'revos', case / 'revos')
    for group, figures in official['revos'].items():
        ours = mine[{'reason': 'reasoning'}.get(group, group)]
        for name, value in figures.items():
            assert ours[name] == pytest.approx(value, abs=1e-6), (group, name)
    for key, figures in official['revos_per_expression'].items():
        video, _, number = key.rpartition('_')
        ours = mine['expressions'][f'{video}/{number}']
        for name in ('J', 'F', 'A', 'R'):
            assert ours[name] == figures[name], (key, name)
        # Their mean is rounded from what was not rounded before.
        assert ours['JF'] == pytest.approx(figures['JF'], abs=0.0101)


def test_revos_needs_the_foreground_and_names_what_it_lacks(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED / 'revos', tmp_path, dirs_exist_ok=True)
    file = tmp_path / 'mask_dict_foreground.json'
    foreground = json.loads(file.read_text())
    video = next(iter(foreground))
    del foreground[video]
    file.write_text(json.dumps(foreground))
    assert score_revos(tmp_path, tmp_path)['problems'] == [f'{file.name} lacks frames of {video}']
    file.unlink()
    with pytest.raises(DataError, match=f'{file.name} is missing'):
        score_revos(tmp_path, tmp_path)


@pytest.mark.parametrize('case', CASES, ids=lambda case: case.name)
def test_davis_metrics_are_the_official_ones(case: Path) -> None:
    official = expected(case, 'davis17_unsupervised')
    mine = score_davis(case / 'davis', case / 'davis' / 'predictions')
    for name, value in official['davis17_unsupervised'].items():
        assert round(mine[name], 3) == value, name
    for key, figures in official['davis17_per_object'].items():
        ours = mine['objects'][key]
        assert {name: round(ours[name], 3) for name in figures} == figures, key


def test_the_metrics_folder_has_figures() -> None:
    assert CASES, f'{FOLDER} has no expected.json'
