"""Coroutines in plain calls, also where an event loop runs already."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, Final, TypeVar

CLOSED: Final = 'the client is closed; make another one'
T = TypeVar('T')


class EventLoop:
    """An event loop in a thread of its own: a running one, as Jupyter's, takes no second one."""

    def __init__(self) -> None:
        """Start the thread."""
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._is_closed = False
        self._thread = threading.Thread(
            target=self._loop.run_forever, name='event loop', daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for a coroutine and return its result; an interrupt cancels it.

        Raises:
            RuntimeError: The loop was closed.
        """
        task, done = self._begin(work), threading.Event()
        self._loop.call_soon_threadsafe(task.add_done_callback, lambda _: done.set())
        try:
            done.wait()
        except BaseException:
            self._loop.call_soon_threadsafe(task.cancel)
            done.wait()
            raise
        if task.cancelled():
            raise RuntimeError(CLOSED)
        return task.result()

    def iterate(self, values: AsyncIterator[T]) -> Iterator[T]:
        """Yield the values of an async generator, and close it in the end."""
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
        """Cancel what runs, close all generators and end the thread; harmless when closed."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            future = asyncio.run_coroutine_threadsafe(_end(), self._loop)
        future.result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        begun: Future[asyncio.Task[T]] = Future()
        with self._lock:
            if self._is_closed:
                work.close()
                raise RuntimeError(CLOSED)
            self._loop.call_soon_threadsafe(
                lambda: begun.set_result(self._loop.create_task(work)))
        return begun.result()


async def _next(values: AsyncIterator[T]) -> T:
    return await anext(values)


async def _end() -> None:
    """Cancel all other tasks of the running loop, and close its generators."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()
