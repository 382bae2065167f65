"""`instructseg evaluate`: measure a model on a benchmark or on own data."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from instructseg_ros.commands.arguments import (
    DTYPES,
    OWN_DATA,
    Subparsers,
    add_model,
    load_segmenter,
    prepare,
    write,
)

if TYPE_CHECKING:
    from instructseg_ros.evaluation.benchmarks import Outcome

_PUBLISHED = (
    'refcoco', 'refcoco+', 'refcocog', 'reasonseg', 'ref-youtube-vos', 'ref-davis17', 'revos',
    'vqav2', 'gqa', 'mmbench', 'pope', 'scienceqa',
)  # fmt: skip


def add(commands: Subparsers) -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        'evaluate',
        help='measure a model on a benchmark or on your own data',
        description='Measures a model on a benchmark, and writes the submission files; or on '
        'your own data (folder, coco, bag: see docs/your_data.md), as the node would answer. What '
        'the output holds already is not done again. `accelerate launch` spreads it over GPUs. The '
        'tabletop is simulated as it goes: it takes no data and no output, and begins anew.',
    )
    parser.add_argument('benchmark', choices=['tabletop', *_PUBLISHED, *OWN_DATA])
    add_model(parser)
    parser.add_argument('--data', type=Path, help='folder of the data set, see instructseg data')
    parser.add_argument(
        '--split', help='default: the one that is published on; of your own data val, or '
        'without one train',
    )
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
    from instructseg_ros.commands.score import lines
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
            partial(load_segmenter, options),
            output,
            model=options.model,
            split=options.split,
            dtype=DTYPES[options.dtype],
            processes=processes,
        )
    if outcome is not None:
        print(f'{name} {outcome.split}')
        print('\n'.join(lines(outcome.figures)))
        if name in OWN_DATA:
            _explain_split(options.split, outcome.split)
        else:
            _compare(name, outcome, options.model)
        print(f'{outcome.submission or output} is what the model answered')
        write(outcome.figures, options.json)
    return 0


def _explain_split(asked: str | None, split: str) -> None:
    if asked is None and split == 'train':
        print('There is no val split: these figures are of train, which a model may have learned '
              'from.')  # fmt: skip


def _compare(name: str, outcome: Outcome, model: str) -> None:
    """Print the published figures, and those of the model where they are comparable."""
    from instructseg_ros.evaluation.published import own_row, published

    rows = published(name, outcome.split)
    names = list(dict.fromkeys(figure for row in rows.values() for figure in row))
    if not names:
        return
    synthetic = outcome.figures['synthetic']
    own = f'this model ({model})' + (' on SYNTHETIC SAMPLES' if synthetic else '')
    rows[own] = own_row(outcome.figures, names)
    width = max(32, *(len(method) + 2 for method in rows))
    print(f'{"percent":{width}}' + ''.join(f'{figure:>26}' for figure in names))
    for method, row in rows.items():
        cells = (f'{row[figure]:.1f}' if figure in row else '-' for figure in names)
        print(f'{method:{width}}' + ''.join(f'{cell:>26}' for cell in cells))
    if synthetic:
        print('The last row is of synthetic samples, the others are of the real benchmark: do not '
              'compare them.')  # fmt: skip
