"""Where the package's configuration and launch files lie."""

from __future__ import annotations

import site
import sys
import sysconfig
from pathlib import Path

PACKAGE = 'instructseg_ros'


def share_folder() -> Path:
    """Return the folder that holds `config/` and `launch/`: a checkout's or the installed one.

    Raises:
        FileNotFoundError: The package is installed without them.
    """
    checkout = Path(__file__).resolve().parents[2]
    # Debian installs for all users outside of sys.prefix.
    prefixes = (sys.prefix, sysconfig.get_path('data'), site.getuserbase())
    installed = (Path(prefix) / 'share' / PACKAGE for prefix in prefixes)
    for folder in (checkout, *_ament_folders(), *installed):
        if (folder / 'config' / 'fastdds.xml').is_file():
            return folder
    raise FileNotFoundError(
        f'config/fastdds.xml of {PACKAGE} was not found next to the package, in the ament index '
        f'or in share/ of {", ".join(dict.fromkeys(prefixes))}; install the package again')


def _ament_folders() -> list[Path]:
    from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
    try:
        return [Path(get_package_share_directory(PACKAGE))]
    except (PackageNotFoundError, OSError):
        return []
