"""State of one camera in the engine: its stream, active instructions and their results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from instructseg_ros.model.frame_buffer import Frame
from instructseg_ros.model.prediction import Prediction
from instructseg_ros.model.session import VideoSession
from instructseg_ros.model.video_stream import ComputeBudget, FrameTask, VideoStream
from instructseg_ros.streaming.active_instruction import ActiveInstruction
from instructseg_ros.streaming.instruction import Instruction, describe_error
from instructseg_ros.streaming.schedule import EngineSettings
from instructseg_ros.streaming.segmentation import (
    Segmentation,
    Source,
    State,
    Timing,
    prediction_fields,
)
from instructseg_ros.streaming.statistics import Stopwatch

if TYPE_CHECKING:
    from instructseg_ros.model.segmenter import Segmenter

Answers = Mapping[ActiveInstruction, Segmentation]


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A frame that could not be read, and the reason."""

    reason: str
    header: Any


@dataclass(frozen=True, kw_only=True, eq=False)
class CameraTask:
    """A task of the session, with the camera of its frame.

    Attributes:
        camera: The camera.
        frame_task: The task of the session.
        dropped: Earlier frames of the camera that were replaced before they were segmented.
    """

    camera: Camera
    frame_task: FrameTask[ActiveInstruction]
    dropped: int


@dataclass(kw_only=True, eq=False)
class Camera:
    """One camera of the engine; not thread-safe, the engine holds the lock.

    Attributes:
        name: Name of the camera, returned in every result.
        topic: Name of its stream in messages to users.
        stream: Its recent frames, and the plan for the next one.
        image_timeout: Seconds without an image after which active instructions get a FAILED result.
        max_age: Maximum time from the arrival of a frame to its segmentation, s.
        active: The instructions that are active on it.
        dropped: Frames replaced before they were segmented, while an instruction was active.
        served: Time at which the last rate-limited frame was due, s of the steady clock.
        last_arrival: Arrival of the last image, s of the steady clock; None before the first.
        refusal: The last image if it could not be read, until that is reported; else None.
    """

    name: str
    topic: str
    stream: VideoStream
    image_timeout: float
    max_age: float
    active: list[ActiveInstruction] = field(default_factory=list)
    dropped: int = 0
    served: float = float('-inf')
    last_arrival: float | None = None
    refusal: Refusal | None = None

    @classmethod
    def from_settings(cls, settings: EngineSettings, session: VideoSession, name: str) -> Camera:
        """Create one of the cameras named in the settings, with a new stream of a session."""
        return cls(
            name=name,
            topic=settings.topics[name],
            stream=session.open_stream(),
            image_timeout=settings.image_timeout,
            max_age=settings.max_age,
        )

    @classmethod
    def for_request(cls, session: VideoSession) -> Camera:
        """Create the camera of an image that comes with a request; no other image follows."""
        forever = float('inf')
        return cls(
            name='',
            topic='the request',
            stream=session.open_stream(),
            image_timeout=forever,
            max_age=forever,
        )

    def add(self, frame: Frame) -> bool:
        """Add a frame; a waiting frame is replaced and counted as dropped.

        Returns:
            Whether missing images had been reported for an instruction.
        """
        if self.stream.frames.add(frame) and self.active:
            self.dropped += 1
        return self._note_arrival(frame.arrived)

    def refuse(self, refusal: Refusal, *, now: float) -> None:
        """Record that an image arrived that could not be read."""
        self.refusal = refusal
        self._note_arrival(now)

    def next_task(
        self, *, now: float, budget: ComputeBudget, paused: bool = False, period: float = 0.0
    ) -> CameraTask | None:
        """Plan the newest frame for the active instructions that have no result on it yet.

        Args:
            now: Seconds of the steady clock.
            budget: How often each part of the model runs.
            paused: Segment only for instructions on demand.
            period: Minimum time between segmented frames, s. A frame that arrives earlier waits,
                and a newer frame replaces it. An instruction on demand does not wait, and its
                frame is then segmented for the others too.
        """
        frame = self.stream.frames.newest(now=now, max_age=self.max_age)
        if frame is None:
            return None
        waiting = [each for each in self._answerable(paused) if each.last_frame is not frame]
        on_demand = [each for each in waiting if each.instruction.on_demand]
        turn = self.served + period
        if not waiting or (not on_demand and now < turn):
            return None
        self.stream.frames.take()
        if len(on_demand) < len(waiting):
            # A late start does not delay the next frames, unless a whole period was missed.
            self.served = turn if turn <= now < turn + period else now
        for each in waiting:
            each.last_frame = frame
        task = self.stream.plan(frame, waiting, budget)
        return CameraTask(camera=self, frame_task=task, dropped=self.dropped)

    def next_event(self, *, paused: bool = False) -> float:
        """Return the next time, s of the steady clock, at which a report or an expiry is due."""
        times = [each.deadline for each in self.active]
        times += [
            self._silent_at(each) for each in self._answerable(paused) if not each.silence_reported
        ]
        return min(times, default=float('inf'))

    def overdue(
        self, *, now: float, paused: bool = False
    ) -> Iterator[tuple[ActiveInstruction, Segmentation]]:
        """Yield FAILED results for refused frames and, once, for missing images."""
        refusal, self.refusal = self.refusal, None
        for each in self._answerable(paused):
            if refusal:
                yield each, self.fail(each, refusal.reason, refusal.header)
            if not each.silence_reported and self._silent_at(each) <= now:
                each.silence_reported = True
                yield each, self.fail(each, self._describe_silence(now))

    def drop(self, instruction: Instruction) -> bool:
        """Remove an instruction; return False if it was not active here."""
        before = len(self.active)
        self.active = [each for each in self.active if each.instruction is not instruction]
        return len(self.active) < before

    def fail(
        self,
        active: ActiveInstruction,
        reason: str,
        header: Any = None,
        timing: Timing | None = None,
    ) -> Segmentation:
        """Return the FAILED result of an instruction."""
        return Segmentation(
            instruction=active.instruction,
            state=State.FAILED,
            reason=reason,
            camera=self.name,
            header=header,
            dropped=self.dropped,
            timing=timing,
        )

    def _answerable(self, paused: bool) -> Sequence[ActiveInstruction]:
        return [each for each in self.active if each.instruction.on_demand or not paused]

    def _note_arrival(self, now: float) -> bool:
        self.last_arrival = now
        reported = [each for each in self.active if each.silence_reported]
        for each in reported:
            each.silence_reported = False
        return bool(reported)

    def _silent_at(self, active: ActiveInstruction) -> float:
        return max(active.given, self.last_arrival or active.given) + self.image_timeout

    def _describe_silence(self, now: float) -> str:
        if self.last_arrival is None:
            return (
                f'no image has arrived on {self.topic} within {self.image_timeout:.1f} s; '
                f'check that the camera runs and publishes on this topic, and that its '
                f"driver's transport is set up for images (config/fastdds.xml, docs/robot.md)"
            )
        return (
            f'no image for {now - self.last_arrival:.1f} s on {self.topic}; '
            f'check that the camera still runs'
        )


def answer(
    session: VideoSession, tasks: Iterable[CameraTask], *, clock: Callable[[], int]
) -> dict[ActiveInstruction, Segmentation]:
    """Run the tasks of some cameras in one batch and return the results.

    Args:
        session: The session that the cameras' streams belong to.
        tasks: At most one task of each camera.
        clock: Nanoseconds on the time line of the frames' stamps.

    Raises:
        MemoryError: The device is out of memory.
    """
    camera_tasks = {task.frame_task.frame: task for task in tasks}
    answers: dict[ActiveInstruction, Segmentation] = {}
    stopwatch = Stopwatch(clock)
    for batch in session.step([task.frame_task for task in camera_tasks.values()]):
        for frame_task, active, prediction in batch:
            task, frame = camera_tasks[frame_task.frame], frame_task.frame
            answers[active] = Segmentation(
                instruction=active.instruction,
                camera=task.camera.name,
                header=frame.header,
                timing=stopwatch.timing(frame),
                image=frame.image,
                dropped=task.dropped,
                **_outcome(session.model, frame_task, active, prediction),
            )
        stopwatch = Stopwatch(clock)
    return answers


def _outcome(
    model: Segmenter,
    task: FrameTask[ActiveInstruction],
    active: ActiveInstruction,
    prediction: Prediction | Exception,
) -> dict[str, Any]:
    """Return the fields of a `Segmentation` that the model decides."""
    if isinstance(prediction, Exception):
        error = f'{type(prediction).__name__}: {describe_error(prediction)}'
        return {'state': State.FAILED, 'reason': f'the model failed: {error}'}
    stamp = task.frame.stamp
    found = active.tracker.update(
        prediction.mask,
        prediction.score,
        stamp=stamp,
        threshold=model.threshold,
        release=model.release_threshold,
    )
    return {
        **prediction_fields(prediction, found=found, threshold=model.threshold),
        'source': Source.INFERRED if active in task.to_reason else Source.PROPAGATED,
        'mask_age': (stamp - active.reasoned_at) / 1e9,
        'reference_frames': active.reference_frames,
        'track_id': active.tracker.track_id if found else 0,
    }
