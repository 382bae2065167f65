"""Builds and tests the package with colcon in a temporary workspace, and exchanges a message.

Usage: python colcon_smoke.py [arguments of colcon build]. The underlay is the sourced ROS
distribution, or the ros-* wheels of this Python environment.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from instructseg_ros.ros.transport import localhost_setting

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Build, test and exchange a message; exit with an error if one of them fails."""
    with tempfile.TemporaryDirectory(prefix='colcon-') as folder:
        workspace = Path(folder)
        build(workspace, sys.argv[1:])
        test(workspace, [])
        exchange(workspace)


def build(workspace: Path, arguments: list[str]) -> None:
    """Build this package into the install folder of a workspace."""
    source = workspace / 'src' / ROOT.name
    source.parent.mkdir()
    source.symlink_to(ROOT)
    options = [
        *('-GNinja', '-DBUILD_TESTING=ON', f'-DPython3_EXECUTABLE={sys.executable}'),
        f'-DCMAKE_PROJECT_INCLUDE={ROOT}/cmake/ros_wheels.cmake',
    ]
    command = [sys.executable, '-m', 'colcon', 'build', *arguments, '--cmake-args', *options]
    subprocess.run(command, cwd=workspace, env=underlay(), check=True)


def test(workspace: Path, arguments: list[str]) -> None:
    """Run the tests of the package with `colcon test`; raise CalledProcessError if one fails."""
    for command in (['test', *arguments], ['test-result', '--verbose']):
        subprocess.run(
            [sys.executable, '-m', 'colcon', *command], cwd=workspace, env=underlay(), check=True
        )


def underlay() -> dict[str, str]:
    """Return environment variables with which colcon finds ROS."""
    environment = dict(os.environ)
    if 'AMENT_PREFIX_PATH' not in environment:
        environment.update(AMENT_PREFIX_PATH=sys.prefix, CMAKE_PREFIX_PATH=sys.prefix)
    environment['PATH'] = os.pathsep.join([f'{sys.prefix}/bin', environment.get('PATH', '')])
    return environment


def exchange(workspace: Path) -> None:
    """Send a Segmentation between two processes that have the workspace sourced."""
    environment = underlay()
    environment.update([localhost_setting()], ROS_DOMAIN_ID=str(random.randint(1, 99)))

    def start(role: str) -> subprocess.Popen[bytes]:
        source = '. install/local_setup.sh && exec "$@"'
        script = str(ROOT / 'scripts' / 'exchange_segmentation.py')
        return subprocess.Popen(
            ['sh', '-c', source, 'sh', sys.executable, script, role, str(workspace)],
            cwd=workspace,
            env=environment,
        )

    with start('publish') as publisher, start('subscribe') as subscriber:
        try:
            failed = subscriber.wait(timeout=60)
        finally:
            subscriber.kill()
            publisher.kill()
    if failed:
        sys.exit('no message arrived')
    print('colcon: built, tested, and a message was exchanged between two processes')


if __name__ == '__main__':
    main()
