"""Builds and tests a scratch workspace with colcon; two processes exchange one of its messages.

python colcon_smoke.py [arguments of colcon build]. The underlay is the sourced ROS distribution,
or else the ros-* wheels of the environment that runs this.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Build, test, exchange a message, and exit non-zero where one of them fails."""
    with tempfile.TemporaryDirectory(prefix='colcon-') as folder:
        workspace = Path(folder)
        build(workspace, sys.argv[1:])
        test(workspace, [])
        exchange(workspace)


def build(workspace: Path, arguments: list[str]) -> None:
    """Build this package alone, into the workspace's install folder."""
    source = workspace / 'src' / ROOT.name
    source.parent.mkdir()
    source.symlink_to(ROOT)
    subprocess.run(
        [
            sys.executable,
            '-m',
            'colcon',
            'build',
            *arguments,
            '--cmake-args',
            '-GNinja',
            '-DBUILD_TESTING=ON',
            f'-DPython3_EXECUTABLE={sys.executable}',
            f'-DCMAKE_PROJECT_INCLUDE={ROOT}/cmake/ros_wheels.cmake',
        ],
        cwd=workspace,
        env=underlay(),
        check=True,
    )


def test(workspace: Path, arguments: list[str]) -> None:
    """Run the package's tests as `colcon test` does, and raise where one fails."""
    for command in (['test', *arguments], ['test-result', '--verbose']):
        subprocess.run(
            [sys.executable, '-m', 'colcon', *command], cwd=workspace, env=underlay(), check=True
        )


def underlay() -> dict[str, str]:
    """Environment in which colcon finds ROS."""
    environment = dict(os.environ)
    if 'AMENT_PREFIX_PATH' not in environment:
        environment.update(AMENT_PREFIX_PATH=sys.prefix, CMAKE_PREFIX_PATH=sys.prefix)
    environment['PATH'] = os.pathsep.join([f'{sys.prefix}/bin', environment.get('PATH', '')])
    return environment


def exchange(workspace: Path) -> None:
    """Send a Segmentation from one process to another, both with the workspace sourced."""
    environment = underlay()
    environment.update(
        ROS_DOMAIN_ID=str(random.randint(1, 99)), ROS_AUTOMATIC_DISCOVERY_RANGE='LOCALHOST'
    )

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
        sys.exit('No message came through')
    print('colcon: built, and its message went from one process to another')


if __name__ == '__main__':
    main()
