"""Plots a learning curve: docs/images/learning.png from docs/data/embedded_curve.csv.

Usage: python scripts/plot_learning.py [CURVE [IMAGE]]; needs matplotlib. The columns of a curve are
`step` and figures between 0 and 1; each row is one measurement.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from instructseg_ros.tabletop.instructions import INSTRUCTION_CATEGORIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DOCS: Final = Path(__file__).resolve().parents[1] / 'docs'


def main(curve: str = '', image: str = '') -> None:
    """Plot one curve."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    columns = read(Path(curve) if curve else DOCS / 'data' / 'embedded_curve.csv')
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout='constrained')
    draw(left, columns, tuple(INSTRUCTION_CATEGORIES), 'mean IoU by category of instruction')
    draw(right, columns, ('absent_right',), 'absent targets answered right')
    figure.savefig(Path(image) if image else DOCS / 'images' / 'learning.png', dpi=120)


def read(file: Path) -> dict[str, list[float]]:
    """Read the columns of a curve, by name."""
    with file.open(newline='') as lines:
        rows = list(csv.DictReader(lines))
    return {name: [float(row[name]) for row in rows] for name in rows[0]}


def draw(axes: Axes, columns: dict[str, list[float]], names: tuple[str, ...], title: str) -> None:
    """Plot some columns over the steps."""
    for name in names:
        axes.plot(columns['step'], columns[name], marker='.', label=name.replace('_', ' '))
    axes.set(title=title, xlabel='step')
    axes.grid(alpha=0.3)
    axes.legend(fontsize='x-small')


if __name__ == '__main__':
    main(*sys.argv[1:3])
