from __future__ import annotations

import signal
import subprocess
import sys

import pytest

OTHER_SIGNAL = """
import signal
import time
from instructseg_ros.ros import node_runner

node_runner.handle_signals()
signal.signal(signal.SIGUSR1, lambda number, frame: None)
signal.raise_signal(signal.SIGUSR1)
time.sleep(1.0)
print(node_runner.STOP_REQUESTED.is_set())
signal.raise_signal(signal.SIGTERM)
print(node_runner.STOP_REQUESTED.wait(60.0))
time.sleep(2.0 * node_runner.MIN_REPEAT_TIME)
signal.raise_signal(signal.SIGUSR1)
time.sleep(1.0)
"""


def test_a_signal_with_another_handler_stops_nothing() -> None:
    done = subprocess.run(
        [sys.executable, '-c', OTHER_SIGNAL],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert done.stdout == 'False\nTrue\n'


FORK = """
import os
import signal
import time
from instructseg_ros.ros import node_runner

node_runner.handle_signals()
child = os.fork()
if child == 0:
    signal.raise_signal({number})
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
time.sleep(1.0)
print(node_runner.STOP_REQUESTED.is_set())
"""


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_forked_child_and_stops_nothing_in_its_parent(number: int) -> None:
    done = subprocess.run(
        [sys.executable, '-c', FORK.format(number=int(number))],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert done.stdout == f'{-number}\nFalse\n'


INTERRUPTED = """
import signal
from instructseg_ros.ros import node_runner

node_runner.MIN_REPEAT_TIME = 1e9
node_runner.handle_signals()
try:
    with node_runner.interruptible():
        try:
            signal.raise_signal(signal.SIGTERM)
        except Exception:
            print('swallowed')
        finally:
            signal.raise_signal(signal.SIGTERM)
            print('cleaned up')
except node_runner.StopRequested:
    print('aborted')
signal.raise_signal(signal.SIGTERM)
print('only noted')
"""


def test_a_signal_aborts_an_interruptible_block_once_and_lets_it_clean_up() -> None:
    done = subprocess.run(
        [sys.executable, '-c', INTERRUPTED], capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout == 'cleaned up\naborted\nonly noted\n'
