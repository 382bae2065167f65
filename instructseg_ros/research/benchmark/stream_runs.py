"""Runs a clip through a model, frame by frame, on the clock."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from instructseg_ros.model.checkpoints import find_model, load_model
from instructseg_ros.model.configuration import InstructSegConfig
from instructseg_ros.model.embedded import word_tokenizer
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.precision import Precision, choose_precision
from instructseg_ros.model.processor import InstructSegProcessor, ProcessorConfig
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.model.tasks import RELEASED
from instructseg_ros.research.benchmark.measure import UNCOUNTED
from instructseg_ros.research.benchmark.random_model import configuration, random_model
from instructseg_ros.research.benchmark.straightforward import (
    make_straightforward,
    straightforward_configuration,
    straightforward_frame,
)
from instructseg_ros.streaming.instruction import Instruction
from instructseg_ros.streaming.offline_engine import OfflineEngine
from instructseg_ros.streaming.segmentation import State
from instructseg_ros.streaming.settings import EngineSettings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """A video with what is asked of it.

    Args:
        images: (H, W, 3) uint8 RGB each.
        stamps: when they were captured, ns.
        instructions: asked one by one, or all at once.
        truths: for each instruction its (H, W) bool mask on each image; () where it is not known.
    """

    images: Sequence[np.ndarray]
    stamps: Sequence[int]
    instructions: Sequence[str]
    truths: Sequence[Sequence[np.ndarray]] = ()

    def __len__(self) -> int:
        return len(self.images)


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
    follower = OfflineEngine(segmenter, settings)
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


EMBEDDED: Final = 'embedded'
_CAMERA: Final = 15.0  # frames a second, those of the recording
_SLOW_CAMERA: Final = 5.0  # as many as a large model sees, or more


@dataclasses.dataclass(frozen=True, kw_only=True)
class StreamModel:
    """A model as the engine runs it.

    Args:
        rate: frames a second of the camera that it is measured with.
        dtype: its number format.
        parameters: how many it has.
    """

    segmenter: Segmenter
    rate: float
    dtype: str
    parameters: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class StraightforwardModel:
    """A model without what makes ours fast."""

    model: InstructSegModel
    processor: InstructSegProcessor


def stream_model(
    size: str, dtype: str, device: torch.device, *, compiled: bool = False
) -> StreamModel:
    """The embedded model, or one of a size with random weights; `compiled` as for `Segmenter`."""
    precision = _precision(size, dtype, device)
    if size == EMBEDDED:
        model, processor = load_model(find_model(EMBEDDED), precision)
    else:
        config = configuration(size)
        model, processor = random_model(config, precision, device), _processor(config)
    parameters = model.num_parameters()  # packed layers have none
    model.requires_grad_(False)
    segmenter = Segmenter(model, processor, name=size, device=device)
    if compiled:
        segmenter.compile()
    return StreamModel(
        segmenter=segmenter,
        rate=_CAMERA if size == EMBEDDED else _SLOW_CAMERA,
        dtype=precision.name,
        parameters=parameters,
    )


def straightforward_model(size: str, dtype: str, device: torch.device) -> StraightforwardModel:
    """The same model, at the same precision, as its parts come."""
    precision = _precision(size, dtype, device)
    if size == EMBEDDED:
        model, processor = load_model(find_model(EMBEDDED), precision)
        model = model.to(device)
    else:
        config = straightforward_configuration(configuration(size))
        model, processor = random_model(config, precision, device), _processor(config)
    make_straightforward(model.requires_grad_(False))
    return StraightforwardModel(model=model, processor=processor)


def _precision(size: str, dtype: str, device: torch.device) -> Precision:
    return choose_precision(dtype, device, large=size == 'full')


def _processor(config: InstructSegConfig) -> InstructSegProcessor:
    """With the released prompts, of whose words it knows none: as many tokens, near enough."""
    side = config.mask_config.backbone_config.image_size
    settings = ProcessorConfig.from_model(config, mask_size=(side, side), prompts=RELEASED)
    return InstructSegProcessor(word_tokenizer(['mug']), settings)
