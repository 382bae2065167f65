"""A small model that needs no weights, and an engine around it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from instructseg_ros.model.tasks import Task
from instructseg_ros.streaming.engine import Engine
from instructseg_ros.streaming.segmentation import Segmentation


@dataclass(frozen=True, kw_only=True)
class ColorPrediction:
    mask: np.ndarray
    probability: np.ndarray
    score: float
    found: bool
    unknown: tuple[str, ...] = ()


@dataclass
class ColorModel:
    """Finds what is brighter than half in the channel that the instruction names.

    It works only while `gate` is set, so that a test decides how slow it is; "explode" makes it
    raise and "doubt" makes it give no number as the score. A frame's token is the image's mean.
    """

    threshold: float = 0.5
    gate: threading.Event = field(default_factory=threading.Event)
    begun: queue.Queue[str] = field(default_factory=queue.Queue)
    references: list[int] = field(default_factory=list)
    encoded: int = 0

    def encode(self, image: np.ndarray) -> float:
        self.encoded += 1
        return float(image.mean())

    def segment(self, image: np.ndarray, instruction: str, references: Sequence[Any] = (), *,
                task: Task = Task.AUTO, tokens: Any = None) -> ColorPrediction:
        self.begun.put(instruction)
        self.gate.wait(10.0)
        self.references.append(len(references))
        if 'explode' in instruction:
            raise RuntimeError('out of dynamite')
        channel = ['red', 'green', 'blue'].index(instruction.split()[-1])
        mask = image[..., channel] > 127
        score = 0.9 if mask.any() else 0.1
        if 'doubt' in instruction:
            score = float('nan')
        return ColorPrediction(mask=mask, probability=mask.astype(np.float32), score=score,
                               found=bool(mask.any()))


@dataclass
class Stream:
    """An engine with its model and the results that come out."""

    engine: Engine
    model: ColorModel
    results: queue.Queue[Segmentation]
    stamp: int = 0

    def result(self) -> Segmentation:
        return self.results.get(timeout=10.0)

    def frame(self, *, red: bool = True, camera: str = '', step: int = 50_000_000) -> int:
        """Add a frame with a red square or an empty one; return its stamp."""
        image = np.zeros((12, 16, 3), np.uint8)
        if red:
            image[2:5, 3:9, 0] = 255
        self.stamp += step
        self.engine.add_frame(image, stamp=self.stamp, header=('header', self.stamp),
                              camera=camera)
        return self.stamp
