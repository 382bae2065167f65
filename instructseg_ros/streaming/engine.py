"""Newest frames and live instructions in, `Segmentation` values out, from one worker thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from instructseg_ros.streaming.camera import Camera, LiveInstruction, Refusal
from instructseg_ros.streaming.frame_buffer import Frame, FrameBuffer
from instructseg_ros.streaming.inference import Job, Model, answer
from instructseg_ros.streaming.instruction import Instruction
from instructseg_ros.streaming.segmentation import Segmentation

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """Bounds of the engine.

    Attributes:
        topics: Name of each camera -> what to call its stream in messages to people.
        reference_frames: Most earlier frames shown to the model beside the newest.
        reference_stride: Seconds between them.
        max_age: A frame that arrived longer ago is not segmented, s.
        image_timeout: Live instructions are told after so many seconds without an image.
    """

    topics: Mapping[str, str] = field(default_factory=lambda: {'': 'image'})
    reference_frames: int = 0
    reference_stride: float = 0.2
    max_age: float = 1.0
    image_timeout: float = 3.0

    def make_camera(self, name: str) -> Camera:
        """Make the empty state of one camera, its buffer as large as the references need."""
        stride = int(self.reference_stride * 1e9)
        buffer = FrameBuffer(
            capacity=4 * self.reference_frames + 4, spacing=stride // 4,
            max_span=(self.reference_frames + 1) * stride)
        return Camera(name=name, topic=self.topics[name], buffer=buffer,
                      image_timeout=self.image_timeout)


class Engine:
    """Owns the model; every method returns at once, the work happens in one thread.

    A frame that arrives while the model works replaces the one that waits. Each live instruction
    gets exactly one result for each segmented frame, and one final result when it ends.
    """

    def __init__(self, model: Model, *, on_result: Callable[[Segmentation], None],
                 settings: EngineSettings, clock: Callable[[], int] = time.time_ns) -> None:
        """Make a stopped engine.

        Args:
            model: Only the worker thread touches it.
            on_result: Called from the worker thread with every result, in order.
            settings: Bounds of memory and time.
            clock: Nanoseconds on the time line of the frames' stamps.
        """
        self._model = model
        self._on_result = on_result
        self._settings = settings
        self._clock = clock
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
        """Follow an instruction from now on; it replaces what is live on its cameras."""
        with self._changed:
            for name in instruction.cameras or self._cameras:
                camera = self._cameras[name]
                self._end(camera, f'replaced by instruction {instruction.id}')
                camera.live.append(
                    LiveInstruction(instruction=instruction, given=time.monotonic()))
            self._changed.notify()

    def cancel(self, id: str = '', *, reason: str = 'cancelled') -> bool:
        """Stop following the instruction of that id, or every live one; False if none was live."""
        with self._changed:
            ended = [self._end(camera, reason, id=id) for camera in self._cameras.values()]
            self._changed.notify()
        return any(ended)

    def _end(self, camera: Camera, reason: str, *, id: str = '') -> bool:
        ended = [camera.end(live, reason) for live in list(camera.live)
                 if id in ('', live.instruction.id)]
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
        settings = self._settings
        for camera in sorted(self._cameras.values(), key=lambda camera: camera.served):
            pending = camera.pending(now=now, max_age=settings.max_age)
            if pending:
                frame, lives = pending
                camera.buffer.take()
                camera.served = now
                references = camera.buffer.references(
                    frame, count=settings.reference_frames,
                    stride=int(settings.reference_stride * 1e9))
                return Job(camera=camera, frame=frame, references=references, lives=lives,
                           dropped=camera.dropped)
        return None

    def _segment(self, job: Job) -> None:
        for live in job.lives:
            live.last_frame = job.frame
            result = answer(self._model, job, live.instruction, clock=self._clock)
            with self._changed:
                is_live = live in job.camera.live
            if is_live:
                self._emit(result)

    def _emit(self, result: Segmentation) -> None:
        try:
            self._on_result(result)
        except Exception as error:
            logger.error('a result could not be delivered: %s: %s', type(error).__name__, error)
