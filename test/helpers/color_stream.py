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
    The score is `score` for what is there and 0.1 for what is not. While `room` is negative it
    runs out of memory.
    """

    threshold: float = 0.5
    release_threshold: float = 0.5
    score: float = 0.9
    room: int = 0
    gate: threading.Event = field(default_factory=threading.Event)
    begun: queue.Queue[str] = field(default_factory=queue.Queue)
    references: list[int] = field(default_factory=list)
    scales: list[float] = field(default_factory=list)
    encoded: int = 0
    reasoned: int = 0
    forgotten: int = 0

    def read(self, text: str, task: Task) -> str:
        return text

    def encode(self, image: np.ndarray) -> float:
        self.encoded += 1
        return float(image.mean())

    def reason(self, expressions: Sequence[str], tokens: Any, references: Sequence[Any], *,
               keep_references: bool) -> list[str]:
        for text in expressions:
            self.begun.put(text)
        self.gate.wait(10.0)
        self.reasoned += len(expressions)
        self.references.append(len(references))
        if any('explode' in text for text in expressions):
            raise RuntimeError('out of dynamite')
        return list(expressions)

    def encode_pixels(self, image: np.ndarray, *, scale: float) -> np.ndarray:
        self.scales.append(scale)
        if self.room < 0:
            self.room += 1
            raise MemoryError('no room')
        return image

    def decode(self, understandings: Sequence[str], pixels: np.ndarray) -> list[ColorPrediction]:
        return [self._predict(text, pixels) for text in understandings]

    def forget(self) -> None:
        self.forgotten += 1

    def _predict(self, text: str, image: np.ndarray) -> ColorPrediction:
        mask = image[..., ['red', 'green', 'blue'].index(text.split()[-1])] > 127
        score = float('nan') if 'doubt' in text else self.score if mask.any() else 0.1
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
