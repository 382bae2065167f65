"""The model of the node, and the settings of the engine, from the node's parameters."""

from __future__ import annotations

import gc
import os
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from instructseg_ros.memory import release_freed_memory
from instructseg_ros.ros import stopping
from instructseg_ros.ros.parameters import ParameterError
from instructseg_ros.ros.segmentation_parameters import SegmentationParameters
from instructseg_ros.streaming.schedule import Schedule
from instructseg_ros.streaming.settings import EngineSettings

if TYPE_CHECKING:
    from instructseg_ros.model.segmenter import Segmenter

WARM_UP_SIZE = (480, 640, 3)
CAMERA_NAME = re.compile(r'[A-Za-z]\w*(/[A-Za-z]\w*)*', re.ASCII)


def load_segmenter(values: SegmentationParameters) -> Segmenter:
    """Load the model and run it once, so that the first real frame is not slow.

    Raises:
        ModelError: The model cannot be loaded; the message names the remedy.
        StopRequested: The process was asked to stop meanwhile.
    """
    # torch and transformers take seconds to import and are needed from here on only.
    import torch

    stopping.check()
    from instructseg_ros.model.segmenter import Segmenter

    torch.set_num_threads(values.threads or max(1, len(os.sched_getaffinity(0)) - 1))
    with stopping.interruptible():
        segmenter = Segmenter.from_pretrained(
            values.model, device=values.device, dtype=values.dtype, compiled=values.compiled)
        image = np.zeros(WARM_UP_SIZE, np.uint8)
        [tokens] = segmenter.encode([image])
        references = [tokens] * segmenter.reference_frames
        segmenter.segment(image, 'the red mug', references, tokens=tokens)
    return segmenter


def free_segmenter_memory() -> None:
    """Give back the memory of a segmenter that nothing holds any more, also that of a GPU."""
    gc.collect()
    torch = sys.modules.get('torch')  # to import it takes seconds
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    release_freed_memory()


def engine_settings(segmenter: Segmenter, values: SegmentationParameters, *,
                    topics: Mapping[str, str]) -> EngineSettings:
    """Return the engine's settings.

    Args:
        segmenter: The model.
        values: The node's parameters.
        topics: Name of each camera -> what its stream is called to people.
    """
    return EngineSettings.of_model(
        segmenter, topics=topics, **_own_references(values),
        max_age=values.max_age, image_timeout=values.image_timeout,
        max_instructions=values.max_instructions, max_rate=values.max_rate,
        schedule=Schedule(values.schedule), reason_every=values.reason_every,
        refresh_every=values.refresh_every, scene_change=values.scene_change,
        target_rate=values.target_rate, target_latency=values.target_latency)


def _own_references(values: SegmentationParameters) -> dict[str, float]:
    """Return what the parameters say of reference frames; negative ones leave it to the model."""
    own: dict[str, float] = {}
    if values.reference_frames >= 0:
        own['reference_frames'] = values.reference_frames
    if values.reference_stride >= 0:
        own['reference_stride'] = own['max_reference_stride'] = values.reference_stride
    return own


def transports_of(values: SegmentationParameters) -> dict[str, str]:
    """Return the name of each camera and how its images come.

    Raises:
        ParameterError: The names are not usable, or the numbers of both do not fit.
    """
    cameras, transports = values.cameras, values.image_transports
    if not cameras or len(set(cameras)) < len(cameras) or ('' in cameras and len(cameras) > 1):
        raise ParameterError(
            f'cameras {list(cameras)} must be different names, or one empty name for one camera')
    unusable = [name for name in cameras if name and not CAMERA_NAME.fullmatch(name)]
    if unusable:
        raise ParameterError(
            f'camera "{unusable[0]}" cannot be the name of a topic; use letters, digits and _')
    if len(transports) not in (1, len(cameras)):
        raise ParameterError(
            f'image_transports has {len(transports)} entries for {len(cameras)} cameras; give '
            f'one for all, or one each')
    return dict(zip(cameras, transports * len(cameras) if len(transports) == 1 else transports,
                    strict=True))
