"""Where the package's configuration and launch files lie."""

from __future__ import annotations

import sys
from pathlib import Path

PACKAGE = 'instructseg_ros'


def share_folder() -> Path:
    """Return the folder that holds `config/` and `launch/`: a checkout's or the installed one.

    Raises:
        FileNotFoundError: The package is installed without them.
    """
    checkout = Path(__file__).resolve().parents[2]
    for folder in (checkout, *_ament_folders(), Path(sys.prefix) / 'share' / PACKAGE):
        if (folder / 'config' / 'fastdds.xml').is_file():
            return folder
    raise FileNotFoundError(
        f'config/fastdds.xml of {PACKAGE} was not found beside the package, in the ament index '
        f'or under {sys.prefix}/share; install the package again')


def _ament_folders() -> list[Path]:
    from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
    try:
        return [Path(get_package_share_directory(PACKAGE))]
    except (PackageNotFoundError, OSError):
        return []
