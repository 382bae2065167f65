"""Linear layers whose weights lie in memory as oneDNN multiplies them.

For every bfloat16 product on a CPU, oneDNN first brings the weight into its own order: a tenth of
the time of a prefill. Weights that are only read can stay in that order (docs/adr/0005).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers.activations import GELUActivation, GELUTanh

from instructseg_ros.model.precision import onednn_has_bfloat16


def pack_linear_layers(module: nn.Module) -> None:
    """Replace the bfloat16 linear layers that are on a CPU by packed ones, for inference only.

    Does nothing where oneDNN or its bfloat16 is missing. Packed layers cannot be saved or trained.
    """
    if not onednn_has_bfloat16():
        return
    # Without the layers themselves: each is freed as soon as it is replaced.
    for part in [part for part in module.modules() if not isinstance(part, nn.Linear)]:
        _pack_activation(part)
        for name, layer in part.named_children():
            if _can_be_packed(layer):
                setattr(part, name, PackedLinear(layer))


def _pack_activation(part: nn.Module) -> None:
    """Transformers' feed-forward layers call their parts by these names."""
    first, activation = getattr(part, 'fc1', None), getattr(part, 'activation_fn', None)
    after = _fused(activation)
    if after and _can_be_packed(first):
        part.fc1 = PackedLinear(first, *after)
        part.activation_fn = nn.Identity()


def _fused(activation: Any) -> tuple[str, str] | None:
    """OneDNN's name of an activation, and its variant."""
    if activation is functional.relu or isinstance(activation, nn.ReLU):
        return 'relu', ''
    if isinstance(activation, GELUTanh):
        return 'gelu', 'tanh'
    if isinstance(activation, GELUActivation):
        return 'gelu', 'none'
    return None


def _can_be_packed(layer: Any) -> bool:
    # A weight of another type is one that quantization.py rounded.
    if type(layer) is not nn.Linear or type(layer.weight) is not nn.Parameter:
        return False
    return layer.weight.dtype == torch.bfloat16 and layer.weight.device.type == 'cpu'


class PackedLinear(nn.Module):
    """A linear layer, and an activation in the same kernel where one is named."""

    def __init__(self, layer: nn.Linear, after: str = 'none', variant: str = '') -> None:
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach())
        self.bias = layer.bias
        self._after, self._variant = after, variant

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., inputs) -> (..., outputs)."""
        return torch.ops.mkldnn._linear_pointwise(
            x, self._weight, self.bias, self._after, [], self._variant
        )
