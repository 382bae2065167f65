"""The model of a run, and the settings under which it answers every frame."""

from __future__ import annotations

from typing import TYPE_CHECKING

from instructseg_ros.streaming.settings import EngineSettings

if TYPE_CHECKING:
    from instructseg_ros.model.segmenter import Segmenter


def load_model(name: str, *, device: str, dtype: str) -> tuple[Segmenter, EngineSettings]:
    """Load a model, to be run whole on every frame and with the reference frames that it wants.

    Raises:
        ModelError: The model cannot be loaded; the message names the remedy.
    """
    from instructseg_ros.model.segmenter import Segmenter

    segmenter = Segmenter.from_pretrained(name, device=device, dtype=dtype)
    # One stride for all films, so that a run that goes on knows how far back it has to begin.
    stride = segmenter.reference_stride
    return segmenter, EngineSettings.of_model(segmenter, max_reference_stride=stride)
