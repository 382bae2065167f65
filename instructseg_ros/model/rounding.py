"""Weights rounded to float16 and computed in float32, as the paper's figures were made."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from instructseg_ros.model.checkpoints import CONVERTED, ModelError

if TYPE_CHECKING:
    from torch import nn

    from instructseg_ros.model.modeling import InstructSegModel

_log = logging.getLogger(__name__)


def round_to_float16(model: InstructSegModel, folder: Path) -> None:
    """Round the weights of a float32 model to float16's values; they stay float32.

    The authors' evaluation loads every weight as float16 and computes in float32. The rotary
    cosine and sine tables are float16 too (`load_pretrained_model` in instructseg/utils/builder.py,
    with transformers 4.38).

    Args:
        model: as it was loaded.
        folder: where it was loaded from; a warning says so where it is not the authors'.

    Raises:
        ModelError: float16 cannot hold a weight.
    """
    if not (folder / CONVERTED).is_file():
        _log.warning(
            '%s was not converted from the released checkpoint: "float16_weights" only makes it '
            'less precise. "float32" is meant for it.', folder)  # fmt: skip
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            rounded = _rounded(tensor)
            if not torch.equal(rounded.isfinite(), tensor.isfinite()):
                raise ModelError(f'{folder}: float16 cannot hold {name}: use "float32".')
            tensor.copy_(rounded)
    model.language_model.rotary_emb.register_forward_hook(_round_outputs)


def _round_outputs(module: nn.Module, inputs: Any, outputs: tuple[torch.Tensor, ...]) -> Any:
    return tuple(_rounded(values) for values in outputs)


def _rounded(values: torch.Tensor) -> torch.Tensor:
    return values.half().to(values.dtype)
