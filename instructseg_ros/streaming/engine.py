"""Newest frames and live instructions in, `Segmentation` values out, from one worker thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from instructseg_ros.streaming.camera import Refusal
from instructseg_ros.streaming.frame_buffer import Frame
from instructseg_ros.streaming.inference import Model, answer
from instructseg_ros.streaming.instruction import Instruction, InstructionError
from instructseg_ros.streaming.job import Job
from instructseg_ros.streaming.live_instruction import LiveInstruction
from instructseg_ros.streaming.schedule import Pace
from instructseg_ros.streaming.segmentation import Segmentation, State
from instructseg_ros.streaming.settings import EngineSettings

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger(__name__)


SHRINK = 0.75
SMALLEST = 0.5


class Engine:
    """Owns the model; every method returns at once, the work happens in one thread.

    A frame that arrives while the model works replaces the one that waits. Each live instruction
    gets exactly one result for each segmented frame, and one final result when it ends. All
    instructions of a camera go through the model in one batch.
    """

    def __init__(self, model: Model, *, on_result: Callable[[Segmentation], None],
                 settings: EngineSettings, clock: Callable[[], int] = time.time_ns,
                 on_notice: Callable[[str], object] = logger.info) -> None:
        """Make a stopped engine.

        Args:
            model: Only the worker thread touches it.
            on_result: Called from the worker thread with every result, in order.
            settings: Bounds of memory and time.
            clock: Nanoseconds on the time line of the frames' stamps.
            on_notice: Called from the worker thread when the pace changes, and why.
        """
        self._model = model
        self._on_result = on_result
        self._settings = settings
        self._clock = clock
        self._on_notice = on_notice
        self._governor = settings.make_governor()
        self._largest_scale = 1.0
        self._cameras = {name: settings.make_camera(name) for name in settings.topics}
        self._notices: list[Segmentation] = []
        self._changed = threading.Condition()
        self._stopping = False
        self._worker: threading.Thread | None = None

    def start(self) -> None:
        """Start the worker thread."""
        if self._worker is not None:
            raise RuntimeError('the engine runs already')
        self._stopping = False
        self._worker = threading.Thread(target=self._run, name='segmentation', daemon=True)
        self._worker.start()

    def stop(self) -> None:
        """End every live instruction and wait for the worker thread; harmless when stopped."""
        with self._changed:
            self._stopping = True
            self._end(self._live(), 'segmentation was stopped')
            self._changed.notify()
        if self._worker is not None:
            self._worker.join()
            self._worker = None

    def add_frame(self, image: np.ndarray, *, stamp: int, header: Any = None,
                  camera: str = '') -> None:
        """Hand over the newest frame of a camera.

        Args:
            image: (H, W, 3) uint8 RGB; not copied, so leave it as it is.
            stamp: When it was captured, ns.
            header: Comes back with the result.
            camera: Name of the camera.
        """
        frame = Frame(image=image, stamp=stamp, header=header, received=self._clock(),
                      arrived=time.monotonic())
        with self._changed:
            self._cameras[camera].add(frame)
            self._changed.notify()

    def refuse_frame(self, reason: str, *, header: Any = None, camera: str = '') -> None:
        """Answer live instructions FAILED because an image of the camera could not be read."""
        with self._changed:
            self._cameras[camera].refuse(
                Refusal(reason=reason, header=header), now=time.monotonic())
            self._changed.notify()

    def give(self, instruction: Instruction) -> None:
        """Follow an instruction from now on, beside those that are live in other slots.

        Raises:
            InstructionError: One of that id is live, or as many as may be; it names a camera that
                is not there; or the engine was stopped.
        """
        with self._changed:
            live = self._live()
            replaced = [each for each in live if each.slot and each.slot == instruction.slot]
            self._check(instruction, live, len(replaced))
            self._end(replaced, f'replaced by instruction {instruction.id}')
            now = time.monotonic()
            for name in dict.fromkeys(instruction.cameras or self._cameras):
                self._cameras[name].live.append(
                    LiveInstruction(instruction=instruction, given=now))
            self._changed.notify()

    def cancel(self, id: str = '', *, reason: str = 'cancelled') -> bool:
        """Stop following the instruction of that id, or every live one; False if none was live."""
        with self._changed:
            ended = [each for each in self._live() if id in ('', each.id)]
            self._end(ended, reason)
            self._changed.notify()
        return bool(ended)

    def _live(self) -> list[Instruction]:
        cameras = self._cameras.values()
        return list(dict.fromkeys(live.instruction for camera in cameras for live in camera.live))

    def _check(self, instruction: Instruction, live: Sequence[Instruction], replaced: int) -> None:
        if self._stopping:
            raise InstructionError('segmentation was stopped; activate the node')
        unknown = [name for name in instruction.cameras if name not in self._cameras]
        if unknown:
            raise InstructionError(
                f'there is no camera "{unknown[0]}"; use {", ".join(self._cameras)}')
        if instruction.id in [each.id for each in live]:
            raise InstructionError(
                f'instruction {instruction.id} is live already; cancel it, or choose another id')
        most = self._settings.max_instructions
        if len(live) - replaced >= most:
            raise InstructionError(
                f'{most} instructions are live, which is the limit; cancel one, or raise '
                f'max_instructions')

    def _end(self, instructions: Sequence[Instruction], reason: str) -> None:
        """Stop following instructions, with one last result each, whatever cameras they are on."""
        for instruction in instructions:
            cameras = [each for each in self._cameras.values() if each.drop(instruction)]
            self._notices.append(Segmentation(
                instruction=instruction, state=State.EXPIRED, reason=reason,
                camera=cameras[0].name if len(cameras) == 1 else '',
                dropped=sum(each.dropped for each in cameras), final=True))

    def _expire(self, now: float) -> None:
        over = dict.fromkeys(
            live.instruction for camera in self._cameras.values() for live in camera.live
            if live.deadline <= now)
        for instruction in over:
            self._end([instruction], f'its lifetime of {instruction.lifetime} s is over')

    def _run(self) -> None:
        while True:
            with self._changed:
                job = self._wait_for_work()
                notices, self._notices = self._notices, []
            for notice in notices:
                self._emit(notice)
            if job:
                self._segment(job)
            elif self._stopping:
                return

    def _wait_for_work(self) -> Job | None:
        while True:
            now = time.monotonic()
            self._expire(now)
            for camera in self._cameras.values():
                self._notices += camera.overdue(now=now)
            job = self._next_job(now)
            if job or self._notices or self._stopping:
                return job
            next_event = min(camera.next_event() for camera in self._cameras.values())
            self._changed.wait(min(next_event - now, threading.TIMEOUT_MAX))

    def _next_job(self, now: float) -> Job | None:
        """Return work for the camera that has waited longest for the model."""
        for camera in sorted(self._cameras.values(), key=lambda camera: camera.served):
            job = camera.next_job(now=now, max_age=self._settings.max_age, pace=self._pace())
            if job:
                return job
        return None

    def _pace(self) -> Pace:
        pace = self._governor.pace
        return replace(pace, scale=min(pace.scale, self._largest_scale))

    def _segment(self, job: Job) -> None:
        begun = time.monotonic()
        results = self._answer(job)
        with self._changed:
            live = self._cameras[job.camera].live
            wanted = [result for result, of in zip(results, job.lives, strict=True) if of in live]
            cameras = sum(bool(camera.live) for camera in self._cameras.values())
        for result in wanted:
            self._emit(result)
        if cameras:
            self._notify(self._governor.note(time.monotonic() - begun, cameras=cameras))

    def _answer(self, job: Job) -> Sequence[Segmentation]:
        try:
            return answer(self._model, job, clock=self._clock)
        except MemoryError as error:
            reason = str(error) or 'memory has run out'
        # Outside of the handler, which would keep all tensors of the attempt.
        self._make_room(job, reason)
        return [self._cameras[job.camera].fail(live, reason, job.frame.header)
                for live in job.lives]

    def _make_room(self, job: Job, reason: str) -> None:
        """Let go of everything kept and look at a smaller image from now on."""
        for frame in (*job.references, job.frame):
            frame.tokens = None
        with self._changed:
            for camera in self._cameras.values():
                camera.forget()
        try:
            self._model.forget()
        except Exception as error:
            logger.error('memory could not be given back: %s', error)
        before = self._pace()
        self._largest_scale = max(SMALLEST, SHRINK * before.scale)
        if self._pace() != before:
            self._notify(f'{reason}: kept tokens were dropped, now {self._pace()}')

    def _emit(self, result: Segmentation) -> None:
        try:
            self._on_result(result)
        except Exception as error:
            logger.error('a result could not be delivered: %s: %s', type(error).__name__, error)

    def _notify(self, notice: str) -> None:
        if not notice:
            return
        try:
            self._on_notice(notice)
        except Exception as error:
            logger.error('"%s" could not be told: %s', notice, error)
