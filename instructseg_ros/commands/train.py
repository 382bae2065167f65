"""`instructseg train`: train a model."""

from __future__ import annotations

import argparse
from pathlib import Path

from instructseg_ros.commands.arguments import Subparsers


def add(commands: Subparsers) -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser('train', help='train a model')
    parser.add_argument('source', choices=['tabletop'])
    parser.add_argument('--folder', type=Path, default=Path('runs/tabletop'), help='its state')
    parser.add_argument('--recipe', choices=['full', 'polish', 'smoke'], default='full')
    parser.add_argument(
        '--stages', nargs='+', default=(), help='only these, in order (default: all)'
    )
    parser.add_argument('--model', help='go on from this model, not from nothing')
    parser.add_argument('--processes', type=int, default=2, help='renderers side by side')
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return the exit status."""
    from instructseg_ros.memory import keep_freed_memory
    from instructseg_ros.training.tabletop.recipe import RECIPES
    from instructseg_ros.training.tabletop.train import TabletopTraining

    keep_freed_memory()
    TabletopTraining(
        options.folder,
        RECIPES[options.recipe],
        processes=options.processes,
        start=options.model,
        stages=options.stages,
    ).run()
    return 0
