"""Equality with the official evaluators, on every set of predictions that they were run on."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from case_folders import case_folders
from PIL import Image

from instructseg_ros.research.data.reading import DataError
from instructseg_ros.research.published.ref_davis import score_davis
from instructseg_ros.research.published.revos import score_revos

SHIPPED = Path(__file__).resolve().parents[2] / 'data' / 'metrics'
FOLDERS = case_folders(SHIPPED, 'INSTRUCTSEG_METRICS_DIR')
FIGURES = ('J', 'F', 'JF', 'A', 'R')


@dataclasses.dataclass(frozen=True)
class RevosCase:
    """A set of predictions, and the official figures of it.

    Args:
        truth, predictions: folders.
        groups: figures of each group of sentences.
        sentences: figures of each, by VIDEO/SENTENCE.
    """

    truth: Path
    predictions: Path
    groups: Mapping[str, Mapping[str, float]]
    sentences: Mapping[str, Mapping[str, float]]


def collected(folder: Path) -> list[Path]:
    """Files with figures of several evaluators."""
    return sorted(folder.rglob('expected.json'))


def written_by_visa(folder: Path) -> list[Path]:
    """Files as ReVOS' evaluator writes them among the predictions, in a folder of the data set."""
    return sorted(folder.rglob('revos_valid.json'))


def revos_cases() -> Iterator[RevosCase]:
    for file in (file for folder in FOLDERS for file in collected(folder)):
        figures = json.loads(file.read_text())
        if 'revos' in figures:
            names = (key.rpartition('_') for key in figures['revos_per_expression'])
            rows = figures['revos_per_expression'].values()
            sentences = {
                f'{video}/{number}': row
                for (video, _, number), row in zip(names, rows, strict=True)
            }
            truth = file.parent / 'revos'
            yield RevosCase(truth, truth, figures['revos'], sentences)
    for file in (file for folder in FOLDERS for file in written_by_visa(folder)):
        with file.with_suffix('.csv').open(newline='') as table:
            sentences = {
                f'{row["video_name"]}/{row["exp_id"]}': {name: float(row[name]) for name in FIGURES}
                for row in csv.DictReader(table)
            }
        yield RevosCase(file.parent.parent, file.parent, json.loads(file.read_text()), sentences)


@pytest.mark.parametrize('case', revos_cases(), ids=lambda case: case.truth.name)
def test_revos_figures_equal_the_official_ones(case: RevosCase) -> None:
    mine = score_revos(case.truth, case.predictions)
    for group, figures in case.groups.items():
        ours = mine[{'reason': 'reasoning'}.get(group, group)]
        for name, value in figures.items():
            assert ours[name] == pytest.approx(value, abs=1e-6), (group, name)
    assert mine['expressions'].keys() == case.sentences.keys()
    for key, figures in case.sentences.items():
        ours = mine['expressions'][key]
        for name in ('J', 'F', 'A', 'R'):
            assert ours[name] == figures[name], (key, name)
        # Their mean is rounded from what was not rounded before.
        assert ours['JF'] == pytest.approx(figures['JF'], abs=0.0101)


def test_revos_robustness_counts_where_annotations_overlap_as_the_official_one() -> None:
    case = SHIPPED / 'revos_overlap'
    mine = score_revos(case, case / 'pred')
    assert mine['overall']['R'] == 90.91
    assert mine['overall']['R corrected'] == 100
    assert mine['problems'] == []


def test_a_revos_prediction_of_a_wrong_size_affects_only_its_sentence() -> None:
    case = SHIPPED / 'revos_wrong_size'
    mine = score_revos(case, case / 'pred')
    assert mine['expressions']['v/x/0']['J'] == 100
    assert set(mine['expressions']['v/x/1'].values()) == {0}
    [problem] = mine['problems']
    assert problem.startswith('v/x/1 scores 0: ') and 'and its frame (60, 80)' in problem


def test_a_damaged_revos_prediction_affects_only_its_sentence(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED / 'revos_overlap', tmp_path, dirs_exist_ok=True)
    (tmp_path / 'pred/v/x/1/00002.png').write_bytes(b'no picture')
    mine = score_revos(tmp_path, tmp_path / 'pred')
    assert mine['referring']['J'] == 100 and mine['reasoning']['J'] == 0
    assert '00002.png cannot be read as an image' in mine['problems'][0]


def test_revos_accuracy_depends_on_the_values_in_the_files(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED / 'revos_overlap', tmp_path, dirs_exist_ok=True)
    for file in (tmp_path / 'pred').rglob('*.png'):
        with Image.open(file) as image:
            ones = image.point([min(value, 1) for value in range(256)])
        ones.save(file)
    # 1 where one annotation is, as the official evaluator reads it; its J does not look at values.
    mine = score_revos(tmp_path, tmp_path / 'pred')['overall']
    assert mine['A'] > 90 and mine['J'] == 100


def test_revos_needs_the_foreground_and_reports_gaps_in_it(tmp_path: Path) -> None:
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


def davis_cases() -> Iterator[tuple[Path, dict[str, Any]]]:
    for file in (file for folder in FOLDERS for file in collected(folder)):
        figures = json.loads(file.read_text())
        if 'davis17_unsupervised' in figures:
            yield file.parent, figures


@pytest.mark.parametrize(('case', 'official'), davis_cases())
def test_davis_metrics_equal_the_official_ones(case: Path, official: dict[str, Any]) -> None:
    mine = score_davis(case / 'davis', case / 'davis' / 'predictions')
    for name, value in official['davis17_unsupervised'].items():
        assert round(mine[name], 3) == value, name
    for key, figures in official['davis17_per_object'].items():
        ours = mine['objects'][key]
        assert {name: round(ours[name], 3) for name in figures} == figures, key


@pytest.mark.parametrize('folder', FOLDERS, ids=str)
def test_there_are_figures_in_every_metrics_folder(folder: Path) -> None:
    assert collected(folder) or written_by_visa(folder), (
        f'{folder} has neither expected.json nor revos_valid.json'
    )


def test_further_metrics_folders_are_listed_as_in_path_and_must_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / 'one', tmp_path / 'two'
    one.mkdir()
    two.mkdir()
    monkeypatch.setenv('INSTRUCTSEG_METRICS_DIR', os.pathsep.join(map(str, (one, two, SHIPPED))))
    assert case_folders(SHIPPED, 'INSTRUCTSEG_METRICS_DIR') == [SHIPPED, one, two]
    monkeypatch.delenv('INSTRUCTSEG_METRICS_DIR')
    assert case_folders(SHIPPED, 'INSTRUCTSEG_METRICS_DIR') == [SHIPPED]
    monkeypatch.setenv('INSTRUCTSEG_METRICS_DIR', str(tmp_path / 'none'))
    with pytest.raises(FileNotFoundError, match=r'INSTRUCTSEG_METRICS_DIR names .*none'):
        case_folders(SHIPPED, 'INSTRUCTSEG_METRICS_DIR')
