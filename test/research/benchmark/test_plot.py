from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from instructseg_ros.research.benchmark.stream import plot_stream


def figures_of(accuracy: float | None) -> dict[str, Any]:
    """Figures as `benchmark_stream` gives them."""
    schedules = {
        name: {
            'fps': 1e3 / latency,
            'latency_p50_ms': latency,
            'latency_p95_ms': 1.2 * latency,
            'latency_p99_ms': 1.5 * latency,
            'gflop_per_frame': latency,
            'drops': 0,
            'peak_memory_gb': 1.0,
            'jf': accuracy,
        }
        for name, latency in (('naive', 90.0), ('exact', 30.0), ('two_rate', 20.0))
    }
    return {'size': 'tiny', 'dtype': 'float32', 'threads': 1, 'schedules': schedules}


@pytest.fixture
def matplotlib() -> None:
    pytest.importorskip('matplotlib', reason='matplotlib, which is optional, is not installed')


def draw(figures: dict[str, Any], file: Path) -> Image.Image:
    plot_stream(figures, file)
    return Image.open(file).convert('RGB')


@pytest.mark.usefixtures('matplotlib')
def test_latency_is_drawn_and_beside_it_accuracy_where_it_was_measured(tmp_path: Path) -> None:
    latency = draw(figures_of(None), tmp_path / 'latency.png')
    both = draw(figures_of(80.0), tmp_path / 'both.png')
    assert both.height == latency.height and both.width > 1.5 * latency.width
    for picture in (latency, both):
        colors = picture.getcolors(picture.width * picture.height)
        assert colors is not None and {(8, 81, 156), (198, 219, 239)} <= {c for _, c in colors}


@pytest.mark.usefixtures('matplotlib')
def test_accuracy_is_drawn_only_where_all_schedules_have_it(tmp_path: Path) -> None:
    figures = figures_of(80.0)
    figures['schedules']['naive']['jf'] = None
    latency = draw(figures_of(None), tmp_path / 'latency.png')
    assert draw(figures, tmp_path / 'some.png').size == latency.size


def test_without_matplotlib_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)
    with pytest.raises(RuntimeError, match='pip install matplotlib'):
        plot_stream(figures_of(None), tmp_path / 'plot.png')
    assert not (tmp_path / 'plot.png').exists()
