"""Engines over a small model that needs no weights."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from color_stream import ColorModel, Stream

from instructseg_ros.streaming.engine import Engine
from instructseg_ros.streaming.schedule import EngineSettings
from instructseg_ros.streaming.segmentation import Segmentation


@pytest.fixture
def open_stream() -> Iterator[Callable[..., Stream]]:
    """Return a function that starts a stream with the given `EngineSettings` fields."""
    opened: list[Stream] = []

    def open_it(**settings: Any) -> Stream:
        model = ColorModel()
        model.gate.set()
        results: queue.Queue[Segmentation] = queue.Queue()
        notices: queue.Queue[str] = queue.Queue()
        engine = Engine(
            model,
            on_results=lambda some: [results.put(each) for each in some],
            settings=EngineSettings(**settings),
            on_notice=notices.put,
        )
        engine.start()
        opened.append(Stream(engine, model, results, notices))
        return opened[-1]

    yield open_it
    for stream in opened:
        stream.model.gate.set()
        stream.engine.stop()


@pytest.fixture
def stream(open_stream: Callable[..., Stream]) -> Stream:
    return open_stream()
