"""Thousands of frames, with instructions coming and going all the while."""

from __future__ import annotations

import gc
import itertools
import queue
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from color_stream import Stream, picture

from instructseg_ros.streaming.instruction import Instruction, InstructionError
from instructseg_ros.streaming.schedule import Schedule
from instructseg_ros.streaming.segmentation import Segmentation, State

FRAMES = 500
REFERENCES, MOST = 3, 4
STEP = 50_000_000
TEXTS = ('find red', 'find green', 'explode red', 'doubt red')
SLOTS = ('', '', 'left', 'right')


class Soak:
    """Plays a camera and the people who ask, and judges every result as it comes."""

    def __init__(self, stream: Stream, seed: int) -> None:
        self.stream = stream
        self.rng = np.random.default_rng(seed)
        self.names = itertools.count()
        self.stamp = 0
        self.active: dict[str, Instruction] = {}
        self.answers: Counter[tuple[str, int]] = Counter()
        self.finals: Counter[str] = Counter()
        self.images: list[weakref.ref[np.ndarray]] = []
        self.instructions: weakref.WeakSet[Instruction] = weakref.WeakSet()
        self.most_images = 0

    def frame(self, *, step: int = STEP) -> int:
        """Hand a frame over; return its number, which no other has."""
        self.stamp += step
        number = next(self.names)
        image = picture(red=bool(self.rng.integers(2)))
        self.images.append(weakref.ref(image))
        self.stream.engine.add_frame(image, stamp=self.stamp, header=number)
        return number

    def give(self, number: int, **fields: Any) -> str:
        """Give an instruction, which is answered on the frame that is there; '' if refused."""
        lifetime = float(self.rng.uniform(0.001, 0.05)) if self.rng.random() < 0.3 else None
        instruction = Instruction(
            **{
                'text': str(self.rng.choice(TEXTS)),
                'id': f'i{next(self.names)}',
                'slot': str(self.rng.choice(SLOTS)),
                'lifetime': lifetime,
                **fields,
            }
        )
        try:
            self.stream.engine.give(instruction)
        except InstructionError:
            return ''
        self.instructions.add(instruction)
        self.active[instruction.id] = instruction
        return instruction.id

    def settle(self, number: int, waiting: set[str]) -> None:
        """Take results until each of some instructions was answered on a frame, or has ended."""
        waiting &= self.active.keys()
        while waiting:
            waiting -= {self.judge(self.stream.result(), number)} - {''}
            waiting &= self.active.keys()

    def judge(self, result: Segmentation, *numbers: int) -> str:
        """Take a result; return the id that it answers, '' for an answer to nothing new."""
        id = result.instruction.id
        assert not self.finals[id], 'nothing comes after the last result'
        if result.final:
            assert result.state is State.EXPIRED
            self.finals[id] += 1
            del self.active[id]
            return ''
        assert result.header in numbers, 'nothing is answered but what was newest'
        self.answers[id, result.header] += 1
        assert self.answers[id, result.header] == 1
        assert (result.state is State.FAILED) == (not result.instruction.text.startswith('find'))
        assert 0.0 <= result.mask_age <= FRAMES and result.reference_frames <= REFERENCES
        return id

    def play_frame(self) -> None:
        """A frame that the model has time for."""
        step = int(self.rng.choice([STEP, STEP, STEP, 0, 3 * STEP, -20 * STEP]))
        self.stamp = max(self.stamp, 30 * STEP)
        number = self.frame(step=step)
        self.settle(number, set(self.active))
        if self.rng.random() < 0.3:
            self.settle(number, {self.give(number)})
        if self.rng.random() < 0.2 and self.active:
            self.cancel()

    def cancel(self) -> None:
        """Cancel one, unless it has expired meanwhile."""
        self.stream.engine.cancel(str(self.rng.choice(sorted(self.active))))

    def play_busy(self) -> None:
        """Frames and changes while the model works on one."""
        number = self.frame()
        self.settle(number, set(self.active))
        begun = self.stream.model.begun
        while not begun.empty():
            begun.get_nowait()
        self.stream.model.gate.clear()
        newcomer = self.give(number, text='find red', lifetime=None, slot='')
        if newcomer:
            begun.get(timeout=60.0)
        stays = set(self.active)
        if self.rng.random() < 0.5 and newcomer:
            self.stream.engine.cancel(newcomer)
        newest = [self.frame() for _ in range(int(self.rng.integers(1, 6)))][-1]
        self.stream.model.gate.set()
        if newcomer:
            self.settle_on(number, newest, stays)
        else:  # nothing kept the model from any of these frames
            self.stream.engine.cancel()
            while self.active:
                self.judge(self.stream.result(), *range(number, newest + 1))

    def settle_on(self, old: int, newest: int, waiting: set[str]) -> None:
        """The model was at one frame; nothing between it and the newest is answered."""
        while waiting & self.active.keys():
            result = self.stream.result()
            id = self.judge(result, old, newest)
            if result.header == newest:
                waiting.discard(id)

    def count(self) -> None:
        """Take note of how many images are held now."""
        gc.collect()
        self.images = [image for image in self.images if image() is not None]
        self.most_images = max(self.most_images, len(self.images))


@pytest.mark.parametrize('schedule', Schedule)
def test_a_long_stream_stays_fresh_and_bounded_while_instructions_come_and_go(
    open_stream: Callable[..., Stream], schedule: Schedule
) -> None:
    stream = open_stream(
        schedule=schedule,
        reference_frames=REFERENCES,
        reference_stride=STEP / 1e9,
        max_reference_stride=3 * STEP / 1e9,
        max_instructions=MOST,
        max_age=1e6,
        image_timeout=1e6,
        target_rate=1e5,
    )
    soak = Soak(stream, seed=len(schedule.value))
    for turn in range(FRAMES // 2):
        soak.play_frame() if turn % 4 else soak.play_busy()
        if turn % 50 == 0:
            soak.count()
    stream.engine.cancel()
    while soak.active:
        soak.judge(stream.result(), *range(next(soak.names)))
    stream.engine.stop()
    with pytest.raises(queue.Empty):
        stream.results.get_nowait()
    assert set(soak.finals.values()) == {1} and len(soak.finals) > FRAMES // 10
    # The buffer, what is kept beside it, and the last that each instruction was answered on.
    assert soak.most_images <= 4 * REFERENCES + 4 + 2 * REFERENCES + MOST + 2
    gc.collect()
    assert len(soak.instructions) <= MOST
