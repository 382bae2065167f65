"""The model of the node, and the engine around it, made from the node's parameters."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from instructseg_ros.ros.segmentation_parameters import SegmentationParameters
from instructseg_ros.streaming.engine import Engine
from instructseg_ros.streaming.schedule import Schedule
from instructseg_ros.streaming.segmentation import Segmentation
from instructseg_ros.streaming.settings import EngineSettings

if TYPE_CHECKING:
    from instructseg_ros.model.segmenter import Segmenter

WARM_UP_SIZE = (480, 640, 3)


def load_segmenter(values: SegmentationParameters) -> Segmenter:
    """Load the model and run it once, so that the first real frame is not slow.

    Raises:
        ModelError: The model cannot be loaded; the message names the remedy.
    """
    # torch and transformers take seconds to import and are needed from here on only.
    import torch

    from instructseg_ros.model.segmenter import Segmenter

    torch.set_num_threads(values.threads or max(1, len(os.sched_getaffinity(0)) - 1))
    segmenter = Segmenter.from_pretrained(
        values.model, device=values.device, dtype=values.dtype, compiled=values.compiled)
    image = np.zeros(WARM_UP_SIZE, np.uint8)
    tokens = segmenter.encode(image)
    segmenter.segment(image, 'the red mug', [tokens] * segmenter.reference_frames, tokens=tokens)
    return segmenter


def make_engine(segmenter: Segmenter, values: SegmentationParameters, *, topic: str,
                on_result: Callable[[Segmentation], None], clock: Callable[[], int],
                on_notice: Callable[[str], object]) -> Engine:
    """Return a stopped engine for one camera, whose stream is called `topic` to people.

    Raises:
        ValueError: There is no such schedule.
    """
    settings = EngineSettings.of_model(
        segmenter, topics={'': topic}, **_own_references(values),
        max_age=values.max_age, image_timeout=values.image_timeout,
        max_instructions=values.max_instructions, schedule=_schedule(values.schedule),
        reason_every=values.reason_every, refresh_every=values.refresh_every,
        scene_change=values.scene_change, target_rate=values.target_rate,
        target_latency=values.target_latency)
    return Engine(segmenter, on_result=on_result, settings=settings, clock=clock,
                  on_notice=on_notice)


def _schedule(name: str) -> Schedule:
    names = [schedule.value for schedule in Schedule]
    if name not in names:
        raise ValueError(f'schedule "{name}" is none of {", ".join(names)}')
    return Schedule(name)


def _own_references(values: SegmentationParameters) -> dict[str, float]:
    """Return what the parameters say of reference frames; negative ones leave it to the model."""
    own: dict[str, float] = {}
    if values.reference_frames >= 0:
        own['reference_frames'] = values.reference_frames
    if values.reference_stride >= 0:
        own['reference_stride'] = own['max_reference_stride'] = values.reference_stride
    return own
