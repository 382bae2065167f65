"""The models of the stream's benchmark, as the engine runs them and as the authors' code would."""

from __future__ import annotations

import dataclasses
from typing import Final

import torch

from instructseg_ros.benchmark.random_model import configuration, random_model
from instructseg_ros.benchmark.straightforward import (
    make_straightforward,
    straightforward_configuration,
)
from instructseg_ros.model.checkpoints import find_model, load_model
from instructseg_ros.model.configuration import InstructSegConfig
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.precision import Precision, choose_precision
from instructseg_ros.model.processor import InstructSegProcessor, ProcessorConfig
from instructseg_ros.model.prompts import RELEASED
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.model.tokenization import word_tokenizer

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
    settings = ProcessorConfig.of_model(config, mask_size=(side, side), prompts=RELEASED)
    return InstructSegProcessor(word_tokenizer(['mug']), settings)
