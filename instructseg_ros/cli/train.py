"""`instructseg train`: train a model."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable
from pathlib import Path

from instructseg_ros.cli.arguments import Subparsers
from instructseg_ros.video.run_folder import make_folder


def add(commands: Subparsers) -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        'train',
        help='train a model',
        description='Trains a model end to end on data sets, by a recipe. Started again with the '
        'same output, it goes on where it stopped. `accelerate launch` spreads it over GPUs.',
    )
    parser.add_argument(
        'source',
        nargs='?',
        choices=['tabletop'],
        help='train the embedded model from scratch, in stages on its simulation',
    )
    parser.add_argument(
        '--recipe',
        help='paper, fine_tune or a YAML file; of tabletop: full (default), polish or smoke',
    )
    parser.add_argument('--model', help='go on from this model: a folder, a hub id or "embedded"')
    parser.add_argument(
        '--data', action='append', default=[], metavar='NAME=DIR', help='where a data set is'
    )
    parser.add_argument(
        '--set', action='append', default=[], metavar='KEY=VALUE', help='override a recipe value'
    )
    parser.add_argument(
        '--output', '--folder', type=Path, help='its state, logs and model (default: runs/RECIPE)'
    )
    parser.add_argument('--workers', type=int, default=2, help='processes beside the training')
    parser.add_argument(
        '--smoke', action='store_true', help='try every task on a tiny model and synthetic data'
    )
    parser.add_argument('--stages', nargs='+', default=(), help='of tabletop: only these, in order')
    parser.add_argument(
        '--first-scene', type=int, help='of tabletop: seed of its first scene, from 1000000 on'
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return the exit status."""
    from instructseg_ros.model.memory import keep_freed_memory

    keep_freed_memory()
    if options.source == 'tabletop':
        return _train_tabletop(options)
    if options.smoke:
        return _smoke(options)
    return _train(options)


def _train(options: argparse.Namespace) -> int:
    from instructseg_ros.model.model_files import find_model
    from instructseg_ros.research.training.recipe import load_recipe
    from instructseg_ros.research.training.train import train

    if not options.recipe or not options.model:
        raise ValueError(
            'name what to do and what to begin with: --recipe paper|fine_tune|FILE.yaml --model M '
            '(or `instructseg train tabletop`)'
        )
    output = options.output or Path('runs') / Path(options.recipe).stem
    recipe = load_recipe(options.recipe, _pairs(options.set, '--set'))
    folders = {name: Path(place) for name, place in _pairs(options.data, '--data').items()}
    trainer = train(recipe, find_model(options.model), folders, output, workers=options.workers)
    if trainer.accelerator.is_main_process:
        record = trainer.record
        which = f'the best on val (gIoU {record.best.gIoU:.3f}), step' if record else 'step'
        step = record.best.step if record else trainer.step
        print(
            f'{output / "model"} is the model, {which} {step}; its losses: '
            f'tensorboard --logdir {output}'
        )
    return 0


def _smoke(options: argparse.Namespace) -> int:
    from instructseg_ros.research.training.recipe import load_recipe
    from instructseg_ros.research.training.smoke import smoke

    output = options.output or Path('runs/smoke')
    make_folder(output)
    recipe = load_recipe(options.recipe or 'smoke', _pairs(options.set, '--set'))
    report = smoke(recipe, output)
    print(report)
    return 0 if report.passed else 1


def _train_tabletop(options: argparse.Namespace) -> int:
    from instructseg_ros.tabletop.benchmark import TRAINING_SEED
    from instructseg_ros.tabletop.training.stages import TabletopTraining
    from instructseg_ros.tabletop.training.training_config import RECIPES

    recipe = options.recipe or 'full'
    if recipe not in RECIPES:
        raise ValueError(f'recipes of tabletop are {", ".join(RECIPES)}, not {recipe!r}')
    first = TRAINING_SEED if options.first_scene is None else options.first_scene
    if first < TRAINING_SEED:
        raise ValueError(f'scenes below {TRAINING_SEED} are there to evaluate: train on later ones')
    output = options.output or Path('runs/tabletop')
    training = TabletopTraining(
        output,
        dataclasses.replace(RECIPES[recipe], seed=first),
        processes=options.workers,
        start=options.model,
        stages=options.stages,
    )
    make_folder(output)
    training.run()
    return 0


def _pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    pairs = dict(text.partition('=')[::2] for text in texts)
    wrong = next((name for name, value in pairs.items() if not value), None)
    if wrong is not None:
        raise ValueError(f'{option} {wrong}: give NAME=VALUE')
    return pairs
