"""The active instructions of every camera."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from instructseg_ros.streaming.active_instruction import ActiveInstruction, FrameTask
from instructseg_ros.streaming.camera import Camera
from instructseg_ros.streaming.frame_buffer import Frame
from instructseg_ros.streaming.instruction import Instruction, InstructionError
from instructseg_ros.streaming.schedule import ComputeBudget
from instructseg_ros.streaming.segmentation import Segmentation, State
from instructseg_ros.streaming.settings import EngineSettings

Answers = Mapping[ActiveInstruction, Segmentation]


class InstructionRegistry:
    """The cameras and what is live on each; not thread-safe, the engine holds the lock.

    Whatever ends an instruction ends it here, on all its cameras and with one final result.
    """

    def __init__(self, settings: EngineSettings) -> None:
        """Begin with the cameras of the settings and nothing live."""
        self.cameras = {name: settings.make_camera(name) for name in settings.topics}
        self._guests: list[Camera] = []
        self._settings = settings

    def live(self) -> list[Instruction]:
        """Return what is live, the longest first."""
        lives = sorted(
            (live for camera in self._all() for live in camera.live), key=lambda live: live.given
        )
        return list(dict.fromkeys(live.instruction for live in lives))

    def busy(self) -> int:
        """Return the number of cameras on which something is live."""
        return sum(bool(camera.live) for camera in self._all())

    def give(self, instruction: Instruction, *, now: float) -> list[Segmentation]:
        """Follow an instruction, or renew the active one that it repeats.

        Returns:
            The final results of those that it replaces.

        Raises:
            InstructionError: It cannot be followed.
        """
        if repeated := self._repeated_by(instruction):
            for live in self._lives(repeated):
                live.renew(instruction.lifetime, now=now)
            return []
        replaced = [each for each in self.live() if each.slot and each.slot == instruction.slot]
        self._check(instruction, len(replaced))
        finals = self.end(replaced, f'replaced by instruction {instruction.id}')
        for name in self._cameras_of(instruction):
            self.cameras[name].live.append(ActiveInstruction(instruction=instruction, given=now))
        return finals

    def ask(self, instruction: Instruction, frame: Frame) -> None:
        """Answer an instruction on a frame that is no camera's.

        Raises:
            InstructionError: It cannot be followed.
        """
        self._check(instruction, 0)
        guest = self._settings.make_guest()
        guest.add(frame)
        guest.live.append(ActiveInstruction(instruction=instruction, given=frame.arrived))
        self._guests.append(guest)

    def end(self, instructions: Sequence[Instruction], reason: str) -> list[Segmentation]:
        """Stop following instructions, with one last result each, whatever cameras they are on.

        The last result also gives the reason of the last answers, which the end would hide.
        """
        finals = []
        for instruction in instructions:
            last_words = self._last_reasons(instruction)
            cameras = self._drop(instruction)
            finals.append(
                Segmentation(
                    instruction=instruction,
                    state=State.EXPIRED,
                    reason=f'{reason}; last answer: {last_words}' if last_words else reason,
                    camera=cameras[0].name if len(cameras) == 1 else '',
                    dropped=sum(each.dropped for each in cameras),
                    final=True,
                )
            )
        return finals

    def overdue(self, *, now: float, paused: bool) -> list[Segmentation]:
        """Return what has to be told by now without the model, and end what is over."""
        results = []
        for instruction in self.live():
            lives = self._lives(instruction)
            if any(live.deadline <= now for live in lives):
                unseen = all(live.last_reason is None for live in lives)
                results += self.end(
                    [instruction],
                    (
                        f'its lifetime of {lives[0].lifetime} s is over'
                        f'{", and no image was answered in that time" if unseen else ""}'
                    ),
                )
        for camera in self._all():
            results += self.settle(camera, dict(camera.overdue(now=now, paused=paused)))
        return results

    def fail(self, reason: str) -> list[Segmentation]:
        """Answer everything that is live FAILED, on each of its cameras."""
        return [
            result
            for camera in self._all()
            for result in self.settle(
                camera, {live: camera.fail(live, reason) for live in camera.live}
            )
        ]

    def next_jobs(
        self, *, now: float, budget: ComputeBudget, paused: bool, period: float
    ) -> list[tuple[Camera, FrameTask]]:
        """Return work on the newest frame of every camera where there is some."""
        jobs = (
            (camera, camera.next_job(now=now, budget=budget, paused=paused, period=period))
            for camera in self._all()
        )
        return [(camera, job) for camera, job in jobs if job]

    def next_turn(self, *, now: float, period: float) -> float:
        """Return when a frame that waits for the turn of its camera may be worked on.

        Args:
            now: Seconds of the steady clock.
            period: Minimum time between turns of a camera, s.

        Returns:
            Seconds of the steady clock; infinity where every camera has its turn already.
        """
        turns = (camera.served + period for camera in self._all())
        return min((turn for turn in turns if turn > now), default=float('inf'))

    def settle(self, camera: Camera, answers: Answers) -> list[Segmentation]:
        """Return those answers that are still wanted; those that end their instruction end it."""
        return list(self._settle(camera, answers))

    def next_event(self, *, paused: bool) -> float:
        """Return when something must be told or ends, s of the steady clock."""
        return min(
            (camera.next_event(paused=paused) for camera in self._all()), default=float('inf')
        )

    def forget(self) -> None:
        """Let go of everything that the model made."""
        for camera in self._all():
            camera.forget()

    def _settle(self, camera: Camera, answers: Answers) -> Iterator[Segmentation]:
        for live, result in answers.items():
            if live not in camera.live:
                continue
            live.last_reason = result.reason
            if live.instruction.ends(found=result.state is State.FOUND):
                self._drop(live.instruction)
                result = replace(result, final=True)
            yield result

    def _repeated_by(self, instruction: Instruction) -> Instruction | None:
        cameras = set(self._cameras_of(instruction))
        return next(
            (
                each
                for each in self.live()
                if each.is_repeated_by(instruction) and set(self._cameras_of(each)) == cameras
            ),
            None,
        )

    def _cameras_of(self, instruction: Instruction) -> Sequence[str]:
        return list(dict.fromkeys(instruction.cameras or self.cameras))

    def _lives(self, instruction: Instruction) -> Sequence[ActiveInstruction]:
        return [
            live
            for camera in self._all()
            for live in camera.live
            if live.instruction is instruction
        ]

    def _last_reasons(self, instruction: Instruction) -> str:
        """Return why the last answers were not FOUND, '' if they were or there is none."""
        reasons = [
            (camera.name, live.last_reason)
            for camera in self._all()
            for live in camera.live
            if live.instruction is instruction
        ]
        return '; '.join(
            f'{name}: {reason}' if len(reasons) > 1 else reason
            for name, reason in reasons
            if reason
        )

    def _drop(self, instruction: Instruction) -> list[Camera]:
        """Stop following an instruction; return the cameras that it was followed on."""
        cameras = [camera for camera in self._all() if camera.drop(instruction)]
        self._guests = [guest for guest in self._guests if guest.live]
        return cameras

    def _all(self) -> list[Camera]:
        return [*self.cameras.values(), *self._guests]

    def _check(self, instruction: Instruction, replaced: int) -> None:
        live = self.live()
        unknown = [name for name in instruction.cameras if name not in self.cameras]
        if unknown:
            raise InstructionError(
                f'there is no camera "{unknown[0]}"; use {", ".join(self.cameras)}'
            )
        if instruction.id in [each.id for each in live]:
            raise InstructionError(
                f'instruction {instruction.id} is live already; cancel it, or choose another id'
            )
        most = self._settings.max_instructions
        if len(live) - replaced >= most:
            raise InstructionError(
                f'{most} instructions are live, which is the limit; cancel one, or raise '
                f'max_instructions'
            )
