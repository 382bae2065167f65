"""`instructseg train`: train a model."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from instructseg_ros.cli.arguments import Subparsers, add_threads, set_threads


def add(commands: Subparsers) -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        'train',
        help='train a model',
        description='Trains a model on data sets as a recipe describes, or the embedded model on '
        'its simulation. Resumes a training found in the output folder. `accelerate launch` or '
        '`torchrun` starts several processes.',
    )
    parser.add_argument(
        'source',
        nargs='?',
        choices=['tabletop'],
        help='train the embedded model from scratch, in stages on its simulation',
    )
    parser.add_argument(
        '--recipe',
        help='paper, fine_tune or a YAML file; for tabletop: embedded (default), sentences, '
        'language, polish, smoke',
    )
    parser.add_argument('--model', help='start from this model: a folder, a hub id or "embedded"')
    parser.add_argument(
        '--data', action='append', default=[], metavar='NAME=DIR', help='folder of a data set'
    )
    parser.add_argument(
        '--set', action='append', default=[], metavar='KEY=VALUE', help='override a recipe value'
    )
    parser.add_argument(
        '--output',
        type=Path,
        help='folder for checkpoints, logs and model (default: runs/RECIPE or runs/tabletop)',
    )
    parser.add_argument(
        '--workers', type=int, default=2, help='processes that open images or render scenes'
    )
    parser.add_argument(
        '--smoke', action='store_true', help='try every task on a tiny model and synthetic data'
    )
    parser.add_argument(
        '--stages', nargs='+', default=(), help='for tabletop: run only these stages'
    )
    add_threads(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return the exit status."""
    from instructseg_ros.model.process_memory import keep_freed_memory

    keep_freed_memory()
    if options.source == 'tabletop':
        return _train_tabletop(options)
    set_threads(options)
    if options.smoke:
        return _smoke(options)
    return _train(options)


def _train(options: argparse.Namespace) -> int:
    from instructseg_ros.model.model_files import find_model
    from instructseg_ros.research.training.recipe import load_recipe
    from instructseg_ros.research.training.train import train

    if not options.recipe or not options.model:
        raise ValueError(
            'name a recipe and a model to start from: --recipe paper|fine_tune|FILE.yaml --model M '
            '(or `instructseg train tabletop`)'
        )
    output = options.output or Path('runs') / Path(options.recipe).stem
    recipe = load_recipe(options.recipe, _pairs(options.set, '--set'))
    folders = {name: Path(place) for name, place in _pairs(options.data, '--data').items()}
    trainer = train(recipe, find_model(options.model), folders, output, workers=options.workers)
    if trainer.accelerator.is_main_process:
        best = trainer.record.best if trainer.record else None
        step = f'{best.step}, the best on val (gIoU {best.gIoU:.3f})' if best else trainer.step
        print(f'model: {output / "model"}, from step {step}')
        print(f'losses: tensorboard --logdir {output}')
    return 0


def _smoke(options: argparse.Namespace) -> int:
    from instructseg_ros.research.training.recipe import load_recipe
    from instructseg_ros.research.training.smoke import smoke
    from instructseg_ros.video.run_folder import make_folder

    output = options.output or Path('runs/smoke')
    make_folder(output)
    recipe = load_recipe(options.recipe or 'smoke', _pairs(options.set, '--set'))
    report = smoke(recipe, output)
    print(report)
    return 0 if report.passed else 1


def _train_tabletop(options: argparse.Namespace) -> int:
    from instructseg_ros.tabletop.training.stages import TabletopTraining
    from instructseg_ros.tabletop.training.training_config import load_tabletop_recipe

    set_threads(options, default=1)  # several processes with one thread each are faster
    training = TabletopTraining(
        options.output or Path('runs/tabletop'),
        load_tabletop_recipe(options.recipe or 'embedded', _pairs(options.set, '--set')),
        processes=options.workers,
        start=options.model,
        stages=options.stages,
    )
    training.run()
    return 0


def _pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    pairs = dict(text.partition('=')[::2] for text in texts)
    wrong = next((name for name, value in pairs.items() if not value), None)
    if wrong is not None:
        raise ValueError(f'{option} {wrong}: give NAME=VALUE')
    return pairs
