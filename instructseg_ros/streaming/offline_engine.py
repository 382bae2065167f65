"""Follows instructions through frames given one at a time, such as those of a file."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from instructseg_ros.streaming.active_instruction import ActiveInstruction
from instructseg_ros.streaming.frame_buffer import Frame
from instructseg_ros.streaming.inference import Model, answer
from instructseg_ros.streaming.schedule import ComputeBudget
from instructseg_ros.streaming.settings import EngineSettings

if TYPE_CHECKING:
    import numpy as np

    from instructseg_ros.streaming.instruction import Instruction
    from instructseg_ros.streaming.segmentation import Segmentation


class OfflineEngine:
    """The engine without its thread and its clock: every frame is answered, none is dropped."""

    def __init__(self, model: Model, settings: EngineSettings) -> None:
        """Begin with no instruction; of the settings' cameras only the first counts."""
        self._model = model
        self._camera = settings.make_camera(next(iter(settings.topics)))
        self._governor = settings.make_governor()

    @property
    def budget(self) -> ComputeBudget:
        """The pace at which the next frame will be answered."""
        return self._governor.budget

    def follow(self, instruction: Instruction) -> None:
        """Answer an instruction from the next frame on."""
        self._camera.live.append(ActiveInstruction(instruction=instruction, given=0.0))

    def drop(self, id: str) -> None:
        """Stop following the instruction of that id."""
        self._camera.live = [live for live in self._camera.live if live.instruction.id != id]

    def segment(self, image: np.ndarray, *, stamp: int, header: Any = None) -> list[Segmentation]:
        """Return one answer for each instruction, in the order in which they were given.

        Args:
            image: (H, W, 3) uint8 RGB; not copied, so leave it as it is.
            stamp: When it was captured, ns.
            header: Comes back with the answers.

        Raises:
            MemoryError: The device has no memory left.
        """
        self._camera.add(Frame(image=image, stamp=stamp, header=header, received=stamp))
        self._camera.buffer.take()
        job = self._camera.next_job(now=0.0, budget=self._governor.budget)
        if job is None:
            return []
        begun = time.monotonic()
        results = answer(self._model, [job], clock=lambda: stamp)
        self._governor.note(time.monotonic() - begun)
        return [results[live] for live in job.lives]
