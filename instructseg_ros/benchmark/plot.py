"""A picture of what schedules cost and give."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def import_figure() -> Any:
    """Matplotlib's Figure.

    Raises:
        RuntimeError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RuntimeError('drawing needs matplotlib: pip install matplotlib') from error
    return Figure


def plot_stream(figures: dict[str, Any], file: Path) -> None:
    """Draw latency, and accuracy where it was measured, against the schedule.

    Args:
        figures: of `benchmark_stream`.
        file: PNG to write.

    Raises:
        RuntimeError: matplotlib is not installed.
    """
    schedules = figures['schedules']
    measured = all(row['jf'] is not None for row in schedules.values())
    figure = import_figure()(figsize=(9 if measured else 5, 3.6), layout='constrained')
    axes = figure.subplots(1, 2 if measured else 1, squeeze=False)[0]
    _draw_latency(axes[0], schedules)
    if measured:
        _draw_accuracy(axes[1], schedules)
    figure.suptitle(f'{figures["size"]}, {figures["dtype"]}, {figures["threads"]} threads')
    figure.savefig(file, dpi=120, format='png')


def _draw_latency(axes: Any, schedules: dict[str, Any]) -> None:
    names = list(schedules)
    for quantile, shade in (('p99', '#c6dbef'), ('p95', '#6baed6'), ('p50', '#08519c')):
        axes.bar(names, [row[f'latency_{quantile}_ms'] for row in schedules.values()],
                 color=shade, label=quantile)  # fmt: skip
    axes.set_ylabel('latency of a frame, ms')
    axes.tick_params(axis='x', labelrotation=20)
    axes.legend()


def _draw_accuracy(axes: Any, schedules: dict[str, Any]) -> None:
    for name, row in schedules.items():
        axes.plot(row['fps'], row['jf'], 'o')
        axes.annotate(name, (row['fps'], row['jf']), xytext=(5, 5), textcoords='offset points')
    axes.set_xlabel('frames a second')
    axes.set_ylabel('J&F, %')
    axes.margins(x=0.4, y=0.25)
