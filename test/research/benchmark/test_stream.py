from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest

from instructseg_ros.cli.main import main
from instructseg_ros.research.benchmark.stream import table
from instructseg_ros.tabletop.dataset import tabletop_clips

SCHEDULES = ('exact', 'fixed_references', 'two_rate')
COSTS = {
    'fps',
    'latency_p50_ms',
    'latency_p95_ms',
    'gflop_per_frame',
    'drops',
    'peak_memory_gb',
    'jf',
}


def measure(file: Path, *options: str) -> dict[str, Any]:
    """Figures that the command writes."""
    few = ['--device', 'cpu', '--frames', '2', '--reason-every', '3', '--refresh-every', '3']
    assert main(['benchmark', 'stream', *few, '--json', str(file), *options]) == 0
    figures: dict[str, Any] = json.loads(file.read_text())
    return figures


@pytest.fixture(scope='module')
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Figures of a model with random weights, in a new folder."""
    file = tmp_path_factory.mktemp('benchmark') / 'new' / 'figures.json'
    return measure(file, '--size', 'tiny', '--schedules', *SCHEDULES, '--naive')


def test_every_schedule_has_its_figures_beside_the_authors_procedure(
    figures: dict[str, Any],
) -> None:
    assert figures['size'] == 'tiny' and figures['dtype'] == 'float32'
    assert list(figures['schedules']) == ['naive', *SCHEDULES]
    for row in figures['schedules'].values():
        assert set(row) == COSTS | {'latency_p99_ms'}
        assert row['fps'] > 0 and row['peak_memory_gb'] > 0 and row['gflop_per_frame'] > 0
        assert 0 < row['latency_p50_ms'] <= row['latency_p95_ms'] <= row['latency_p99_ms']
        assert 0 <= row['drops'] < 1
        assert row['jf'] is None  # of random weights
    assert figures['four_instructions'].keys() == {'naive_fps', 'exact_fps'}
    assert min(figures['four_instructions'].values()) > 0


def test_the_machine_and_the_settings_are_told(figures: dict[str, Any]) -> None:
    assert figures['device'] == 'cpu' and figures['threads'] >= 1
    assert figures['parameters'] > 1e6 and figures['reference_frames'] == 4
    assert figures['reason_every'] == figures['refresh_every'] == 3
    assert figures['frames'] == 2


def test_what_is_reused_is_not_computed_again(figures: dict[str, Any]) -> None:
    work = {name: row['gflop_per_frame'] for name, row in figures['schedules'].items()}
    assert work['naive'] > work['exact'] > work['two_rate']
    assert work['exact'] > work['fixed_references']


def test_the_table_has_a_line_for_every_schedule(figures: dict[str, Any]) -> None:
    lines = table(figures).splitlines()
    assert 'tiny, float32, 4 reference frames' in lines[0]
    assert [line.split()[0] for line in lines[2:6]] == ['naive', *SCHEDULES]
    naive = lines[2].split()
    assert naive[-2:] == ['1.00', '-']
    assert [line.split(':')[0] for line in lines[6:]] == [
        'four instructions, naive_fps',
        'four instructions, exact_fps',
    ]


def test_without_the_authors_procedure_there_is_nothing_to_be_faster_than(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = measure(tmp_path / 'figures.json', '--size', 'tiny', '--schedules', 'auto')
    assert list(figures['schedules']) == ['auto']
    assert figures['four_instructions'].keys() == {'exact_fps'}
    [row] = [line for line in capsys.readouterr().out.splitlines() if line.startswith('auto')]
    assert row.split()[-2:] == ['-', '-']


def test_of_the_embedded_model_the_masks_are_measured_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    short = functools.partial(tabletop_clips, seconds=0.3)
    monkeypatch.setattr('instructseg_ros.tabletop.dataset.tabletop_clips', short)
    options = ['--scenes', '1', '--schedules', 'exact', 'two_rate', '--dtype', 'fp32']
    figures = measure(tmp_path / 'figures.json', *options)
    for row in figures['schedules'].values():
        assert 50 < row['jf'] <= 100
    shown = capsys.readouterr().out
    assert f'{figures["schedules"]["exact"]["jf"]:.1f}' in shown


def test_a_precision_that_cannot_be_had_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / 'figures.json'
    options = ['--size', 'tiny', '--device', 'cpu', '--dtype', 'fp16', '--json', str(file)]
    assert main(['benchmark', 'stream', *options]) == 1
    assert '"bfloat16"' in capsys.readouterr().err
    assert not file.exists()
