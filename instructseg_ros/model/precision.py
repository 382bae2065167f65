"""Device and number formats of a model: choice, rounding to float16, int8 and packed weights."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn
from torch.nn import functional
from transformers.activations import GELUActivation, GELUTanh

from instructseg_ros.model import DTYPES
from instructseg_ros.model.model_files import ModelError, first_line, weight_files

_LARGE: Final = 2**30  # bytes of weights
_CPU_FLAGS: Final = {'avx512_bf16', 'amx_bf16', 'bf16'}  # the last one is Arm's name

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Precision:
    """Number formats of a model.

    Args:
        dtype: Format of the mask branch, perceiver and text fusion.
        language: Format of the vision tower, projector and language model: most of the weights.
        int8: Whether the linear layers of `language` store int8 weights; they still compute in
            `language`.
        rounded: Whether weights are rounded to float16 first, see `round_to_float16`.
    """

    dtype: torch.dtype = torch.float32
    language: torch.dtype = torch.float32
    int8: bool = False
    rounded: bool = False

    @property
    def name(self) -> str:
        """Name of the format for users, or both names if `dtype` and `language` differ."""
        rest, language = (str(each).removeprefix('torch.') for each in (self.dtype, self.language))
        if self.int8:
            language = 'int8'
        if self.rounded:
            return f'{rest} of float16 weights'
        return rest if rest == language else f'{rest} and {language}'


def choose_device(name: str) -> torch.device:
    """Return the device for `auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1`...

    Raises:
        ModelError: This machine has no such device.
    """
    if name == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # the device "meta" holds no values
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ModelError(
            f'device "{name}" cannot be used here ({first_line(error)}): use "auto" or "cpu", or '
            'install a torch build for that device.'
        ) from error
    return device


def choose_precision(name: str, device: torch.device, *, large: bool) -> Precision:
    """Return the number formats of a name in `DTYPES`.

    - `float32`, `bfloat16`, `float16`: that format throughout.
    - `mixed`: half precision for vision tower, projector and language model, float32 for the rest,
      as the release is stored.
    - `auto`: float32 for small models. For large ones, `mixed` on graphics cards, where the mask
      branch in float32 costs little; bfloat16 on CPUs and boards (Jetson) that compute in it, where
      it takes a third of the time; `mixed` on older boards and float32 on older CPUs.
    - `int8`: like `auto`, with one byte per weight on the language side, see `quantize_weights`.
    - `float16_weights`: the format of the paper's published figures, see `round_to_float16`.

    Args:
        name: One of `DTYPES`.
        device: Where the model will run.
        large: Whether half precision is worth its rounding errors, see `is_large`.

    Raises:
        ModelError: The name is unknown, or this CPU is far too slow in that format.
    """
    if name == 'auto':
        name = _best_dtype(device) if large else 'float32'
    if name == 'int8':
        computed = choose_precision('auto', device, large=large)
        # int8 products are scaled only after they are summed; the sum often overflows float16.
        overflows = computed.language == torch.float16
        language = torch.float32 if overflows else computed.language
        return dataclasses.replace(computed, language=language, int8=True)
    if name not in DTYPES:
        raise ModelError(f'dtype "{name}" is not one of {", ".join(DTYPES)}.')
    if device.type == 'cpu':
        _refuse_slow(name, large=large)
    if name == 'mixed':
        return Precision(language=_half(device))
    if name == 'float16_weights':
        return Precision(rounded=True)
    dtype = getattr(torch, name)
    return Precision(dtype=dtype, language=dtype)


def is_large(folder: Path) -> bool:
    """Return whether a model has a gigabyte of weights or more."""
    return sum(file.stat().st_size for file in weight_files(folder)) >= _LARGE


def onednn_has_bfloat16() -> bool:
    """Return whether torch has bfloat16 kernels for this CPU; its fallback loops are far slower."""
    return torch.backends.mkldnn.is_available() and bool(
        torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def round_to_float16(model: nn.Module, folder: Path, *, is_release: bool) -> None:
    """Round the weights of a float32 InstructSegModel to float16 values, kept as float32.

    The authors' evaluation loads every weight as float16 and computes in float32. The rotary
    cosine and sine tables are float16 too (`load_pretrained_model` in instructseg/utils/builder.py,
    with transformers 4.38).

    Args:
        model: Model as loaded.
        folder: Folder that the model was loaded from, for messages.
        is_release: Whether the weights are the authors'; for other weights, a warning says that
            rounding only loses precision.

    Raises:
        ModelError: float16 cannot represent a weight.
    """
    if not is_release:
        _log.warning(
            '%s was not converted from the released checkpoint: "float16_weights" only makes it '
            'less precise. Use "float32" instead.',
            folder,
        )
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            rounded = _rounded(tensor)
            if not torch.equal(rounded.isfinite(), tensor.isfinite()):
                raise ModelError(f'{folder}: float16 cannot represent {name}: use "float32".')
            tensor.copy_(rounded)
    model.language_model.rotary_emb.register_forward_hook(_round_outputs)


def quantize_weights(model: nn.Module) -> None:
    """Store the linear layers of an InstructSegModel's language side as int8, for inference only.

    Each row of a weight has its own scale; products are computed in the layer's former format. The
    mask branch keeps its format: it has few of the weights and determines the masks' edges.

    Raises:
        ModelError: torchao is missing or too old.
    """
    try:
        from torchao.quantization import Int8WeightOnlyConfig, quantize_
    except ImportError as error:
        raise ModelError(
            f'the dtype "int8" needs torchao ({first_line(error)}): pip install torchao, or use '
            'the dtype "auto".'
        ) from error
    # torchao would otherwise change torch.compile's settings for the whole process.
    config = Int8WeightOnlyConfig(set_inductor_config=False)
    for part in (model.vision_tower, model.projector, model.language_model):
        quantize_(part, config)


def pack_linear_layers(module: nn.Module) -> None:
    """Replace bfloat16 linear layers on a CPU by packed ones, which cannot be saved or trained.

    Does nothing if oneDNN has no bfloat16 kernels for this CPU.
    """
    if not onednn_has_bfloat16():
        return
    # The list holds no linear layer, so that each is freed as soon as it is replaced.
    for part in [part for part in module.modules() if not isinstance(part, nn.Linear)]:
        _pack_activation(part)
        for name, layer in part.named_children():
            if _can_be_packed(layer):
                setattr(part, name, PackedLinear(layer))


class PackedLinear(nn.Module):
    """A linear layer with its weight in oneDNN's order, optionally fused with an activation.

    Args:
        layer: bfloat16 layer to pack.
        after: oneDNN's name of the activation.
        variant: oneDNN's variant of the activation.
    """

    def __init__(self, layer: nn.Linear, after: str = 'none', variant: str = '') -> None:
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach())
        self.bias = layer.bias
        self._after, self._variant = after, variant

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (..., inputs) to (..., outputs)."""
        return torch.ops.mkldnn._linear_pointwise(
            x, self._weight, self.bias, self._after, [], self._variant
        )


def _best_dtype(device: torch.device) -> str:
    if device.type == 'cpu':
        return 'bfloat16' if computes_bfloat16(device) else 'float32'
    return 'bfloat16' if _is_board(device) and computes_bfloat16(device) else 'mixed'


def _refuse_slow(name: str, *, large: bool) -> None:
    if name == 'float16':
        raise ModelError(
            'float16 is hundreds of times slower than float32 on a CPU: use "auto", '
            '"float32" or, if the CPU supports it, "bfloat16".'
        )
    if large and name in ('bfloat16', 'mixed') and not onednn_has_bfloat16():
        raise ModelError(
            f'dtype "{name}": bfloat16 is many times slower than float32 on this CPU: '
            'use "float32", "int8" (less memory) or "auto".'
        )


def _half(device: torch.device) -> torch.dtype:
    if device.type == 'cpu' or computes_bfloat16(device):
        return torch.bfloat16
    return torch.float16


def _is_board(device: torch.device) -> bool:
    return device.type == 'cuda' and bool(torch.cuda.get_device_properties(device).is_integrated)


def computes_bfloat16(device: torch.device) -> bool:
    """Return whether a device computes in bfloat16 faster than in float32."""
    if device.type == 'cuda':
        # Emulated before Ampere (8.0); a Jetson Orin is 8.7, a Xavier 7.2.
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if not onednn_has_bfloat16():
        return False
    try:
        lines = Path('/proc/cpuinfo').read_text().lower().splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith(('flags', 'features'))), '')
    return bool(_CPU_FLAGS & set(flags.split()))


def _rounded(values: torch.Tensor) -> torch.Tensor:
    return values.half().to(values.dtype)


def _round_outputs(module: nn.Module, inputs: Any, outputs: tuple[torch.Tensor, ...]) -> Any:
    return tuple(_rounded(values) for values in outputs)


def _pack_activation(part: nn.Module) -> None:
    """Pack a feed-forward block's first layer with its activation, found by transformers' names."""
    first, activation = getattr(part, 'fc1', None), getattr(part, 'activation_fn', None)
    after = _fused(activation)
    if after and _can_be_packed(first):
        part.fc1 = PackedLinear(first, *after)
        part.activation_fn = nn.Identity()


def _fused(activation: Any) -> tuple[str, str] | None:
    """Return oneDNN's name and variant of an activation; None if oneDNN lacks it."""
    if activation is functional.relu or isinstance(activation, nn.ReLU):
        return 'relu', ''
    if isinstance(activation, GELUTanh):
        return 'gelu', 'tanh'
    if isinstance(activation, GELUActivation):
        return 'gelu', 'none'
    return None


def _can_be_packed(layer: Any) -> bool:
    # int8 weights have their own type.
    if type(layer) is not nn.Linear or type(layer.weight) is not nn.Parameter:
        return False
    return layer.weight.dtype == torch.bfloat16 and layer.weight.device.type == 'cpu'
