"""Draws docs/images/learning.png from docs/data/embedded_curve.csv.

python plot_learning.py [CURVE [PICTURE]]: needs matplotlib. A curve's columns are `run`, `step` and
figures between 0 and 1, one line for each time the model was measured.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[1] / 'docs'
KINDS = ('attribute', 'superlative', 'relation', 'plural', 'use', 'motion')
ABSENT = ('absent_right', 'missed')


def main(curve: str = '', picture: str = '') -> None:
    """Draw one curve."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    rows = read(Path(curve) if curve else DOCS / 'data' / 'embedded_curve.csv')
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout='constrained')
    draw(left, rows, KINDS, 'mean IoU by kind of instruction')
    draw(right, rows, ABSENT, 'targets that are not there, and that are missed')
    figure.savefig(Path(picture) if picture else DOCS / 'images' / 'learning.png', dpi=120)


def read(file: Path) -> list[dict[str, str]]:
    """The lines of a curve."""
    with file.open(newline='') as lines:
        return list(csv.DictReader(lines))


def draw(axes: Any, rows: Sequence[dict[str, str]], names: Sequence[str], title: str) -> None:
    """Each named column over the steps; a run's lines end where the next run begins."""
    runs = list(dict.fromkeys(row['run'] for row in rows))
    for number, name in enumerate(names):
        for run, style in zip(runs, ('-', '--', ':', '-.'), strict=False):
            mine = [row for row in rows if row['run'] == run]
            steps = [int(row['step']) for row in mine]
            values = [float(row[name]) for row in mine]
            label = f'{name.replace("_", " ")} ({run})' if len(runs) > 1 else name.replace('_', ' ')
            axes.plot(steps, values, style, color=f'C{number}', marker='.', label=label)
    axes.set(title=title, xlabel='step', ylim=(0, 1) if 'missed' in names else (0.5, 1))
    axes.grid(alpha=0.3)
    axes.legend(fontsize='x-small', ncols=len(runs))


if __name__ == '__main__':
    main(*sys.argv[1:3])
