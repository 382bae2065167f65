"""`instructseg send`, `use` and `soak`: commands for a segmentation node."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from instructseg_ros.cli.arguments import (
    Subparsers,
    add_ros_args,
    positive,
    prepare,
    ros_args,
    write,
)


def add(commands: Subparsers) -> None:
    """Add the commands of this module."""
    _add_send(commands)
    _add_use(commands)
    _add_soak(commands)


def _add_send(commands: Subparsers) -> None:
    parser = commands.add_parser('send', help='send an instruction to a running node')
    instruction = parser.add_mutually_exclusive_group(required=True)
    instruction.add_argument(
        'text', nargs='?', help='the instruction, for example "the red mug"; "" means --stop'
    )
    instruction.add_argument(
        '--stop', action='store_true', help='stop the previously sent instruction'
    )
    parser.add_argument('--timeout', type=float, default=10.0, help='seconds to wait for a result')
    parser.add_argument('--results', type=positive, default=1, help='number of results to print')
    add_ros_args(parser)
    parser.set_defaults(run=_send)


def _send(options: argparse.Namespace) -> int:
    from instructseg_ros.ros.send_command import send

    return send(
        options.text or '',
        timeout=options.timeout,
        results=options.results,
        ros_args=ros_args(options),
    )


def _add_use(commands: Subparsers) -> None:
    parser = commands.add_parser('use', help='let a running node load another model')
    parser.add_argument('model', metavar='FOLDER', help='a model folder, "embedded" or a hub id')
    parser.add_argument(
        '--timeout', type=float, default=300.0, help='seconds to wait for the model to load'
    )
    add_ros_args(parser)
    parser.set_defaults(run=_use)


def _use(options: argparse.Namespace) -> int:
    from instructseg_ros.ros.use_command import use

    return use(options.model, timeout=options.timeout, ros_args=ros_args(options))


def _add_soak(commands: Subparsers) -> None:
    parser = commands.add_parser(
        'soak', help='test a node for minutes with floods, dropouts, restarts and kills'
    )
    parser.add_argument('--minutes', type=float, default=30.0, help='duration')
    parser.add_argument('--model', default='embedded', help='embedded, a folder or a hub id')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')
    parser.add_argument('--json', type=Path, help='file for the report')
    parser.add_argument(
        '--log', type=Path, help='file for the output of the node; default: a temporary file'
    )
    parser.set_defaults(run=_soak)


def _soak(options: argparse.Namespace) -> int:
    from instructseg_ros.checks.soak import is_passed, soak
    from instructseg_ros.ros.transport import choose_environment

    prepare(options.json, options.log)
    choose_environment()
    log = options.log or Path(tempfile.mkdtemp(prefix='instructseg_soak_')) / 'node.log'
    print(f'the node writes its output to {log}', file=sys.stderr)
    report = soak(log, minutes=options.minutes, model=options.model, device=options.device)
    print(json.dumps(report, indent=2))
    write(report, options.json)
    return 0 if is_passed(report) else 1
