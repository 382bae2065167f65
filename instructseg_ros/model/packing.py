"""Linear layers whose weights lie in memory as oneDNN multiplies them.

For every bfloat16 product on a CPU, oneDNN first brings the weight into its own order: a tenth of
the time of a prefill. Weights that are only read can stay in that order (docs/adr/0005).
"""

from __future__ import annotations

import torch
from torch import nn
from transformers.models.phi.modeling_phi import PhiMLP
from transformers.models.siglip.modeling_siglip import SiglipMLP

_TANH_GELU = 'gelu_pytorch_tanh'


def pack_linear_layers(module: nn.Module) -> None:
    """Replace the bfloat16 linear layers that are on a CPU by packed ones, for inference only.

    Does nothing where oneDNN or its bfloat16 is missing. Packed layers cannot be saved or trained.
    """
    if not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return
    # Without the layers themselves: each is freed as soon as it is replaced.
    for part in [part for part in module.modules() if not isinstance(part, nn.Linear)]:
        if isinstance(part, (PhiMLP, SiglipMLP)) and part.config.hidden_act == _TANH_GELU:
            _pack_activation(part)
        for name, layer in part.named_children():
            if _can_be_packed(layer):
                setattr(part, name, PackedLinear(layer))


def _pack_activation(part: PhiMLP | SiglipMLP) -> None:
    if _can_be_packed(part.fc1):
        part.fc1 = PackedLinear(part.fc1, gelu=True)
        part.activation_fn = nn.Identity()


def _can_be_packed(layer: nn.Module) -> bool:
    if type(layer) is not nn.Linear:
        return False
    return layer.weight.dtype == torch.bfloat16 and layer.weight.device.type == 'cpu'


class PackedLinear(nn.Module):
    """A linear layer, and the tanh approximation of GELU after it where that is asked for."""

    def __init__(self, layer: nn.Linear, *, gelu: bool = False) -> None:
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach())
        self.bias = layer.bias
        self._after = 'gelu' if gelu else 'none'

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., inputs) -> (..., outputs)."""
        return torch.ops.mkldnn._linear_pointwise(
            x, self._weight, self.bias, self._after, [], 'tanh' if self._after == 'gelu' else ''
        )
