"""Runs a model on the samples of a benchmark."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from PIL.Image import Image

from instructseg_ros.model.reuse import Expression, FrameTokens
from instructseg_ros.model.segmenter import Prediction, Segmenter
from instructseg_ros.model.tasks import Task
from instructseg_ros.research.data.sample import ImageSource, Sample, SampleTask, joined


def references_of(frame: int, frames: int, count: int = 4) -> tuple[int, ...]:
    """The neighbours of a frame, half of them before it where there are as many.

    At the ends of a video the others come from the one side that has them. A video of one frame
    has only itself to show.

    Args:
        frame: the one that is segmented.
        frames: of the video.
        count: of references; a shorter video gives what it has.

    Returns:
        indices, rising, without the frame itself.
    """
    if frames == 1:
        return (frame,)
    wanted = min(count, frames - 1)
    first = min(max(0, frame - count // 2), frames - 1 - wanted)
    window = range(max(0, first), max(0, first) + wanted + 1)
    return tuple(index for index in window if index != frame)


def references_before(frame: int, count: int) -> tuple[int, ...]:
    """The last `count` frames before a frame; at the start of a video fewer."""
    return tuple(range(max(0, frame - count), frame))


_AT_ONCE: Final = 16  # instructions in one pass
_FRAMES: Final = 32  # whose tokens are kept
_IMAGES: Final = 8  # which are kept decoded: a frame and the references around it
T = TypeVar('T')


class Predictor:
    """Answers of a model to samples; the frames of a video are decoded and encoded once."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter
        self._encoded: OrderedDict[ImageSource, FrameTokens] = OrderedDict()
        self._decoded: OrderedDict[ImageSource, Image] = OrderedDict()

    def still(self, picture: ImageSource, expressions: Sequence[Expression]) -> list[Prediction]:
        """Masks of instructions on an image."""
        return self._segment(picture, expressions, ())

    def frame(
        self,
        frames: Sequence[ImageSource],
        index: int,
        expressions: Sequence[Expression],
        *,
        causal: bool = False,
    ) -> list[Prediction]:
        """Masks of instructions on a frame of a video, which its neighbours are shown with.

        Args:
            causal: only frames before it are shown, as on a robot.
        """
        count = self.segmenter.reference_frames
        if causal:
            chosen = references_before(index, count)
        else:
            chosen = references_of(index, len(frames), count)
        references = [self._tokens(frames[place]) for place in chosen]
        return self._segment(frames[index], expressions, references)

    def _segment(
        self,
        picture: ImageSource,
        expressions: Sequence[Expression],
        references: Sequence[FrameTokens],
    ) -> list[Prediction]:
        image = _recent(self._decoded, picture, picture.load, _IMAGES)
        tokens = self._tokens(picture)
        pixels = self.segmenter.encode_pixels([image])
        predictions: list[Prediction] = []
        for start in range(0, len(expressions), _AT_ONCE):
            some = expressions[start : start + _AT_ONCE]
            understood = self.segmenter.reason([some], [tokens], [references])
            predictions += self.segmenter.decode(understood, pixels)[0]
        return predictions

    def _tokens(self, picture: ImageSource) -> FrameTokens:
        def encode() -> FrameTokens:
            image = _recent(self._decoded, picture, picture.load, _IMAGES)
            return self.segmenter.encode([image])[0]

        return _recent(self._encoded, picture, encode, _FRAMES)


def whole_instruction(sample: Sample, segmenter: Segmenter) -> Expression:
    """A sample's instruction as its benchmark words it: all sentences, or the first."""
    text = joined(sample.instructions) if sample.joined else sample.instructions[0]
    return segmenter.read(text, task_of(sample), verbatim=sample.joined or sample.verbatim)


def single_sentences(sample: Sample, segmenter: Segmenter) -> list[Expression]:
    """Each sentence of a sample as an instruction of its own."""
    task = task_of(sample)
    return [
        segmenter.read(joined([sentence]), task, verbatim=True) for sentence in sample.instructions
    ]


def task_of(sample: Sample) -> Task:
    """The task whose prompt a sample is put with."""
    reasoning = sample.task in (SampleTask.IMAGE_REASONING, SampleTask.VIDEO_REASONING)
    return Task.REASONING if reasoning else Task.REFERRING


def _recent(
    kept: OrderedDict[ImageSource, T], picture: ImageSource, make: Callable[[], T], size: int
) -> T:
    """Return the value of an image, computed once; the `size` last used ones are kept."""
    if picture not in kept:
        kept[picture] = make()
    kept.move_to_end(picture)
    while len(kept) > size:
        kept.popitem(last=False)
    return kept[picture]
