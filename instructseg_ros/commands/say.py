"""`instructseg say`: send an instruction to a running node."""

from __future__ import annotations

import argparse

from instructseg_ros.commands.arguments import Subparsers, positive


def add(commands: Subparsers) -> None:
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
    parser.add_argument(
        '--answers', type=positive, default=1, help='how many results to print'
    )
    parser.add_argument(
        '--ros-args', nargs=argparse.REMAINDER, default=[], help='remappings and the like'
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return the exit status."""
    from instructseg_ros.ros.say import say

    ros_args = ['--ros-args', *options.ros_args] if options.ros_args else []
    return say(
        options.text or '', timeout=options.timeout, answers=options.answers, ros_args=ros_args
    )
