"""Runs a clip through a model, frame by frame, and measures the time."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from instructseg_ros.model.checkpoints import load_model
from instructseg_ros.model.configuration import InstructSegConfig
from instructseg_ros.model.embedded_model import word_tokenizer
from instructseg_ros.model.model_files import find_model
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.openvino_runtime import uses_openvino
from instructseg_ros.model.precision import Precision, choose_precision, computes_bfloat16
from instructseg_ros.model.processor import InstructSegProcessor, ProcessorConfig
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.model.tasks import RELEASED
from instructseg_ros.research.benchmark.baseline import (
    make_straightforward,
    straightforward_configuration,
    straightforward_frame,
)
from instructseg_ros.research.benchmark.measure import UNCOUNTED
from instructseg_ros.research.benchmark.random_model import configuration, random_model
from instructseg_ros.streaming.instruction import Instruction
from instructseg_ros.streaming.offline_engine import OfflineEngine
from instructseg_ros.streaming.schedule import EngineSettings
from instructseg_ros.streaming.segmentation import State


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clip:
    """A video with instructions and, if known, their true masks.

    Args:
        images: (H, W, 3) uint8 RGB each.
        stamps: Capture time of each image, ns.
        instructions: Texts, given one by one or all at once.
        truths: For each instruction, its (H, W) bool mask on each image; () if unknown.
    """

    images: Sequence[np.ndarray]
    stamps: Sequence[int]
    instructions: Sequence[str]
    truths: Sequence[Sequence[np.ndarray]] = ()

    def __len__(self) -> int:
        return len(self.images)


CAMERA_RATE: Final = 30.0  # frames per second, for counting the frames that would be dropped

# (clip, index of a frame, instructions) -> a mask for each instruction; None: not found.
Answer = Callable[[Clip, int, Sequence[str]], list[np.ndarray | None]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timed:
    """Measurements of a run over a clip.

    Args:
        seconds: Time of each timed frame.
        masks: Mask of the first instruction on each frame; None: not found.
        gflop: Mean operations per frame, 10^9.
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
    """Segment instructions on the frames of a clip.

    Args:
        answer: Segments one frame.
        clip: The frames.
        instructions: Texts of the instructions.
        first: Index of the first frame.
        step: Segment every `step`-th frame.
        warm_up: Number of frames before the clock starts.
        counted: Number of frames at the end whose operations are counted; these are not timed.
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
    """Return a function that runs the engine; it activates instructions on their first use."""
    engine = OfflineEngine(segmenter, settings)
    followed: set[str] = set()

    def answer(clip: Clip, number: int, instructions: Sequence[str]) -> list[np.ndarray | None]:
        for text in instructions:
            if text not in followed:
                engine.give(Instruction(text=text))
                followed.add(text)
        results = engine.segment(clip.images[number], stamp=clip.stamps[number])
        return [each.mask if each.state is State.FOUND else None for each in results]

    return answer


def straightforward(
    model: InstructSegModel, processor: InstructSegProcessor, *, stride: float, threshold: float
) -> Answer:
    """Return a function that runs the authors' procedure for each instruction and frame separately.

    Args:
        model: The model.
        processor: Its processor.
        stride: Seconds between reference frames.
        threshold: Minimum score of a target that counts as found.
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
    """Return the share of a camera's frames dropped if segmenting takes these times per frame."""
    now, last, lost = 0.0, -1, 0
    for each in seconds:
        shown = max(int(now * rate), last + 1)
        lost += shown - last - 1
        now, last = max(now, shown / rate) + each, shown
    return lost / max(1, last + 1)


EMBEDDED: Final = 'embedded'
_CAMERA: Final = 15.0  # frames per second, as in the recording
_SLOW_CAMERA: Final = 5.0  # frames per second, at least as many as a large model can segment


@dataclasses.dataclass(frozen=True, kw_only=True)
class StreamModel:
    """A model as the engine runs it.

    Args:
        segmenter: The model.
        rate: Frames per second of the clip that it is measured on.
        dtype: Name of its precision.
        runtime: What runs its encoders.
        parameters: Number of parameters.
    """

    segmenter: Segmenter
    rate: float
    dtype: str
    runtime: str
    parameters: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class StraightforwardModel:
    """The model without this package's optimisations."""

    model: InstructSegModel
    processor: InstructSegProcessor


def stream_model(
    size: str, dtype: str, device: torch.device, *, runtime: str = 'torch', compiled: bool = False
) -> StreamModel:
    """Load the embedded model, or build one with random weights; `compiled`: compile it."""
    precision = _precision(size, dtype, device)
    if size == EMBEDDED:
        model, processor = load_model(find_model(EMBEDDED), precision)
    else:
        config = configuration(size)
        model, processor = random_model(config, precision, device), _processor(config)
    with_openvino = uses_openvino(runtime, device, precision, model.config, compiled=compiled)
    parameters = model.num_parameters()  # counted now: packed layers have none
    model.requires_grad_(False)
    segmenter = Segmenter(model, processor, name=size, device=device)
    if with_openvino:
        segmenter.use_openvino(bfloat16=dtype == 'auto' and computes_bfloat16(device))
    if compiled:
        segmenter.compile()
    return StreamModel(
        segmenter=segmenter,
        rate=_CAMERA if size == EMBEDDED else _SLOW_CAMERA,
        dtype=precision.name,
        runtime='openvino' if with_openvino else 'torch',
        parameters=parameters,
    )


def straightforward_model(size: str, dtype: str, device: torch.device) -> StraightforwardModel:
    """Return the model of `stream_model` at the same precision, without our optimisations."""
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
    """Return a processor for random models: it has the released prompts and knows only one word."""
    side = config.mask_config.backbone_config.image_size
    settings = ProcessorConfig.from_model(config, mask_size=(side, side), prompts=RELEASED)
    return InstructSegProcessor(word_tokenizer(['mug']), settings)
