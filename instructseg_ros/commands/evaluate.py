"""`instructseg evaluate`: measure a model on a benchmark."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from instructseg_ros.commands.arguments import (
    DTYPES,
    Subparsers,
    add_model,
    load_segmenter,
    prepare,
    write,
)

_PUBLISHED = (
    'refcoco', 'refcoco+', 'refcocog', 'reasonseg', 'ref-youtube-vos', 'ref-davis17', 'revos',
    'vqav2', 'gqa', 'mmbench', 'pope', 'scienceqa',
)  # fmt: skip


def add(commands: Subparsers) -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        'evaluate',
        help='measure a model on a benchmark',
        description='Measures a model on a benchmark, and writes the files to be handed in. What '
        'the output holds already is not done again. `accelerate launch` spreads it over GPUs. The '
        'tabletop is simulated as it goes: it takes no data and no output, and begins anew.',
    )
    parser.add_argument('benchmark', choices=['tabletop', *_PUBLISHED])
    add_model(parser)
    parser.add_argument('--data', type=Path, help='folder of the data set, see instructseg data')
    parser.add_argument('--split', help='default: the one that is published on')
    parser.add_argument(
        '--output', type=Path, help='predictions and submission (default: runs/BENCHMARK)'
    )
    parser.add_argument('--scenes', type=int, default=300, help='of tabletop, for each wording')
    parser.add_argument('--json', type=Path, help='file for the figures')
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return the exit status."""
    prepare(options.json)
    if options.benchmark == 'tabletop':
        return _evaluate_tabletop(options)
    return _evaluate_published(options)


def _evaluate_tabletop(options: argparse.Namespace) -> int:
    from instructseg_ros.evaluation.processes import Processes
    from instructseg_ros.evaluation.tabletop import evaluate_tabletop, table

    with Processes.joined() as processes:
        figures = evaluate_tabletop(
            load_segmenter(options), scenes=options.scenes, processes=processes
        )
    if processes.first:
        print(table(figures))
        write(figures, options.json)
    return 0


def _evaluate_published(options: argparse.Namespace) -> int:
    from instructseg_ros.evaluation.benchmarks import evaluate
    from instructseg_ros.evaluation.processes import Processes

    if options.data is None:
        raise ValueError(f'say where {options.benchmark} is: --data DIR')
    name = options.benchmark
    output = options.output or Path('runs') / name
    with Processes.joined() as processes:
        outcome = evaluate(
            name,
            options.data,
            load_segmenter(options),
            output,
            split=options.split,
            dtype=DTYPES[options.dtype],
            processes=processes,
        )
    if outcome is not None:
        _report(name, options, outcome.figures)
        print(f'{outcome.submission or output} is what the model answered')
        write(outcome.figures, options.json)
    return 0


def _report(name: str, options: argparse.Namespace, figures: Mapping[str, Any]) -> None:
    from instructseg_ros.commands.score import lines
    from instructseg_ros.data.registry import data_set
    from instructseg_ros.evaluation.published import own_row, published

    print('\n'.join(lines(figures)))
    rows = published(name, options.split or data_set(name).splits[0])
    names = list(dict.fromkeys(figure for row in rows.values() for figure in row))
    rows[f'this model ({options.model})'] = own_row(figures, names)
    print(f'{"percent":32}' + ''.join(f'{figure:>26}' for figure in names))
    for method, row in rows.items():
        cells = (f'{row[figure]:.1f}' if figure in row else '-' for figure in names)
        print(f'{method:32}' + ''.join(f'{cell:>26}' for cell in cells))
