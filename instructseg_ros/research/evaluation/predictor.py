"""Runs a model on the samples of a benchmark."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import numpy as np

from instructseg_ros.model.frame_buffer import Frame
from instructseg_ros.model.prediction import Prediction
from instructseg_ros.model.query import Query
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.model.session import VideoSession
from instructseg_ros.model.video_stream import FrameTask
from instructseg_ros.research.data.sample import ImageSource, Sample, joined


def references_of(frame: int, frames: int, count: int = 4) -> tuple[int, ...]:
    """Choose the neighbours of a frame as its references, half of them before it if possible.

    Near the start or end of a video, frames from the other side replace missing neighbours. If a
    video has only one frame, that frame is its own reference.

    Args:
        frame: Index of the frame to segment.
        frames: Number of frames of the video.
        count: Number of references; a shorter video has fewer.

    Returns:
        Increasing indices, without the frame itself unless it is the only one.
    """
    if frames == 1:
        return (frame,)
    wanted = min(count, frames - 1)
    first = min(max(0, frame - count // 2), frames - 1 - wanted)
    window = range(max(0, first), max(0, first) + wanted + 1)
    return tuple(index for index in window if index != frame)


def references_before(frame: int, count: int) -> tuple[int, ...]:
    """Return the indices of the `count` frames before a frame; fewer at the start of a video."""
    return tuple(range(max(0, frame - count), frame))


QUERIES_PER_PASS: Final = 16
MIN_FRAMES: Final = 8  # least size of the frame cache: a frame and the references around it


class Predictor:
    """Runs a model on samples; each frame of a video is decoded and encoded only once."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter
        self._session = VideoSession(segmenter, queries_per_pass=QUERIES_PER_PASS)
        self._frames: OrderedDict[ImageSource, Frame] = OrderedDict()
        self._max_frames = max(MIN_FRAMES, 2 * segmenter.reference_frames)

    def still(self, image: ImageSource, queries: Sequence[Query]) -> list[Prediction]:
        """Predict a mask for each query on an image."""
        return self._segment(image, queries, ())

    def frame(
        self,
        frames: Sequence[ImageSource],
        index: int,
        queries: Sequence[Query],
        *,
        causal: bool = False,
    ) -> list[Prediction]:
        """Predict a mask for each query on a video frame, with neighbours as reference frames.

        Args:
            frames: The frames of the video.
            index: Index of the frame to segment.
            queries: The queries.
            causal: Use only earlier frames as references, as on a robot.
        """
        count = self.segmenter.reference_frames
        if causal:
            chosen = references_before(index, count)
        else:
            chosen = references_of(index, len(frames), count)
        return self._segment(frames[index], queries, [frames[place] for place in chosen])

    def _segment(
        self, image: ImageSource, queries: Sequence[Query], references: Sequence[ImageSource]
    ) -> list[Prediction]:
        task = FrameTask(
            frame=self._frame(image),
            queries=queries,
            to_reason=queries,
            references=[self._frame(reference) for reference in references],
        )
        predictions: dict[Query, Prediction] = {}
        for batch in self._session.step([task]):
            for _, query, prediction in batch:
                if isinstance(prediction, Exception):
                    raise prediction
                predictions[query] = prediction
        return [predictions[query] for query in queries]

    def _frame(self, image: ImageSource) -> Frame:
        """Return the frame of an image, which is decoded unless it was recently used."""
        if image not in self._frames:
            self._frames[image] = Frame(image=np.asarray(image.load()), stamp=0)
        self._frames.move_to_end(image)
        while len(self._frames) > self._max_frames:
            self._frames.popitem(last=False)
        return self._frames[image]


def whole_instruction(sample: Sample, segmenter: Segmenter) -> Query:
    """Return a sample's instruction in its benchmark's form: all sentences joined, or the first."""
    text = joined(sample.instructions) if sample.joined else sample.instructions[0]
    return segmenter.query(text, sample.task.prompt, verbatim=sample.joined or sample.verbatim)


def single_sentences(sample: Sample, segmenter: Segmenter) -> list[Query]:
    """Return each sentence of a sample as a separate instruction."""
    return [
        segmenter.query(joined([sentence]), sample.task.prompt, verbatim=True)
        for sentence in sample.instructions
    ]
