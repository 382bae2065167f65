"""Command-line tools of instructseg_ros."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Final

import instructseg_ros.tabletop  # noqa: F401 - registers its data set
from instructseg_ros import interruption
from instructseg_ros.cli import benchmark, convert, data, evaluate, node, segment, teach, train

COMMANDS: Final = (node, segment, teach, evaluate, train, data, convert, benchmark)

TRAINING: Final = 'pip install "instructseg_ros[training]"'
# Optional libraries that are not part of the extra `training`.
REMEDIES: Final = {
    'rclpy': 'source a ROS 2 distribution, such as with ". /opt/ros/$ROS_DISTRO/setup.sh"',
    'rosbags': 'pip install rosbags',
    'pycocotools': 'pip install pycocotools',
    'mujoco': 'pip install mujoco',
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    interruption.raise_again()
    try:
        options = _parser().parse_args(arguments)
        return int(options.run(options))
    except ModuleNotFoundError as error:
        name = (error.name or str(error)).split('.')[0]
        print(
            f'instructseg: {name} is not installed: {REMEDIES.get(name, TRAINING)}', file=sys.stderr
        )
        return 1
    except (ValueError, OSError, RuntimeError) as error:
        # These messages name the remedy; a traceback would hide it.
        print(f'instructseg: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='instructseg', description=__doc__)
    commands = parser.add_subparsers(required=True, metavar='COMMAND')
    for command in COMMANDS:
        command.add(commands)
    return parser


if __name__ == '__main__':
    sys.exit(main())
