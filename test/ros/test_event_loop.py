from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from instructseg_ros.ros.event_loop import EventLoop


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    loop = EventLoop()
    yield loop
    loop.close()


async def double(value: int) -> int:
    await asyncio.sleep(0)
    return 2 * value


async def count(ended: list[str]) -> AsyncIterator[int]:
    try:
        for number in range(100):
            yield await double(number)
    finally:
        ended.append('ended')


def test_a_coroutine_is_waited_for_with_and_without_a_running_loop(loop: EventLoop) -> None:
    assert loop.run(double(2)) == 4

    async def cell() -> int:
        return loop.run(double(3))

    assert asyncio.run(cell()) == 6


def test_an_error_of_a_coroutine_is_raised(loop: EventLoop) -> None:
    async def fail() -> None:
        raise KeyError('mug')

    with pytest.raises(KeyError, match='mug'):
        loop.run(fail())


def test_a_generator_is_closed_when_its_loop_is_left(loop: EventLoop) -> None:
    ended: list[str] = []
    values = []
    for value in loop.iterate(count(ended)):
        values.append(value)
        if len(values) == 3:
            break
    assert values == [0, 2, 4] and ended == ['ended']


def test_closing_ends_generators_and_waiting_calls(loop: EventLoop) -> None:
    ended: list[str] = []
    values = loop.iterate(count(ended))
    next(values)
    errors: list[BaseException] = []
    begun = threading.Event()

    async def wait() -> None:
        begun.set()
        await asyncio.Event().wait()

    def call() -> None:
        try:
            loop.run(wait())
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    begun.wait()
    loop.close()
    thread.join()
    assert ended == ['ended']
    assert [str(error) for error in errors] == ['the client is closed; create another one']
    values.close()  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match='the client is closed'):
        loop.run(double(1))


INTERRUPTED = """
import asyncio
import signal
import threading
from instructseg_ros.ros.event_loop import EventLoop

signal.signal(signal.SIGINT, signal.default_int_handler)
main = threading.get_ident()

async def wait():
    signal.pthread_kill(main, signal.SIGINT)
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0.01)
        print('cancelled')

loop = EventLoop()
try:
    loop.run(wait())
except KeyboardInterrupt:
    print('interrupted')
loop.close()
"""


def test_an_interrupt_cancels_the_coroutine() -> None:
    """An interrupt of whoever waits reaches the coroutine before it reaches the caller.

    In a process of its own: an interrupt at the wrong moment would end the process of the tests.
    """
    done = subprocess.run(
        [sys.executable, '-c', INTERRUPTED], capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout == 'cancelled\ninterrupted\n'
