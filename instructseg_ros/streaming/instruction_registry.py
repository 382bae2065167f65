"""The active instructions of every camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from instructseg_ros.model.frame_buffer import Frame
from instructseg_ros.model.session import VideoSession
from instructseg_ros.model.video_stream import ComputeBudget
from instructseg_ros.streaming.active_instruction import ActiveInstruction, SuspendedInstruction
from instructseg_ros.streaming.camera import Answers, Camera, CameraTask
from instructseg_ros.streaming.instruction import Instruction, InstructionError
from instructseg_ros.streaming.schedule import EngineSettings
from instructseg_ros.streaming.segmentation import Segmentation, State


class InstructionRegistry:
    """The cameras and their active instructions; not thread-safe, the engine holds the lock.

    Ending an instruction always removes it from all its cameras and gives one final result.
    """

    def __init__(self, settings: EngineSettings, session: VideoSession) -> None:
        """Create the settings' cameras, with streams of a session and no active instructions."""
        self._session = session
        self.cameras = {
            name: Camera.from_settings(settings, session, name) for name in settings.topics
        }
        self._request_cameras: list[Camera] = []
        self._max_instructions = settings.max_instructions

    def active(self) -> list[Instruction]:
        """Return the active instructions, the oldest first."""
        states = sorted(
            (each for camera in self._all() for each in camera.active), key=lambda each: each.given
        )
        return list(dict.fromkeys(each.instruction for each in states))

    def busy(self) -> int:
        """Return the number of cameras with active instructions."""
        return sum(bool(camera.active) for camera in self._all())

    def give(self, instruction: Instruction, *, now: float) -> list[Segmentation]:
        """Activate an instruction, or renew the active one that it repeats.

        Returns:
            The final results of the instructions that it replaces.

        Raises:
            InstructionError: The instruction is refused; see `Engine.give`.
        """
        if repeated := self._repeated_by(instruction):
            for each in self._active_of(repeated):
                each.renew(instruction.lifetime, now=now)
            return []
        replaced = [each for each in self.active() if each.slot and each.slot == instruction.slot]
        self._check(instruction, len(replaced))
        finals = self.end(replaced, f'replaced by instruction {instruction.id}')
        for name in self._cameras_of(instruction):
            self.cameras[name].active.append(ActiveInstruction(instruction, given=now))
        return finals

    def ask(self, instruction: Instruction, frame: Frame) -> None:
        """Activate an instruction for one frame that belongs to no camera.

        Raises:
            InstructionError: The instruction is refused; see `Engine.give`.
        """
        self._check(instruction, 0)
        camera = Camera.for_request(self._session)
        camera.add(frame)
        camera.active.append(ActiveInstruction(instruction, given=frame.arrived))
        self._request_cameras.append(camera)

    def end(self, instructions: Sequence[Instruction], reason: str) -> list[Segmentation]:
        """Deactivate instructions on all their cameras, with one final result each.

        The final result also contains the reasons of the previous results.
        """
        finals = []
        for instruction in instructions:
            last_reasons = self._last_reasons(instruction)
            cameras = self._drop(instruction)
            finals.append(
                Segmentation(
                    instruction=instruction,
                    state=State.EXPIRED,
                    reason=f'{reason}; last result: {last_reasons}' if last_reasons else reason,
                    camera=cameras[0].name if len(cameras) == 1 else '',
                    dropped=sum(each.dropped for each in cameras),
                    final=True,
                )
            )
        return finals

    def suspend(self, reason: str) -> tuple[list[SuspendedInstruction], list[Segmentation]]:
        """Deactivate all instructions but those on demand, so that they can be resumed.

        Returns:
            The instructions, the oldest first, and a FAILED result of each on each of its cameras.
        """
        kept = [each for each in self.active() if not each.on_demand]
        results = [
            camera.fail(each, reason)
            for camera in self._all()
            for each in camera.active
            if each.instruction in kept
        ]
        suspended = [self._active_of(each)[0].suspended(reason) for each in kept]
        for each in kept:
            self._drop(each)
        return suspended, results

    def resume(
        self, suspended: Sequence[SuspendedInstruction], *, now: float
    ) -> list[Segmentation]:
        """Activate suspended instructions again.

        Returns:
            The final results of those that this registry refuses, see `give`.
        """
        finals = []
        for each in suspended:
            try:
                self._check(each.instruction, 0)
            except InstructionError as error:
                finals.append(
                    Segmentation(
                        instruction=each.instruction,
                        state=State.EXPIRED,
                        reason=f'it could not be resumed: {error}',
                        final=True,
                    )
                )
            else:
                for name in self._cameras_of(each.instruction):
                    self.cameras[name].active.append(ActiveInstruction.resume(each, now=now))
        return finals

    def overdue(self, *, now: float, paused: bool) -> list[Segmentation]:
        """End expired instructions; return all results that are due without the model."""
        results = []
        for instruction in self.active():
            states = self._active_of(instruction)
            if any(each.deadline <= now for each in states):
                unseen = all(each.last_reason is None for each in states)
                results += self.end(
                    [instruction],
                    (
                        f'its lifetime of {states[0].lifetime} s is over'
                        f'{", and no image was segmented in that time" if unseen else ""}'
                    ),
                )
        for camera in self._all():
            results += self.settle(camera, dict(camera.overdue(now=now, paused=paused)))
        return results

    def fail(self, reason: str) -> list[Segmentation]:
        """Return a FAILED result for each active instruction on each of its cameras."""
        return [
            result
            for camera in self._all()
            for result in self.settle(
                camera, {each: camera.fail(each, reason) for each in camera.active}
            )
        ]

    def next_tasks(
        self, *, now: float, budget: ComputeBudget, paused: bool, period: float
    ) -> list[CameraTask]:
        """Plan the newest frame of every camera that has work; see `Camera.next_task`."""
        tasks = (
            camera.next_task(now=now, budget=budget, paused=paused, period=period)
            for camera in self._all()
        )
        return [task for task in tasks if task]

    def next_turn(self, *, now: float, period: float) -> float:
        """Return the earliest time at which a rate-limited camera's waiting frame may be segmented.

        Args:
            now: Seconds of the steady clock.
            period: Minimum time between segmented frames of a camera, s.

        Returns:
            Seconds of the steady clock; infinity if no camera has to wait.
        """
        turns = (camera.served + period for camera in self._all())
        return min((turn for turn in turns if turn > now), default=float('inf'))

    def settle(self, camera: Camera, answers: Answers) -> list[Segmentation]:
        """Return the answers of instructions still active, and end those that are now complete."""
        results = []
        for each, result in answers.items():
            if each not in camera.active:
                continue
            each.last_reason = result.reason
            if each.instruction.ends(found=result.state is State.FOUND):
                self._drop(each.instruction)
                result = replace(result, final=True)
            results.append(result)
        return results

    def next_event(self, *, paused: bool) -> float:
        """Return the next time, s of the steady clock, at which a report or an expiry is due."""
        return min(
            (camera.next_event(paused=paused) for camera in self._all()), default=float('inf')
        )

    def clear_caches(self) -> None:
        """Release everything that the model computed."""
        self._session.clear()
        for camera in self._all():
            for active in camera.active:
                if active.last_frame is not None:  # it may have left its stream
                    active.last_frame.features = None

    def _repeated_by(self, instruction: Instruction) -> Instruction | None:
        cameras = set(self._cameras_of(instruction))
        return next(
            (
                each
                for each in self.active()
                if each.is_repeated_by(instruction) and set(self._cameras_of(each)) == cameras
            ),
            None,
        )

    def _cameras_of(self, instruction: Instruction) -> Sequence[str]:
        return list(dict.fromkeys(instruction.cameras or self.cameras))

    def _active_of(self, instruction: Instruction) -> Sequence[ActiveInstruction]:
        return [
            each
            for camera in self._all()
            for each in camera.active
            if each.instruction is instruction
        ]

    def _last_reasons(self, instruction: Instruction) -> str:
        """Return why the last results were not FOUND; '' if they were, or if there are none."""
        reasons = {
            camera.name: each.last_reason
            for camera in self._all()
            for each in camera.active
            if each.instruction is instruction
        }
        return '; '.join(
            f'{name}: {reason}' if len(reasons) > 1 else reason
            for name, reason in reasons.items()
            if reason
        )

    def _drop(self, instruction: Instruction) -> list[Camera]:
        """Deactivate an instruction; return the cameras that it was active on."""
        cameras = [camera for camera in self._all() if camera.drop(instruction)]
        self._request_cameras = [each for each in self._request_cameras if each.active]
        return cameras

    def _all(self) -> list[Camera]:
        return [*self.cameras.values(), *self._request_cameras]

    def _check(self, instruction: Instruction, replaced: int) -> None:
        active = self.active()
        unknown = [name for name in instruction.cameras if name not in self.cameras]
        if unknown:
            raise InstructionError(
                f'there is no camera "{unknown[0]}"; use {", ".join(self.cameras)}'
            )
        if instruction.id in [each.id for each in active]:
            raise InstructionError(
                f'instruction {instruction.id} is active already; cancel it, or choose another id'
            )
        most = self._max_instructions
        if len(active) - replaced >= most:
            raise InstructionError(
                f'{most} instructions are active, which is the limit; cancel one, or raise '
                f'max_instructions'
            )
