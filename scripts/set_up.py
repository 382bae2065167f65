"""Creates the virtual environment for the Makefile's commands.

Usage: python3 set_up.py FOLDER. Needs only the standard library. It may be run again, and resumes
after an interruption.
"""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCED = bool(os.environ.get('AMENT_PREFIX_PATH'))
# ROS distribution of the wheels if none is sourced: kilted or jazzy.
WHEELS = os.environ.get('ROS_WHEELS') or 'kilted'
OSMESA = 'libosmesa6'


def main() -> None:
    """Create the environment, or exit with a message that names the remedy."""
    check_platform()
    install_system_packages()
    environment = make_environment(Path(sys.argv[1]).resolve())
    install_python_packages(environment)


def check_platform() -> None:
    """Exit if the ROS wheels are needed but not available for this platform."""
    if SOURCED:
        return
    if platform.system() != 'Linux' or platform.machine() != 'x86_64':
        sys.exit(
            'Source a ROS 2 distribution first (. /opt/ros/<name>/setup.bash): its Python wheels '
            'exist for Linux on x86_64 only'
        )
    if not (3, 10) <= sys.version_info[:2] <= (3, 13):
        sys.exit(
            f'Python 3.10 to 3.13 is needed, this is {platform.python_version()}: '
            'make setup PYTHON=python3.12'
        )


def missing_system_packages() -> list[str]:
    """Return the Debian packages that the build and the simulation need and the system lacks."""
    python = f'python{sys.version_info[0]}.{sys.version_info[1]}'
    present = {
        'g++': any(shutil.which(name) for name in ('c++', 'g++', 'clang++')),
        f'{python}-dev': Path(sysconfig.get_path('include'), 'Python.h').is_file(),
        f'{python}-venv': importlib.util.find_spec('ensurepip') is not None,
        OSMESA: ctypes.util.find_library('OSMesa') is not None,
    }
    return [package for package, is_present in present.items() if not is_present]


def install_system_packages() -> None:
    """Install missing packages with apt; without root, print the command and exit."""
    missing = missing_system_packages()
    if missing and may_use_apt():
        apt_get('update')
        # One at a time: newer releases lack OSMesa, and apt rejects all names if one is unknown.
        for package in missing:
            apt_get('install', '-y', '--no-install-recommends', package)
        missing = missing_system_packages()
    command = 'sudo apt-get update && sudo apt-get install -y '
    if needed := [package for package in missing if package != OSMESA]:
        sys.exit(
            'System packages are missing. Run this, then make again:\n'
            f'  {command}{" ".join(needed)}'
        )
    if missing:
        print(
            f'No OSMesa: the demo plays a recording. For the simulation, run\n  {command}{OSMESA}'
        )


def apt_get(*arguments: str) -> None:
    """Run apt-get as root without questions; the caller checks again for missing packages."""
    sudo = [] if os.geteuid() == 0 else ['sudo', '-n']
    subprocess.run(
        [*sudo, 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', *arguments], check=False
    )


def may_use_apt() -> bool:
    """Return whether apt exists and can be used without a password."""
    if shutil.which('apt-get') is None:
        return False
    if os.geteuid() == 0:
        return True
    sudo = shutil.which('sudo')
    return (
        sudo is not None
        and subprocess.run([sudo, '-n', 'true'], stderr=subprocess.DEVNULL, check=False).returncode
        == 0
    )


def make_environment(folder: Path) -> Path:
    """Create the virtual environment unless it exists, and return its interpreter.

    It uses the system's packages if a ROS distribution is sourced or torch is installed there.
    """
    shared = SOURCED or importlib.util.find_spec('torch') is not None
    python = folder / 'bin' / 'python'
    settings = folder / 'pyvenv.cfg'
    wanted = f'include-system-site-packages = {str(shared).lower()}'
    if not (
        settings.is_file() and wanted in settings.read_text() and succeeds(python, 'import pip')
    ):
        venv.create(folder, clear=True, with_pip=True, symlinks=True, system_site_packages=shared)
    return python


def install_python_packages(python: Path) -> None:
    """Install torch, the build requirements and the package itself in editable mode."""
    pip(python, '--upgrade', 'pip', '-r', 'requirements/build.txt')
    if not has_gpu() and not succeeds(python, 'import torch'):
        pip(python, '--retries', '2', '-r', 'requirements/torch-cpu.txt')
    if not SOURCED:
        pip(python, '-r', f'requirements/{WHEELS}-build.txt')
    pip(python, '--no-build-isolation', '-e', '.[dev]')


def has_gpu() -> bool:
    """Return whether an NVIDIA driver responds."""
    command = shutil.which('nvidia-smi')
    return (
        command is not None
        and subprocess.run([command], capture_output=True, check=False).returncode == 0
    )


def pip(python: Path, *arguments: str) -> None:
    """Run the environment's pip install, or exit with a message."""
    command = [str(python), '-m', 'pip', 'install', *arguments]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        sys.exit(
            f'Failed: {" ".join(command)}\nFix the error above, then run make setup again; it '
            'resumes here'
        )


def succeeds(python: Path, statement: str) -> bool:
    """Return whether the environment's interpreter runs a statement without an error."""
    return (
        python.exists()
        and subprocess.run(
            [str(python), '-c', statement], cwd=python.parent, capture_output=True, check=False
        ).returncode
        == 0
    )


if __name__ == '__main__':
    main()
