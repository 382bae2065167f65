"""The engine of the node: a worker thread segments the newest frames for active instructions."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from instructseg_ros.model.frame_buffer import Frame
from instructseg_ros.model.session import VideoSession
from instructseg_ros.model.video_stream import ComputeBudget
from instructseg_ros.streaming.active_instruction import SuspendedInstruction
from instructseg_ros.streaming.camera import Answers, Camera, CameraTask, Refusal, answer
from instructseg_ros.streaming.instruction import Instruction, InstructionError, describe_error
from instructseg_ros.streaming.instruction_registry import InstructionRegistry
from instructseg_ros.streaming.schedule import EngineSettings
from instructseg_ros.streaming.segmentation import Segmentation
from instructseg_ros.streaming.statistics import Statistics, Stopwatch

if TYPE_CHECKING:
    import numpy as np

    from instructseg_ros.model.segmenter import Segmenter

logger = logging.getLogger(__name__)


SHRINK_FACTOR: Final = 0.75  # of the input scale, applied each time memory runs out
MIN_SCALE: Final = 0.5
RETRY_DELAY: Final = 1.0  # s, after an error in the engine itself


class Engine:
    """Segments the newest frames for active instructions; all methods but `stop` return at once.

    A worker thread owns the model: the newest frames of all cameras and all their active
    instructions go through it in one batch. A frame that arrives meanwhile replaces the waiting
    one. A second thread reports instructions that end while the model is busy. Each instruction
    gets exactly one result for each segmented frame, and one final result when it ends.

    Attributes:
        statistics: Statistics of frames and results.
        paused: Whether to segment only for instructions on demand (`Instruction.on_demand`); the
            others stay active.
        max_rate: Maximum number of frames of a camera that are segmented per second; 0: no limit.
            Instructions on demand are not limited.
    """

    def __init__(
        self,
        model: Segmenter,
        *,
        on_results: Callable[[Sequence[Segmentation]], object],
        settings: EngineSettings,
        clock: Callable[[], int] = time.time_ns,
        on_notice: Callable[[str], object] = logger.info,
    ) -> None:
        """Create a stopped engine.

        Args:
            model: The model; only the worker thread uses it.
            on_results: Called, in order, with all results of a frame together or with one result
                without a frame; from both threads and from `stop`, but never concurrently.
            settings: Cameras, bounds and schedule.
            clock: Nanoseconds on the time line of the frames' stamps.
            on_notice: Called from the worker thread with the reason for a new compute budget.
        """
        self._session = VideoSession(model, settings.reference_policy)
        self._on_results = on_results
        self._clock = clock
        self._on_notice = on_notice
        self._rate_controller = settings.make_rate_controller()
        self._max_scale = 1.0
        self._registry = InstructionRegistry(settings, self._session)
        self.statistics = Statistics(settings.topics)
        self._notices: list[Segmentation] = []
        self._paused = False
        self._max_rate = settings.max_rate
        self._lock = threading.RLock()
        self._work = threading.Condition(self._lock)
        self._news = threading.Condition(self._lock)
        self._delivery = threading.Lock()
        self._stopping = False
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start both threads."""
        if self._threads:
            raise RuntimeError('the engine runs already')
        self._stopping = False
        for name, step, condition in (
            ('work', self._work_once, self._work),
            ('watch', self._watch_once, self._news),
        ):
            thread = threading.Thread(
                target=self._repeat,
                args=(step, condition),
                name=f'segmentation {name}',
                daemon=True,
            )
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """End every active instruction and wait for the threads; harmless when stopped."""
        with self._lock:
            self._stopping = True
            self._notices += self._registry.end(self._registry.active(), 'segmentation was stopped')
            self._notify()
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        self._deliver([])  # results that a thread left behind after an error

    def suspend(self, reason: str) -> list[SuspendedInstruction]:
        """Deactivate all instructions but those on demand, so that an engine can resume them.

        Each of them gets a FAILED result with the reason, which is not its final one.
        """
        with self._lock:
            suspended, results = self._registry.suspend(reason)
            self._notices += results
            self._notify()
        return suspended

    def resume(self, suspended: Sequence[SuspendedInstruction]) -> None:
        """Activate suspended instructions, perhaps of another engine; their lifetimes go on.

        One that cannot be resumed, for example because its camera no longer exists, gets a final
        result.
        """
        with self._lock:
            self._notices += self._registry.resume(suspended, now=time.monotonic())
            self._notify()

    def add_frame(
        self, image: np.ndarray, *, stamp: int, header: Any = None, camera: str = ''
    ) -> None:
        """Add the newest frame of a camera.

        Args:
            image: (H, W, 3) uint8 RGB; not copied, so do not change it afterwards.
            stamp: Time of capture, ns; 0: unknown, the time of arrival is used.
            header: Opaque value, returned with the result.
            camera: Name of the camera.
        """
        frame = self._frame(image, stamp, header)
        self.statistics.note_frame(camera, frame, unstamped=not stamp)
        with self._lock:
            self._work.notify()
            if self._registry.cameras[camera].add(frame):
                self._news.notify()

    def refuse_frame(self, reason: str, *, header: Any = None, camera: str = '') -> None:
        """Give active instructions a FAILED result, because a camera image was unreadable."""
        self.statistics.note_refusal(camera, reason)
        with self._lock:
            self._registry.cameras[camera].refuse(
                Refusal(reason=reason, header=header), now=time.monotonic()
            )
            self._news.notify()

    def give(self, instruction: Instruction) -> None:
        """Activate an instruction, alongside those in other slots.

        If it repeats an active one (`Instruction.is_repeated_by`), that one is renewed instead: its
        lifetime restarts, and it keeps its id, its track and its embedding.

        Raises:
            InstructionError: The id is active already, the limit of active instructions is
                reached, a camera does not exist, or the engine was stopped.
        """
        with self._lock:
            self._check_running()
            self._notices += self._registry.give(instruction, now=time.monotonic())
            self._notify()

    def ask(
        self, instruction: Instruction, image: np.ndarray, *, stamp: int, header: Any = None
    ) -> None:
        """Segment the image of a request once.

        Args:
            instruction: The instruction; its `until` must be ANSWERED.
            image: (H, W, 3) uint8 RGB; not copied, so do not change it afterwards.
            stamp: Time of capture, ns.
            header: Opaque value, returned with the result.

        Raises:
            InstructionError: As in `give`.
        """
        with self._lock:
            self._check_running()
            self._registry.ask(instruction, self._frame(image, stamp, header))
            self._notify()

    def cancel(self, id: str = '', *, slot: str = '', reason: str = 'cancelled') -> list[str]:
        """End active instructions with this id and slot ('' matches all); return the ended ids."""
        return self._end(lambda each: id in ('', each.id) and slot in ('', each.slot), reason)

    def withdraw(self, instruction: Instruction) -> None:
        """End exactly this instruction, and no other with its id; harmless when it has ended."""
        self._end(lambda each: each is instruction, 'cancelled')

    def reject(self, result: Segmentation) -> None:
        """Deliver the result of an invalid instruction, in order with all other results."""
        with self._lock:
            self._notices.append(result)
            self._news.notify()

    def active(self) -> list[Instruction]:
        """Return the active instructions, the oldest first."""
        with self._lock:
            return self._registry.active()

    @property
    def paused(self) -> bool:
        """Return whether only instructions on demand are segmented."""
        return self._paused

    @paused.setter
    def paused(self, value: bool) -> None:
        if value != self._paused:
            with self._lock:
                self._paused = value
                self._notify()

    @property
    def max_rate(self) -> float:
        """Maximum number of frames of a camera that are segmented per second; 0: no limit."""
        return self._max_rate

    @max_rate.setter
    def max_rate(self, value: float) -> None:
        with self._lock:
            self._max_rate = value
            self._notify()

    def _frame(self, image: np.ndarray, stamp: int, header: Any) -> Frame:
        received = self._clock()
        return Frame(
            image=image,
            stamp=stamp or received,
            header=header,
            received=received,
            arrived=time.monotonic(),
        )

    def _end(self, select: Callable[[Instruction], bool], reason: str) -> list[str]:
        with self._lock:
            ended = [each for each in self._registry.active() if select(each)]
            self._notices += self._registry.end(ended, reason)
            self._notify()
        return [each.id for each in ended]

    def _check_running(self) -> None:
        if self._stopping:
            raise InstructionError('segmentation was stopped; activate the node')

    def _notify(self) -> None:
        self._work.notify()
        self._news.notify()

    def _repeat(self, step: Callable[[], bool], condition: threading.Condition) -> None:
        """Run the steps of a thread until the engine stops, even if a step raises."""
        while True:
            try:
                if not step():
                    return
            except BaseException as error:  # nothing else would report it
                self._recover(error)
            else:
                continue
            with self._lock:
                if condition.wait_for(lambda: self._stopping, RETRY_DELAY):
                    return

    def _recover(self, error: BaseException) -> None:
        """Report an unexpected error, and give all active instructions a FAILED result."""
        try:
            reason = self._note_fault(
                'internal engine error; the engine keeps running, please report it', error
            )
            with self._lock:
                self._notices += self._registry.fail(reason)
            self._deliver([])
        except Exception as second_error:
            self._note_fault('active instructions got no result; restart the node', second_error)

    def _note_fault(self, what: str, error: BaseException) -> str:
        reason = f'{what}: {type(error).__name__}: {describe_error(error)}'
        # The log first: whoever sees the fault in the statistics may look there.
        logger.error('%s', reason)
        logger.debug('%s', what, exc_info=error)
        self.statistics.note_fault(reason)
        return reason

    def _watch_once(self) -> bool:
        has_news = self._wait_for_news()
        if has_news:
            self._deliver([])
        return has_news

    def _wait_for_news(self) -> bool:
        with self._lock:
            while True:
                now = time.monotonic()
                self._notices += self._registry.overdue(now=now, paused=self._paused)
                if self._notices or self._stopping:
                    return bool(self._notices)
                next_event = self._registry.next_event(paused=self._paused)
                self._news.wait(min(next_event - now, threading.TIMEOUT_MAX))

    def _work_once(self) -> bool:
        tasks = self._wait_for_work()
        if tasks:
            self._segment(tasks)
        return bool(tasks)

    def _wait_for_work(self) -> Sequence[CameraTask]:
        with self._lock:
            while not self._stopping:
                now = time.monotonic()
                period = 1.0 / self._max_rate if self._max_rate else 0.0
                tasks = self._registry.next_tasks(
                    now=now, budget=self.budget, paused=self._paused, period=period
                )
                if tasks:
                    return tasks
                next_turn = self._registry.next_turn(now=now, period=period)
                self._work.wait(min(next_turn - now, threading.TIMEOUT_MAX))
        return []

    @property
    def budget(self) -> ComputeBudget:
        """The compute budget of the next frame."""
        budget = self._rate_controller.budget
        return replace(budget, scale=min(budget.scale, self._max_scale))

    def _segment(self, tasks: Sequence[CameraTask]) -> None:
        started = time.monotonic()
        answers = self._answer(tasks)
        self._deliver(
            [
                (task.camera, {each: answers[each] for each in task.frame_task.queries})
                for task in tasks
            ]
        )
        with self._lock:
            cameras = self._registry.busy()
        if cameras:
            seconds = (time.monotonic() - started) / len(tasks)
            self._notify_user(self._rate_controller.note(seconds, cameras=cameras))

    def _answer(self, tasks: Sequence[CameraTask]) -> Answers:
        stopwatch = Stopwatch(self._clock)
        try:
            return answer(self._session, tasks, clock=self._clock)
        except MemoryError as error:
            reason = describe_error(error) if str(error) else 'out of memory'
        # Outside the handler: the traceback would keep the tensors alive.
        self._free_memory(reason)
        return {
            active: task.camera.fail(
                active,
                reason,
                task.frame_task.frame.header,
                stopwatch.timing(task.frame_task.frame),
            )
            for task in tasks
            for active in task.frame_task.queries
        }

    def _free_memory(self, reason: str) -> None:
        """Release all cached features, and use smaller images from now on."""
        with self._lock:
            self._registry.clear_caches()
        try:
            self._session.model.forget()
        except Exception as error:
            self._note_fault('memory could not be released', error)
        before = self.budget
        self._max_scale = max(MIN_SCALE, SHRINK_FACTOR * before.scale)
        if self.budget != before:
            self._notify_user(f'{reason}: cached features were released; now {self.budget}')

    def _deliver(self, rounds: Sequence[tuple[Camera, Answers]]) -> None:
        """Deliver queued results, then the answers of instructions that are still active."""
        with self._delivery:
            with self._lock:
                frames = [self._registry.settle(camera, answers) for camera, answers in rounds]
                notices, self._notices = self._notices, []
            for results in (*([notice] for notice in notices), *frames):
                if results:
                    self._emit(results)

    def _emit(self, results: Sequence[Segmentation]) -> None:
        self.statistics.note_results(results)
        try:
            self._on_results(results)
        except Exception as error:
            self._note_fault('a result could not be delivered', error)

    def _notify_user(self, notice: str) -> None:
        if not notice:
            return
        try:
            self._on_notice(notice)
        except Exception as error:
            self._note_fault(f'"{notice}" could not be reported', error)
