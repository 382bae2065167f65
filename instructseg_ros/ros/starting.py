"""The start of ROS in a process of this package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import rclpy

from instructseg_ros.ros.transport import choose_transport


def init_ros(args: Sequence[str] | None = None, **options: Any) -> None:
    """Initialise rclpy, with the package's transport unless the user has chosen one.

    Args:
        args: Arguments of the command line; None: those of this process.
        options: Further arguments of `rclpy.init`.

    Raises:
        RuntimeError: The arguments are wrong, or there is no folder for logs.
        FileNotFoundError: The package is installed without its transport profile.
    """
    choose_transport()
    try:
        rclpy.init(args=None if args is None else list(args), **options)
    except RuntimeError as error:
        if 'failed to initialize logging' not in str(error):
            raise
        raise RuntimeError(f'{error}; set ROS_LOG_DIR to a folder that can be written to, or HOME '
                           'to a home folder') from error
