"""`instructseg evaluate` and `instructseg score`: measure a model, or prediction files."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instructseg_ros.cli.arguments import (
    DTYPES,
    OWN_DATA,
    Subparsers,
    add_model,
    load_segmenter,
    prepare,
    write,
)

if TYPE_CHECKING:
    from instructseg_ros.research.evaluation.benchmarks import Outcome


_PUBLISHED = (
    'refcoco',
    'refcoco+',
    'refcocog',
    'reasonseg',
    'ref-youtube-vos',
    'ref-davis17',
    'revos',
    'vqav2',
    'gqa',
    'mmbench',
    'pope',
    'scienceqa',
)


def add(commands: Subparsers) -> None:
    """Add the commands of this module."""
    _add_evaluate(commands)
    _add_score(commands)


def _add_evaluate(commands: Subparsers) -> None:
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
        '--split',
        help='default: the one that is published on; of your own data val, or without one train',
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
    from instructseg_ros.research.evaluation.processes import Processes
    from instructseg_ros.tabletop.benchmark import evaluate_tabletop, table

    with Processes.joined() as processes:
        figures = evaluate_tabletop(
            load_segmenter(options), scenes=options.scenes, processes=processes
        )
    if processes.first:
        print(table(figures))
        write(figures, options.json)
    return 0


def _evaluate_published(options: argparse.Namespace) -> int:
    from instructseg_ros.research.evaluation.benchmarks import evaluate
    from instructseg_ros.research.evaluation.processes import Processes

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
        print(
            'There is no val split: these figures are of train, which a model may have learned '
            'from.'
        )


def _compare(name: str, outcome: Outcome, model: str) -> None:
    """Print the published figures, and those of the model where they are comparable."""
    from instructseg_ros.research.evaluation.published import own_row, published

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
        print(
            'The last row is of synthetic samples, the others are of the real benchmark: do not '
            'compare them.'
        )


_DEEPER = ('expressions', 'objects', 'instructions')

_WORST = 10  # instructions on the console; the JSON file has all


def _add_score(commands: Subparsers) -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser('score', help='figures of prediction files')
    parser.add_argument(
        'benchmark',
        choices=['refcoco', 'refcoco+', 'refcocog', 'reasonseg', 'revos', 'ref-davis17', *OWN_DATA],
    )
    parser.add_argument('--truth', type=Path, required=True, help='folder of the data set')
    parser.add_argument('--predictions', type=Path, required=True, help='folder of the files')
    parser.add_argument('--split', help='default: that of the benchmark')
    parser.add_argument('--json', type=Path, help='file for the figures')
    parser.set_defaults(run=run_score)


def run_score(options: argparse.Namespace) -> int:
    """Run the command; return the exit status."""
    from instructseg_ros.research.evaluation.scoring import score

    prepare(options.json)
    figures = score(options.benchmark, options.truth, options.predictions, split=options.split)
    print('\n'.join(lines(figures)))
    write(figures, options.json)
    return 0


def lines(figures: Mapping[str, Any], indent: str = '') -> Iterator[str]:
    """Figures for a person to read; long lists by their length."""
    numbers = {
        name: value
        for name, value in figures.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    if numbers:
        yield indent + '  '.join(f'{name} {_short(value)}' for name, value in numbers.items())
    for name, value in figures.items():
        if isinstance(value, Mapping) and name not in _DEEPER:
            yield f'{indent}{name}'
            yield from lines(value, indent + '  ')
        elif isinstance(value, list) and value:
            yield f'{indent}{name}: {len(value)}, the first: {value[0]}'
    if 'instructions' in figures:
        yield from _worst(figures['instructions'])


def _worst(instructions: Mapping[str, Any]) -> Iterator[str]:
    """The sentences with the lowest IoU."""
    found = sorted(instructions.items(), key=lambda item: float(item[1]['IoU']))
    shown = found[:_WORST]
    yield f'{"IoU":>6}{"n":>6}  instruction ({len(shown)} of {len(found)}, the lowest IoU first)'
    for sentence, values in shown:
        yield f'{values["IoU"]:6.3f}{values["n"]:6}  {sentence}'


def _short(value: float) -> str:
    return str(value) if isinstance(value, int) else f'{value:.4g}'
