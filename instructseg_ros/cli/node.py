"""`instructseg say` and `instructseg soak`: commands for a running node."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from instructseg_ros.cli.arguments import Subparsers, positive, prepare, write


def add(commands: Subparsers) -> None:
    """Add the commands of this module."""
    _add_say(commands)
    _add_soak(commands)


def _add_say(commands: Subparsers) -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser('say', help='send an instruction to a running node')
    instruction = parser.add_mutually_exclusive_group(required=True)
    instruction.add_argument(
        'text', nargs='?', help='the instruction, for example "the red mug"; "" is --stop'
    )
    instruction.add_argument(
        '--stop', action='store_true', help='stop what was said before, and nothing else'
    )
    parser.add_argument('--timeout', type=float, default=10.0, help='seconds to wait for an answer')
    parser.add_argument('--answers', type=positive, default=1, help='how many results to print')
    parser.add_argument(
        '--ros-args', nargs=argparse.REMAINDER, default=[], help='remappings and the like'
    )
    parser.set_defaults(run=run_say)


def run_say(options: argparse.Namespace) -> int:
    """Run the command; return the exit status."""
    from instructseg_ros.ros.say import say

    ros_args = ['--ros-args', *options.ros_args] if options.ros_args else []
    return say(
        options.text or '', timeout=options.timeout, answers=options.answers, ros_args=ros_args
    )


def _add_soak(commands: Subparsers) -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        'soak', help='try a node with hostile input, floods, dropouts and kills'
    )
    parser.add_argument('--minutes', type=float, default=30.0, help='for how long')
    parser.add_argument('--model', default='embedded', help='as the parameter of the node')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')
    parser.add_argument('--json', type=Path, help='file for the report')
    parser.add_argument(
        '--log', type=Path, help='file for the output of the node; by default a temporary one'
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from instructseg_ros.checks.soak import soak
    from instructseg_ros.ros.processes import choose_environment

    prepare(options.json, options.log)
    choose_environment()
    log = options.log or Path(tempfile.mkdtemp(prefix='instructseg_soak_')) / 'node.log'
    print(f'The output of the node goes to {log}', file=sys.stderr)
    report = soak(log, minutes=options.minutes, model=options.model, device=options.device)
    print(json.dumps(report, indent=2))
    write(report, options.json)
    return 0 if _is_passed(report) else 1


def _is_passed(report: dict[str, Any]) -> bool:
    faults = ('unanswered', 'unexplained', 'header_mismatches')
    return not any(report[name] for name in faults) and report['memory_growth'] < 0.01
