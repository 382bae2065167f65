"""Segments frames given one at a time, such as those of a file, for fixed instructions."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from instructseg_ros.model.frame_buffer import Frame
from instructseg_ros.model.session import VideoSession
from instructseg_ros.model.video_stream import ComputeBudget
from instructseg_ros.streaming.active_instruction import ActiveInstruction
from instructseg_ros.streaming.camera import Camera, answer
from instructseg_ros.streaming.schedule import EngineSettings

if TYPE_CHECKING:
    import numpy as np

    from instructseg_ros.model.segmenter import Segmenter
    from instructseg_ros.streaming.instruction import Instruction
    from instructseg_ros.streaming.segmentation import Segmentation


class OfflineEngine:
    """The engine without threads or a clock: every frame is segmented, none is dropped."""

    def __init__(self, model: Segmenter, settings: EngineSettings) -> None:
        """Create an engine without instructions, for the first camera of the settings."""
        self._session = VideoSession(model, settings.reference_policy)
        name = next(iter(settings.topics))
        self._camera = Camera.from_settings(settings, self._session, name)
        self._rate_controller = settings.make_rate_controller()

    @property
    def budget(self) -> ComputeBudget:
        """The compute budget of the next frame."""
        return self._rate_controller.budget

    def give(self, instruction: Instruction) -> None:
        """Activate an instruction from the next frame on."""
        self._camera.active.append(ActiveInstruction(instruction, given=0.0))

    def segment(self, image: np.ndarray, *, stamp: int) -> list[Segmentation]:
        """Return one result for each instruction, in the order in which they were given.

        Args:
            image: (H, W, 3) uint8 RGB; not copied, so do not change it afterwards.
            stamp: Time of capture, ns.

        Raises:
            MemoryError: The device is out of memory.
        """
        self._camera.add(Frame(image=image, stamp=stamp, received=stamp))
        self._camera.stream.frames.take()
        task = self._camera.next_task(now=0.0, budget=self.budget)
        if task is None:
            return []
        started = time.monotonic()
        answers = answer(self._session, [task], clock=lambda: stamp)
        self._rate_controller.note(time.monotonic() - started)
        return [answers[active] for active in task.frame_task.queries]
