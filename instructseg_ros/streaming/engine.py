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
from instructseg_ros.streaming.segmentation import Segmentation
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
        self.cancel(reason='segmentation was stopped')
        with self._changed:
            self._stopping = True
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
            InstructionError: One of that id is live, or as many as may be.
        """
        with self._changed:
            replaced = self._ids_in(instruction.slot)
            self._refuse_too_much(instruction, replaced)
            for id in replaced:
                self._end_all(f'replaced by instruction {instruction.id}', id=id)
            for name in instruction.cameras or self._cameras:
                self._cameras[name].live.append(
                    LiveInstruction(instruction=instruction, given=time.monotonic()))
            self._changed.notify()

    def _live(self) -> set[Instruction]:
        return {live.instruction for camera in self._cameras.values() for live in camera.live}

    def _ids_in(self, slot: str) -> set[str]:
        return {each.id for each in self._live() if slot and each.slot == slot}

    def _refuse_too_much(self, instruction: Instruction, replaced: set[str]) -> None:
        live = {each.id for each in self._live()}
        if instruction.id in live:
            raise InstructionError(
                f'instruction {instruction.id} is live already; cancel it, or choose another id')
        most = self._settings.max_instructions
        if len(live - replaced) >= most:
            raise InstructionError(
                f'{most} instructions are live, which is the limit; cancel one, or raise '
                f'max_instructions')

    def cancel(self, id: str = '', *, reason: str = 'cancelled') -> bool:
        """Stop following the instruction of that id, or every live one; False if none was live."""
        with self._changed:
            ended = self._end_all(reason, id=id)
            self._changed.notify()
        return ended

    def _end_all(self, reason: str, *, id: str) -> bool:
        ended = [camera.end(live, reason) for camera in self._cameras.values()
                 for live in list(camera.live) if id in ('', live.instruction.id)]
        self._notices += ended
        return bool(ended)

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
        notice = self._governor.note(time.monotonic() - begun, cameras=cameras)
        if notice:
            self._on_notice(notice)

    def _answer(self, job: Job) -> Sequence[Segmentation]:
        try:
            return answer(self._model, job, clock=self._clock)
        except MemoryError as error:
            self._make_room(str(error))
            return [self._cameras[job.camera].fail(live, str(error), job.frame.header)
                    for live in job.lives]

    def _make_room(self, reason: str) -> None:
        """Let go of everything kept and look at a smaller image from now on."""
        with self._changed:
            for camera in self._cameras.values():
                camera.forget()
        self._model.forget()
        self._largest_scale = max(SMALLEST, SHRINK * self._largest_scale)
        self._on_notice(f'{reason}: kept tokens were dropped, now {self._pace()}')

    def _emit(self, result: Segmentation) -> None:
        try:
            self._on_result(result)
        except Exception as error:
            logger.error('a result could not be delivered: %s: %s', type(error).__name__, error)
