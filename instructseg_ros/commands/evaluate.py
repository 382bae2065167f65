"""`instructseg evaluate`: measure a model on a benchmark."""

from __future__ import annotations

import argparse
from pathlib import Path

from instructseg_ros.commands.arguments import (
    Subparsers,
    add_model,
    load_segmenter,
    prepare,
    write,
)


def add(commands: Subparsers) -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser('evaluate', help='measure a model on a benchmark')
    parser.add_argument('benchmark', choices=['tabletop'])
    add_model(parser)
    parser.add_argument('--scenes', type=int, default=300, help='scenes for each wording')
    parser.add_argument('--json', type=Path, help='file for the figures')
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return the exit status."""
    from instructseg_ros.evaluation.tabletop import evaluate_tabletop, table

    segmenter = load_segmenter(options)
    prepare(options.json)
    figures = evaluate_tabletop(segmenter, scenes=options.scenes)
    print(table(figures))
    write(figures, options.json)
    return 0
