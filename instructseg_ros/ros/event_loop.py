"""Runs coroutines from synchronous code, even inside a running event loop such as Jupyter's."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, Final, TypeVar

CLOSED: Final = 'the client is closed; create another one'
T = TypeVar('T')


class EventLoop:
    """Runs coroutines from synchronous code, even inside a running event loop such as Jupyter's.

    Close it before the interpreter exits: its thread ends at exit, and a generator that is still
    open would wait for it forever.
    """

    def __init__(self) -> None:
        """Start the thread."""
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._is_closed = False
        self._thread = threading.Thread(
            target=self._loop.run_forever, name='event loop', daemon=True
        )
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for a coroutine and return its result; KeyboardInterrupt cancels it.

        Raises:
            RuntimeError: The loop is closed.
        """
        begun: list[asyncio.Task[T]] = []
        # Unlike an Event, it cannot be left locked by an interrupt.
        done: queue.SimpleQueue[None] = queue.SimpleQueue()

        def finish() -> None:
            done.put(None)
            done.put(None)  # for a caller that is interrupted right after it receives the first

        def begin() -> None:
            begun.append(self._loop.create_task(work))
            begun[0].add_done_callback(lambda _: finish())

        def cancel() -> None:
            if begun:
                begun[0].cancel()
            else:  # interrupted before the task was created
                finish()

        try:
            with self._lock:
                is_open = not self._is_closed
                if is_open:
                    self._loop.call_soon_threadsafe(begin)
            if is_open:
                done.get()
        except BaseException:
            self._loop.call_soon_threadsafe(cancel)
            done.get()
            raise
        if not is_open or begun[0].cancelled():
            work.close()
            raise RuntimeError(CLOSED)
        return begun[0].result()

    def iterate(self, values: AsyncIterator[T]) -> Iterator[T]:
        """Yield the values of an async generator, and close it at the end."""
        try:
            while True:
                try:
                    value = self.run(_next(values))
                except StopAsyncIteration:
                    return
                yield value
        finally:
            if not self._is_closed:  # closing the loop has closed the generator
                self.run(values.aclose())  # type: ignore[attr-defined]

    def close(self) -> None:
        """Cancel all tasks, close all generators and end the thread; idempotent."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            future = asyncio.run_coroutine_threadsafe(_end(), self._loop)
        future.result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _next(values: AsyncIterator[T]) -> T:
    return await anext(values)


async def _end() -> None:
    """Cancel all other tasks of the running loop and close its generators."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()
