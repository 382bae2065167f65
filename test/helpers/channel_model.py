"""A model of colors that needs no weights, and work with it that a power cut ends.

`python channel_model.py FOLDER SOURCE ...` segments a source until the model or the drawing kills
the process.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from instructseg_ros.model.prediction import Prediction
from instructseg_ros.model.query import Query
from instructseg_ros.streaming.schedule import EngineSettings

SETTINGS = EngineSettings(reference_frames=2, reference_stride=0.2)


@dataclass
class ChannelModel:
    """Finds what is bright in the channel that an instruction ends with.

    The score tells which reference frames it was shown. It kills its process when it has decoded
    `last` frames, as a power cut would.
    """

    threshold: float = 0.5
    release_threshold: float = 0.5
    last: int | None = None
    decoded: int = 0
    images: list[Any] = field(default_factory=list)

    def prepare(self, query: Query) -> None:
        pass

    def aligned(self, earlier: Sequence[np.ndarray], image: np.ndarray) -> list[np.ndarray]:
        return list(earlier)

    def encode(self, images: Sequence[np.ndarray]) -> list[float]:
        self.images += map(weakref.ref, images)
        return [float(image.mean()) for image in images]

    def reason(
        self,
        queries: Sequence[Sequence[Query]],
        features: Sequence[float],
        references: Sequence[Sequence[float]],
        *,
        keep_references: bool,
    ) -> list[list[tuple[str, float]]]:
        shown = [
            sum(number * value for number, value in enumerate((*earlier, frame), 1))
            for earlier, frame in zip(references, features, strict=True)
        ]
        return [
            [(query.text, value) for query in row]
            for row, value in zip(queries, shown, strict=True)
        ]

    def encode_pixels(self, images: Sequence[np.ndarray], *, scale: float) -> Sequence[np.ndarray]:
        return images

    def decode(
        self, embeddings: Sequence[Sequence[tuple[str, float]]], pixels: Sequence[np.ndarray]
    ) -> list[list[Prediction]]:
        if self.decoded == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        self.decoded += 1
        return [
            [self._predict(text, shown, image) for text, shown in given]
            for given, image in zip(embeddings, pixels, strict=True)
        ]

    def forget(self) -> None:
        pass

    def alive(self) -> int:
        """How many of the images that it has seen are still held by somebody."""
        return sum(image() is not None for image in self.images)

    def _predict(self, text: str, shown: float, image: np.ndarray) -> Prediction:
        mask = image[..., ['red', 'green', 'blue'].index(text.split()[-1])] > 127
        score = 0.6 + shown % 100 / 300 if mask.any() else 0.1
        return Prediction(
            mask=mask, probability=mask.astype(np.float32), score=score, found=bool(mask.any())
        )


def segment_until_killed(
    path: Path,
    folder: Path,
    texts: Sequence[str],
    *,
    formats: Sequence[str] = ('rle', 'overlay'),
    piece: int,
    last: int | None = None,
    drawn: int | None = None,
) -> None:
    """Segment in a process of its own, which ends itself with SIGKILL.

    Not in a fork of this one, whose libraries' threads a fork leaves behind with their locks.

    Args:
        piece: frames of a piece of video.
        last: the frame that is not decoded any more.
        drawn: the frame that is not drawn any more, counted over all videos.
    """
    arguments = [str(path), str(folder), repr((tuple(texts), tuple(formats), piece, last, drawn))]
    done = subprocess.run([sys.executable, __file__, *arguments], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL


def _segment(path: str, folder: str, options: str) -> None:
    import ast

    from instructseg_ros.video import video_file
    from instructseg_ros.video.segment_video import segment_video

    texts, formats, piece, last, drawn = ast.literal_eval(options)
    video_file.SEGMENT_FRAMES = piece
    if drawn is not None:
        _die_drawing(drawn)
    segment_video(
        Path(path),
        texts,
        Path(folder),
        load=lambda: (ChannelModel(last=last), SETTINGS),
        model='channels',
        formats=formats,
    )


def _die_drawing(last: int) -> None:
    from instructseg_ros.video import video_file

    draw, count = video_file.draw_overlay, itertools.count()

    def draw_until_killed(*arguments: Any) -> np.ndarray:
        if next(count) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return draw(*arguments)

    video_file.draw_overlay = draw_until_killed


if __name__ == '__main__':
    _segment(*sys.argv[1:])
