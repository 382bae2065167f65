"""`instructseg data`: check data sets, and write tiny examples of their layout."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from instructseg_ros.cli.arguments import Subparsers, prepare, write
from instructseg_ros.research.data.dataset import data_set, names

_MAX_SHOWN = 5  # problems on the console; the JSON file has all


def add(commands: Subparsers) -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser('data', help='check a data set, or write a tiny example')
    actions = parser.add_subparsers(required=True, metavar='ACTION')
    check = actions.add_parser('check', help='report what is missing or broken in a data set')
    check.add_argument('name', choices=names())
    check.add_argument('folder', type=Path)
    check.add_argument('--split', help='default: all splits')
    check.add_argument('--json', type=Path, help='file for the findings')
    check.set_defaults(run=run_check)
    sample = actions.add_parser(
        'make-sample', help='write a tiny synthetic data set in the layout of your own data'
    )
    sample.add_argument('name', choices=names('make-sample'))
    sample.add_argument('folder', type=Path)
    sample.add_argument('--seed', type=int, default=0)
    sample.set_defaults(run=run_make_sample)


def run_check(options: argparse.Namespace) -> int:
    """Check a data set; return 1 if it has problems."""
    from instructseg_ros.research.data.check import check

    prepare(options.json)
    data = data_set(options.name)
    splits = (data.known_split(options.split),) if options.split else data.splits
    findings = check(data, options.folder, splits)
    for each in findings:
        if each.missing:
            print(f'{data.name} {each.split}: missing ({each.missing})')
            continue
        print(
            f'{data.name} {each.split}: {each.samples} samples, {each.frames} frames, '
            f'{each.sentences} sentences, {each.turns} questions, {len(each.problems)} problems, '
            f'{len(each.warnings)} warnings'
        )
        for problem in each.problems[:_MAX_SHOWN]:
            print(f'  {problem}')
        for warning in each.warnings[:_MAX_SHOWN]:
            print(f'  warning: {warning}')
    write({each.split: dataclasses.asdict(each) for each in findings}, options.json)
    return 1 if any(each.problems for each in findings) else 0


def run_make_sample(options: argparse.Namespace) -> int:
    """Write a tiny data set."""
    make_sample = data_set(options.name).make_sample
    assert make_sample is not None
    make_sample(options.folder, options.seed)
    print(
        f'{options.folder} is a tiny data set; to check it: instructseg data check {options.name} '
        f'{options.folder}'
    )
    return 0
