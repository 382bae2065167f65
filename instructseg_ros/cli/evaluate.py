"""`instructseg evaluate` and `instructseg score`: evaluate a model, or score prediction files."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from instructseg_ros.cli.arguments import (
    DTYPES,
    Subparsers,
    add_model,
    load_segmenter,
    positive,
    prepare,
    write,
)
from instructseg_ros.research.data.dataset import names

_NESTED = ('expressions', 'objects', 'instructions')  # long tables, not shown in full
_MAX_SHOWN = 10  # instructions on the console; the JSON file has all


def add(commands: Subparsers) -> None:
    """Add the commands and their arguments."""
    parser = commands.add_parser(
        'evaluate',
        help='evaluate a model on a benchmark or on your own data',
        description='Evaluates a model on a benchmark, and writes the submission file. Your own '
        'data (folder, coco, bag: see docs/your_data.md) are processed as in the node. '
        'Predictions in the output folder are not repeated. `accelerate launch` uses several GPUs. '
        'The tabletop is simulated during the evaluation: it takes neither --data nor --output. '
        'Photographs need --data only: a folder with pictures and labels.json. "taught" asks a '
        'taught model for its objects in simulated scenes, "examples" on pictures in --data.',
    )
    parser.add_argument('benchmark', choices=[*_RUNNERS, *names('evaluate')])
    add_model(parser)
    parser.add_argument('--data', type=Path, help='folder of the data set, see instructseg data')
    parser.add_argument(
        '--split',
        help='default: the split of published results; for your own data val, or train if missing',
    )
    parser.add_argument(
        '--output',
        type=Path,
        help='folder for predictions and submission file (default: runs/BENCHMARK)',
    )
    parser.add_argument(
        '--scenes',
        type=positive,
        help='number of tabletop scenes for each wording (default: 300), for each shift (100), for '
        'each free sentence (2), or for taught objects (100)',
    )
    harder = parser.add_mutually_exclusive_group()
    harder.add_argument(
        '--shifts',
        action='store_true',
        help='tabletop with changed pictures: light, lens, background, viewpoint, hidden parts',
    )
    harder.add_argument(
        '--free-wording',
        action='store_true',
        help='tabletop with hand-written instructions: negation, typing errors, long sentences',
    )
    parser.add_argument(
        '--before', metavar='MODEL', help='taught: the earlier model, to measure what was forgotten'
    )
    parser.add_argument(
        '--all-wordings', action='store_true', help='taught: ask in wordings of the training, too'
    )
    parser.add_argument(
        '--only', nargs='+', default=[], metavar='ID', help='examples: ids or names of pictures'
    )
    parser.add_argument('--json', type=Path, help='file for the figures')
    parser.set_defaults(run=run)
    parser = commands.add_parser('score', help='score prediction files')
    parser.add_argument('benchmark', choices=names('score'))
    parser.add_argument('--truth', type=Path, required=True, help='folder of the data set')
    parser.add_argument('--predictions', type=Path, required=True, help='folder of the files')
    parser.add_argument('--split', help='default: as for evaluate')
    parser.add_argument('--json', type=Path, help='file for the figures')
    parser.set_defaults(run=run_score)


def run(options: argparse.Namespace) -> int:
    """Evaluate a model; return the exit status."""
    prepare(options.json)
    return _RUNNERS.get(options.benchmark, _evaluate_data)(options)


def _evaluate_tabletop(options: argparse.Namespace) -> int:
    from instructseg_ros.research.evaluation.runner import Processes
    from instructseg_ros.tabletop import benchmark, free_wording

    evaluated, table, scenes = (
        (benchmark.evaluate_shifts, benchmark.shift_table, 100)
        if options.shifts
        else (free_wording.evaluate_free_wording, free_wording.table, 2)
        if options.free_wording
        else (benchmark.evaluate_tabletop, benchmark.table, 300)
    )
    with Processes.joined() as processes:
        figures = evaluated(
            load_segmenter(options), scenes=options.scenes or scenes, processes=processes
        )
    if processes.first:
        print(table(figures))
        write(figures, options.json)
    return 0


def _evaluate_photographs(options: argparse.Namespace) -> int:
    from instructseg_ros.research.evaluation import photographs
    from instructseg_ros.research.evaluation.runner import Processes

    pictures = photographs.read_photographs(_folder(options))
    with Processes.joined() as processes:
        figures = photographs.evaluate_photographs(
            load_segmenter(options), pictures, processes=processes
        )
    if processes.first:
        print(photographs.table(figures))
        write(figures, options.json)
    return 0


def _evaluate_taught(options: argparse.Namespace) -> int:
    from instructseg_ros.research.evaluation.runner import Processes
    from instructseg_ros.tabletop import taught_benchmark

    categories = taught_benchmark.taught_categories(Path(options.model))
    scenes = options.scenes or 100
    with Processes.joined() as processes:
        after = load_segmenter(options)
        before = options.before and load_segmenter(_with_model(options, options.before))
        figures = taught_benchmark.evaluate_taught(
            after, categories, scenes=scenes, processes=processes, all_wordings=options.all_wordings
        )
        if before:
            figures['forgetting'] = taught_benchmark.evaluate_forgetting(
                before, after, scenes=scenes, processes=processes
            )
    if processes.first:
        print(taught_benchmark.table(figures))
        write(figures, options.json)
    return 0


def _with_model(options: argparse.Namespace, model: str) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(options), 'model': model})


def _evaluate_examples(options: argparse.Namespace) -> int:
    from instructseg_ros.research.evaluation.runner import Processes
    from instructseg_ros.teaching import example_benchmark

    taught = example_benchmark.taught_names(Path(options.model))
    examples = example_benchmark.read_selected(_folder(options), taught, options.only)
    with Processes.joined() as processes:
        figures = example_benchmark.evaluate_examples(
            load_segmenter(options), examples, taught, processes=processes
        )
    if processes.first:
        print(example_benchmark.table(figures))
        write(figures, options.json)
    return 0


def _folder(options: argparse.Namespace) -> Path:
    if options.data is None:
        raise ValueError(f'name the folder of {options.benchmark}: --data DIR')
    return Path(options.data)


def _evaluate_data(options: argparse.Namespace) -> int:
    from instructseg_ros.research.evaluation.runner import Processes, evaluate

    data = _folder(options)
    name = options.benchmark
    output = options.output or Path('runs') / name
    with Processes.joined() as processes:
        outcome = evaluate(
            name,
            data,
            partial(load_segmenter, options),
            output,
            model=options.model,
            split=options.split,
            dtype=_numbers(options),
            processes=processes,
        )
    if outcome is not None:
        print(f'{name} {outcome.split}')
        print('\n'.join(lines(outcome.figures)))
        preferred = outcome.benchmark.preferred
        if options.split is None and preferred and outcome.split != preferred[0]:
            print('There is no val split: a model may have been trained on this split.')
        own = f'this model ({options.model})'
        _print_table(outcome.benchmark.comparison(outcome.split, own, outcome.figures))
        print(f'predictions: {outcome.submission}')
        write(outcome.figures, options.json)
    return 0


_RUNNERS: Final[Mapping[str, Callable[[argparse.Namespace], int]]] = {
    'tabletop': _evaluate_tabletop,
    'photographs': _evaluate_photographs,
    'taught': _evaluate_taught,
    'examples': _evaluate_examples,
}


def _numbers(options: argparse.Namespace) -> str:
    """Name what determines the last digits of predictions: they are not mixed in one folder."""
    name = DTYPES[options.dtype]
    return name if options.runtime == 'torch' else f'{name}, {options.runtime}'


def _print_table(rows: Mapping[str, Mapping[str, float]]) -> None:
    """Print published results next to those of the model."""
    if not rows:
        return
    figures = list(dict.fromkeys(figure for row in rows.values() for figure in row))
    width = max(32, *(len(method) + 2 for method in rows))
    print(f'{"percent":{width}}' + ''.join(f'{figure:>26}' for figure in figures))
    for method, row in rows.items():
        cells = (f'{row[figure]:.1f}' if figure in row else '-' for figure in figures)
        print(f'{method:{width}}' + ''.join(f'{cell:>26}' for cell in cells))


def run_score(options: argparse.Namespace) -> int:
    """Score prediction files; return the exit status."""
    from instructseg_ros.research.evaluation.runner import score

    prepare(options.json)
    figures = score(options.benchmark, options.truth, options.predictions, options.split)
    print('\n'.join(lines(figures)))
    write(figures, options.json)
    return 0


def lines(figures: Mapping[str, Any], indent: str = '') -> Iterator[str]:
    """Yield the figures as lines of text; of a list, only its length and first item."""
    numbers = {
        name: value
        for name, value in figures.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    if numbers:
        yield indent + '  '.join(f'{name} {_short(value)}' for name, value in numbers.items())
    for name, value in figures.items():
        if isinstance(value, Mapping) and name not in _NESTED:
            yield f'{indent}{name}'
            yield from lines(value, indent + '  ')
        elif isinstance(value, list) and value:
            yield f'{indent}{name}: {len(value)}, the first: {value[0]}'
    if 'instructions' in figures:
        yield from _worst(figures['instructions'])


def _worst(instructions: Mapping[str, Any]) -> Iterator[str]:
    """Yield a table of the instructions with the lowest IoU."""
    found = sorted(instructions.items(), key=lambda item: float(item[1]['IoU']))
    shown = found[:_MAX_SHOWN]
    yield f'{"IoU":>6}{"n":>6}  instruction ({len(shown)} of {len(found)}, the lowest IoU first)'
    for sentence, values in shown:
        yield f'{values["IoU"]:6.3f}{values["n"]:6}  {sentence}'


def _short(value: float) -> str:
    return str(value) if isinstance(value, int) else f'{value:.4g}'
