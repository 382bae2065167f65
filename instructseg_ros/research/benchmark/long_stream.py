"""Implements `instructseg benchmark soak`: a long stream with changing instructions."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from instructseg_ros.model.process_memory import resident_memory
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.streaming.engine import Engine
from instructseg_ros.streaming.instruction import Instruction, InstructionError
from instructseg_ros.streaming.schedule import EngineSettings, Schedule
from instructseg_ros.streaming.segmentation import Segmentation

TEXTS: Final = (
    'the red mug',
    'all the balls',
    'something I can drink from',
    'the book',
    'the blue bowl',
    'the thing that is moving left',
    'the zeppelin',
    'everything',
)
_MAX_MEMORY_SAMPLES: Final = 1000
_ARRIVALS_KEPT: Final = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoakOptions:
    """Length and rate of the stream.

    Attributes:
        frames: Number of camera frames, at least 20.
        rate: Camera frames per second.
        schedule: Schedule of the engine.
        change_every: Frames between two changes of the active instructions.
    """

    frames: int
    rate: float
    schedule: Schedule
    change_every: int = 20


class ResultMonitor:
    """Receives the engine's results and keeps their counts and the worst ages."""

    def __init__(self) -> None:
        self.states: Counter[str] = Counter()
        self.worst_age = 0.0
        self.worst_excess = 0.0
        self.active: set[str] = set()
        self._arrivals: deque[int] = deque(maxlen=_ARRIVALS_KEPT)
        self._lock = threading.Lock()

    def note_arrival(self) -> None:
        """Record that a frame arrives now."""
        with self._lock:
            self._arrivals.append(time.time_ns())

    def add(self, results: Sequence[Segmentation]) -> None:
        """Count the results of a frame and measure their ages."""
        for result in results:
            self.states[result.state.name] += 1
            if result.final:
                self.active.discard(result.instruction.id)
            if result.timing is not None:
                age = (time.time_ns() - result.timing.received) / 1e9
                gap = self._gap_after(result.timing.received)
                self.worst_age = max(self.worst_age, age)
                self.worst_excess = max(self.worst_excess, age - result.timing.latency - gap)

    def _gap_after(self, received: int) -> float:
        """Return the seconds from a frame to the next one or, if there is none, until now."""
        with self._lock:
            later = [arrival for arrival in self._arrivals if arrival > received]
        return ((later[0] if later else time.time_ns()) - received) / 1e9


def soak(
    segmenter: Segmenter, images: Sequence[np.ndarray], options: SoakOptions
) -> dict[str, Any]:
    """Stream images in real time while instructions are added and cancelled.

    Args:
        segmenter: The model.
        images: (H, W, 3) uint8 RGB images, repeated until the stream ends.
        options: Length and rate of the stream.

    Returns:
        The content of the JSON file. Memory is averaged over the second tenth of the frames, and
        over the last. `worst_excess_ms` is the maximum by which the age of a result exceeds its
        time in the model plus the time to the next frame.
    """
    monitor = ResultMonitor()
    settings = EngineSettings.from_model(
        segmenter, schedule=options.schedule, target_rate=options.rate
    )
    engine = Engine(segmenter, on_results=monitor.add, settings=settings)
    engine.start()
    try:
        memory = _stream(engine, monitor, images, options)
    finally:
        engine.stop()
    second, last = (float(np.mean(tenth)) for tenth in (_tenth(memory, 1), _tenth(memory, 9)))
    return {
        'frames': options.frames,
        'rate': options.rate,
        'schedule': options.schedule.value,
        'states': dict(monitor.states),
        'unended_instructions': len(monitor.active),
        'memory_second_tenth_mb': round(second / 1e6, 2),
        'memory_last_tenth_mb': round(last / 1e6, 2),
        'memory_growth': round(last / second - 1, 5),
        'worst_age_ms': round(1e3 * monitor.worst_age, 2),
        'worst_excess_ms': round(1e3 * monitor.worst_excess, 2),
    }


def _stream(
    engine: Engine, monitor: ResultMonitor, images: Sequence[np.ndarray], options: SoakOptions
) -> list[int]:
    """Play the images and return samples of the resident memory, bytes."""
    rng = np.random.default_rng(0)
    memory = []
    begun = time.monotonic()
    for number in tqdm(range(options.frames), 'soak', unit='frame', mininterval=5):
        time.sleep(max(0.0, begun + number / options.rate - time.monotonic()))
        monitor.note_arrival()
        # A copy, because every camera message has its own memory.
        engine.add_frame(images[number % len(images)].copy(), stamp=time.time_ns())
        if number % options.change_every == 0:
            _change(engine, monitor, rng, number)
        if number % max(1, options.frames // _MAX_MEMORY_SAMPLES) == 0:
            memory.append(resident_memory())
    return memory


def _change(engine: Engine, monitor: ResultMonitor, rng: np.random.Generator, number: int) -> None:
    """Add an instruction, with or without a lifetime, or cancel one."""
    if rng.random() < 0.4:
        _cancel_one(engine, monitor, rng)
        return
    instruction = Instruction(
        text=str(rng.choice(TEXTS)),
        id=f'soak{number}',
        lifetime=float(rng.uniform(0.1, 3.0)) if rng.random() < 0.5 else None,
    )
    monitor.active.add(instruction.id)
    try:
        engine.give(instruction)
    except InstructionError:  # the limit of active instructions is reached
        monitor.active.discard(instruction.id)
        _cancel_one(engine, monitor, rng)


def _cancel_one(engine: Engine, monitor: ResultMonitor, rng: np.random.Generator) -> None:
    active = sorted(monitor.active)
    if active:
        engine.cancel(str(rng.choice(active)))


def _tenth(values: list[int], index: int) -> list[int]:
    return values[len(values) * index // 10 : max(1, len(values) * (index + 1) // 10)]
