"""Ways to answer a clip, frame by frame, on the clock."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from torch.utils.flop_counter import FlopCounterMode

from instructseg_ros.benchmark.clips import Clip
from instructseg_ros.benchmark.measure import UNCOUNTED
from instructseg_ros.benchmark.straightforward import straightforward_frame
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.streaming.follower import Follower
from instructseg_ros.streaming.instruction import Instruction
from instructseg_ros.streaming.segmentation import State
from instructseg_ros.streaming.settings import EngineSettings

CAMERA_RATE: Final = 30.0  # frames a second, for counting the frames that would be dropped

# Answers some instructions on the frame of that number of a clip; None: nothing found.
Answer = Callable[[Clip, int, Sequence[str]], list[np.ndarray | None]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timed:
    """What a run over a clip gave.

    Args:
        seconds: of each frame that was timed.
        masks: of the first instruction on each frame; None: not found.
        gflop: of a frame, on average.
    """

    seconds: Sequence[float]
    masks: Sequence[np.ndarray | None]
    gflop: float


def run(
    answer: Answer,
    clip: Clip,
    instructions: Sequence[str],
    *,
    first: int = 0,
    step: int = 1,
    warm_up: int = 0,
    counted: int = 0,
) -> Timed:
    """Answer instructions on the frames of a clip.

    Args:
        first: number of the frame to begin with.
        step: 2 answers every other frame, and so on.
        warm_up: frames before the clock starts.
        counted: last frames, whose operations are counted instead of their time.
    """
    seconds, masks = [], []
    end = len(clip) - counted
    for number in range(first, end, step):
        start = time.perf_counter()
        masks.append(answer(clip, number, instructions)[0])
        seconds.append(time.perf_counter() - start)
    with FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as counter:
        masks += [answer(clip, number, instructions)[0] for number in range(end, len(clip))]
    gflop = counter.get_total_flops() / 1e9 / max(1, counted)
    return Timed(seconds=seconds[warm_up:], masks=masks, gflop=gflop)


def streamed(segmenter: Segmenter, settings: EngineSettings) -> Answer:
    """The engine under a schedule; it follows the instructions that it is first asked for."""
    follower = Follower(segmenter, settings)
    followed: set[str] = set()

    def answer(clip: Clip, number: int, instructions: Sequence[str]) -> list[np.ndarray | None]:
        for text in instructions:
            if text not in followed:
                follower.follow(Instruction(text=text))
                followed.add(text)
        results = follower.segment(clip.images[number], stamp=clip.stamps[number])
        return [each.mask if each.state is State.FOUND else None for each in results]

    return answer


def straightforward(
    model: InstructSegModel, processor: InstructSegProcessor, *, stride: float, threshold: float
) -> Answer:
    """The authors' procedure: every expression and frame by itself.

    Args:
        stride: seconds between reference frames.
        threshold: score of a target that counts as found.
    """
    count = model.config.reference_frames

    def answer(clip: Clip, number: int, instructions: Sequence[str]) -> list[np.ndarray | None]:
        wanted = [clip.stamps[number] - round(k * stride * 1e9) for k in range(count, 0, -1)]
        stamps = np.array(clip.stamps[: number + 1])
        nearest = [int(np.abs(stamps - stamp).argmin()) for stamp in wanted if stamp >= stamps[0]]
        images = [clip.images[index] for index in [*nearest, number]]
        answers = [straightforward_frame(model, processor, images, text) for text in instructions]
        return [mask if score >= threshold and mask.any() else None for mask, score in answers]

    return answer


def dropped(seconds: Sequence[float], rate: float = CAMERA_RATE) -> float:
    """Share of a camera's frames that newer ones replace unseen while frames take so long."""
    now, last, lost = 0.0, -1, 0
    for each in seconds:
        shown = max(int(now * rate), last + 1)
        lost += shown - last - 1
        now, last = max(now, shown / rate) + each, shown
    return lost / max(1, last + 1)
