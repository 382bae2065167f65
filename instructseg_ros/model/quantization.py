"""Weights of the language side as int8: half the memory of bfloat16, a quarter of float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from instructseg_ros.model.checkpoints import ModelError, first_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from instructseg_ros.model.modeling import InstructSegModel


def quantize_weights(model: InstructSegModel) -> None:
    """Round the linear layers of vision tower, projector and language model, for inference only.

    Each row of a weight has its own scale, and is computed with in the format that the layer had.
    The mask branch is left alone: it has few of the weights, and draws the edges of the masks.

    Raises:
        ModelError: torchao is not installed, or too old.
    """
    round_weights = _rounding()
    for part in (model.vision_tower, model.projector, model.language_model):
        round_weights(part)


def _rounding() -> Callable[[nn.Module], None]:
    try:
        from torchao.quantization import Int8WeightOnlyConfig, quantize_
    except ImportError as error:
        raise ModelError(
            f'the dtype "int8" needs torchao ({first_line(error)}): pip install torchao, or use '
            'the dtype "auto".'
        ) from error
    # Its settings for torch.compile are those of the whole process.
    config = Int8WeightOnlyConfig(set_inductor_config=False)
    return lambda part: quantize_(part, config)
