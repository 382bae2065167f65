"""Nodes of this package as processes of their own."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from instructseg_ros.ros.transport import choose_transport

END_TIMEOUT = 20.0
DOMAINS = range(1, 101)


class NodeProcess:
    """A node of this package, ended with the `with` block; its output goes to a file."""

    def __init__(
        self,
        module: str,
        log: Path,
        *,
        arguments: list[str],
        parameters: dict[str, Any],
        room: str = 'ros',
    ) -> None:
        """Start `instructseg_ros.<room>.<module>` with ROS arguments and parameters."""
        self.name = module
        self.log = log
        for name, value in parameters.items():
            arguments = [*arguments, '-p', f'{name}:={value}']
        code = f'import sys; from instructseg_ros.{room}.{module} import main; sys.exit(main())'
        self._command = [sys.executable, '-c', code, '--ros-args', *arguments]
        log.write_text('')
        self._process = self._start()

    def __enter__(self) -> NodeProcess:
        """Return the running process."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it; kill it where it does not end by itself."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(END_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def send(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def respawn(self) -> None:
        """Wait until it has ended, and start it again."""
        self._process.wait(END_TIMEOUT)
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open('a') as stream:
            return subprocess.Popen(self._command, stdout=stream, stderr=subprocess.STDOUT)

    def check(self) -> None:
        """Raise RuntimeError, with its last words, when it has ended or reports an error."""
        lines = self.log.read_text().splitlines()
        errors = [line for line in lines if line.startswith('[ERROR]')]
        if errors:
            raise RuntimeError(f'{self.name} says: {errors[0]}')
        if self._process.poll() is not None:
            raise RuntimeError(
                f'{self.name} ended with status {self._process.returncode}: '
                f'{" ".join(lines[-5:])} (see {self.log})'
            )


def choose_environment() -> None:
    """Set the transport, and a ROS domain on this machine only, unless the user chose theirs."""
    choose_transport()
    if 'ROS_DOMAIN_ID' not in os.environ:
        os.environ['ROS_DOMAIN_ID'] = str(random.choice(DOMAINS))
        os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
