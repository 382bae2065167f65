"""`instructseg score`: figures of prediction files, whoever made them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from instructseg_ros.commands.arguments import OWN_DATA, Subparsers, prepare, write

_DEEPER = ('expressions', 'objects', 'instructions')

_WORST = 10  # instructions on the console; the JSON file has all


def add(commands: Subparsers) -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser('score', help='figures of prediction files')
    parser.add_argument(
        'benchmark',
        choices=['refcoco', 'refcoco+', 'refcocog', 'reasonseg', 'revos', 'ref-davis17',
                 *OWN_DATA],
    )
    parser.add_argument('--truth', type=Path, required=True, help='folder of the data set')
    parser.add_argument('--predictions', type=Path, required=True, help='folder of the files')
    parser.add_argument('--split', help='default: that of the benchmark')
    parser.add_argument('--json', type=Path, help='file for the figures')
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return the exit status."""
    from instructseg_ros.evaluation.scoring import score

    prepare(options.json)
    figures = score(options.benchmark, options.truth, options.predictions, split=options.split)
    print('\n'.join(lines(figures)))
    write(figures, options.json)
    return 0


def lines(figures: Mapping[str, Any], indent: str = '') -> Iterator[str]:
    """Figures for a person to read; long lists by their length."""
    numbers = {name: value for name, value in figures.items()
               if isinstance(value, int | float) and not isinstance(value, bool)}  # fmt: skip
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
