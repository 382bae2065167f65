"""A small model that needs no weights, and an engine around it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from instructseg_ros.model.frame_buffer import Frame
from instructseg_ros.model.prediction import Prediction
from instructseg_ros.model.query import Query
from instructseg_ros.model.session import VideoSession
from instructseg_ros.streaming.active_instruction import ActiveInstruction
from instructseg_ros.streaming.camera import Camera
from instructseg_ros.streaming.engine import Engine
from instructseg_ros.streaming.instruction import Instruction
from instructseg_ros.streaming.schedule import EngineSettings
from instructseg_ros.streaming.segmentation import Segmentation


@dataclass
class ColorModel:
    """Finds what is brighter than half in the channel that the instruction names.

    It works only while `gate` is set, so that a test decides how slow it is; "explode" makes it
    raise while it is `explosive` and "doubt" makes it give no number as the score. A frame's
    features are the image's mean. The score is `score` for what is there and 0.1 for what is not.
    While `room` is negative it runs out of memory. If the camera `moves`, the model sees copies of
    earlier frames.

    It writes down what it was asked: `batches` the texts of each run of the language model,
    `decoded` those of each run of the decoder, `references` the number of earlier frames beside
    each frame and `kept` whether they stay, `scales` of the images.
    """

    threshold: float = 0.5
    release_threshold: float = 0.5
    score: float = 0.9
    room: int = 0
    explosive: bool = True
    moves: bool = False
    gate: threading.Event = field(default_factory=threading.Event)
    begun: queue.Queue[str] = field(default_factory=queue.Queue)
    references: list[int] = field(default_factory=list)
    kept: list[bool] = field(default_factory=list)
    batches: list[list[str]] = field(default_factory=list)
    decoded: list[list[str]] = field(default_factory=list)
    scales: list[float] = field(default_factory=list)
    encoded: int = 0
    reasoned: int = 0
    forgotten: int = 0

    def prepare(self, query: Query) -> None:
        if query.prompt_text is None:
            query.prompt_text = query.text

    def aligned(self, earlier: Sequence[np.ndarray], image: np.ndarray) -> list[np.ndarray]:
        return [each.copy() for each in earlier] if self.moves else list(earlier)

    def encode(self, images: Sequence[np.ndarray]) -> list[float]:
        self.encoded += len(images)
        return [float(image.mean()) for image in images]

    def reason(
        self,
        queries: Sequence[Sequence[Query]],
        features: Sequence[Any],
        references: Sequence[Sequence[Any]],
        *,
        keep_references: bool,
    ) -> list[list[str]]:
        texts = [query.prompt_text or '' for row in queries for query in row]
        for text in texts:
            self.begun.put(text)
        self.gate.wait(60.0)
        self.reasoned += len(texts)
        self.references += [len(row) for row in references]
        self.kept.append(keep_references)
        self.batches.append(texts)
        if self.explosive and any('explode' in text for text in texts):
            raise RuntimeError('out of dynamite')
        return [[query.prompt_text or '' for query in row] for row in queries]

    def encode_pixels(self, images: Sequence[np.ndarray], *, scale: float) -> Sequence[np.ndarray]:
        self.scales.append(scale)
        if self.room < 0:
            self.room += 1
            raise MemoryError('no room')
        return images

    def decode(
        self, embeddings: Sequence[Sequence[str]], pixels: Sequence[np.ndarray]
    ) -> list[list[Any]]:
        self.decoded.append([text for row in embeddings for text in row])
        return [
            [self._predict(text, image) for text in row]
            for row, image in zip(embeddings, pixels, strict=True)
        ]

    def forget(self) -> None:
        self.forgotten += 1

    def _predict(self, text: str, image: np.ndarray) -> Prediction:
        mask = image[..., ['red', 'green', 'blue'].index(text.split()[-1])] > 127
        score = float('nan') if 'doubt' in text else self.score if mask.any() else 0.1
        return Prediction(
            mask=mask, probability=mask.astype(np.float32), score=score, found=bool(mask.any())
        )


def picture(*, red: bool = True) -> np.ndarray:
    """A red square on black, or only black."""
    image = np.zeros((12, 16, 3), np.uint8)
    if red:
        image[2:5, 3:9, 0] = 255
    return image


def frame(stamp: int, *, red: bool = True, features: Any = None, arrived: float = 0.0) -> Frame:
    return Frame(
        image=picture(red=red),
        stamp=stamp,
        header=('header', stamp),
        features=features,
        arrived=arrived,
    )


def follow(text: str = 'find red', **fields: Any) -> ActiveInstruction:
    """An active instruction, its id its text."""
    return ActiveInstruction(Instruction(**{'text': text, 'id': text, **fields}), given=0.0)


def make_camera(settings: EngineSettings, name: str = '') -> Camera:
    """One of the cameras of settings."""
    return Camera.from_settings(
        settings, VideoSession(ColorModel(), settings.reference_policy), name
    )


@dataclass
class Stream:
    """An engine with its model, the results that come out and its notices about its budget."""

    engine: Engine
    model: ColorModel
    results: queue.Queue[Segmentation]
    notices: queue.Queue[str] = field(default_factory=queue.Queue)
    stamp: int = 0

    def result(self) -> Segmentation:
        return self.results.get(timeout=60.0)

    def answers(self, count: int) -> list[tuple[str, str]]:
        """The next results as (id, state), in order."""
        return [
            (result.instruction.id, result.state.name)
            for result in (self.result() for _ in range(count))
        ]

    def frame(self, *, red: bool = True, camera: str = '', step: int = 50_000_000) -> int:
        """Add a frame with a red square or an empty one; return its stamp."""
        self.stamp += step
        self.engine.add_frame(
            picture(red=red), stamp=self.stamp, header=('header', self.stamp), camera=camera
        )
        return self.stamp
