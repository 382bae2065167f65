"""`instructseg benchmark soak`: a long stream with instructions coming and going."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from instructseg_ros.model.memory import resident_memory
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.streaming.engine import Engine
from instructseg_ros.streaming.instruction import Instruction, InstructionError
from instructseg_ros.streaming.schedule import Schedule
from instructseg_ros.streaming.segmentation import Segmentation
from instructseg_ros.streaming.settings import EngineSettings
from instructseg_ros.tabletop.world.recording import Recording

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
_IMAGES: Final = 60
_SAMPLES: Final = 1000
_HANDED_OVER: Final = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How long, how fast and how the model works.

    Args:
        frames: of the camera, at least 20.
        rate: of the camera, frames a second.
        schedule: of the engine.
        change_every: frames from one coming or going of an instruction to the next.
    """

    frames: int
    rate: float
    schedule: Schedule
    change_every: int = 20


class Watch:
    """Takes the results and keeps only what is needed to judge them."""

    def __init__(self) -> None:
        self.states: Counter[str] = Counter()
        self.worst_age = 0.0
        self.worst_excess = 0.0
        self.unended: set[str] = set()
        self._arrivals: deque[int] = deque(maxlen=_HANDED_OVER)
        self._lock = threading.Lock()

    def arrive(self) -> None:
        """Take note that a frame is handed over now."""
        with self._lock:
            self._arrivals.append(time.time_ns())

    def take(self, results: Sequence[Segmentation]) -> None:
        """Judge the results of a frame, see `judge`."""
        for result in results:
            self.judge(result)

    def judge(self, result: Segmentation) -> None:
        """Judge how old a result is, beyond the time in the model and one frame."""
        self.states[result.state.name] += 1
        if result.final:
            self.unended.discard(result.instruction.id)
        if result.timing is None:
            return
        age = (time.time_ns() - result.timing.received) / 1e9
        excess = age - result.timing.latency - self._gap_after(result.timing.received)
        self.worst_age = max(self.worst_age, age)
        self.worst_excess = max(self.worst_excess, excess)

    def _gap_after(self, received: int) -> float:
        """Seconds from a frame to the next, or until now."""
        with self._lock:
            later = [arrival for arrival in self._arrivals if arrival > received]
        return ((later[0] if later else time.time_ns()) - received) / 1e9


def soak(segmenter: Segmenter, options: Options) -> dict[str, Any]:
    """Stream frames in real time, and give and cancel instructions all the while.

    Returns:
        what is written to the JSON file: memory is the mean of the second and of the last tenth
        of the frames; `worst_excess_ms` is by how much a result was older than its time in the
        model and one frame.
    """
    watch = Watch()
    settings = EngineSettings.from_model(
        segmenter, schedule=options.schedule, target_rate=options.rate
    )
    engine = Engine(segmenter, on_results=watch.take, settings=settings)
    engine.start()
    try:
        memory = _stream(engine, watch, options)
    finally:
        engine.stop()
    second, last = (float(np.mean(tenth)) for tenth in (_tenth(memory, 1), _tenth(memory, 9)))
    return {
        'frames': options.frames,
        'rate': options.rate,
        'schedule': options.schedule.value,
        'states': dict(watch.states),
        'unended_instructions': len(watch.unended),
        'memory_second_tenth_mb': round(second / 1e6, 2),
        'memory_last_tenth_mb': round(last / 1e6, 2),
        'memory_growth': round(last / second - 1, 5),
        'worst_age_ms': round(1e3 * watch.worst_age, 2),
        'worst_excess_ms': round(1e3 * watch.worst_excess, 2),
    }


def _stream(engine: Engine, watch: Watch, options: Options) -> list[int]:
    """Play the camera; return resident memory over time."""
    with Recording() as recording:
        images = [recording.observe(i / recording.rate, truth=False).rgb for i in range(_IMAGES)]
    rng = np.random.default_rng(0)
    memory = []
    begun = time.monotonic()
    for number in tqdm(range(options.frames), 'soak', unit='frame', mininterval=5):
        time.sleep(max(0.0, begun + number / options.rate - time.monotonic()))
        watch.arrive()
        # A copy, as every message of a camera is one.
        engine.add_frame(images[number % _IMAGES].copy(), stamp=time.time_ns())
        if number % options.change_every == 0:
            _change(engine, watch, rng, number)
        if number % max(1, options.frames // _SAMPLES) == 0:
            memory.append(resident_memory())
    return memory


def _change(engine: Engine, watch: Watch, rng: np.random.Generator, number: int) -> None:
    """Give an instruction, with or without an end of its own, or cancel one."""
    if rng.random() < 0.4:
        _cancel_one(engine, watch, rng)
        return
    instruction = Instruction(
        text=str(rng.choice(TEXTS)),
        id=f'soak{number}',
        lifetime=float(rng.uniform(0.1, 3.0)) if rng.random() < 0.5 else None,
    )
    watch.unended.add(instruction.id)
    try:
        engine.give(instruction)
    except InstructionError:  # as many as may be live
        watch.unended.discard(instruction.id)
        _cancel_one(engine, watch, rng)


def _cancel_one(engine: Engine, watch: Watch, rng: np.random.Generator) -> None:
    live = sorted(watch.unended)
    if live:
        engine.cancel(str(rng.choice(live)))


def _tenth(values: list[int], index: int) -> list[int]:
    return values[len(values) * index // 10 : max(1, len(values) * (index + 1) // 10)]
