"""Device and numeric precision of a model: choice, rounding and quantization."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from instructseg_ros.model.checkpoints import CONVERTED, ModelError, first_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from instructseg_ros.model.modeling import InstructSegModel


FLOAT16_WEIGHTS: Final = 'float16_weights'
DTYPES: Final = ('auto', 'float32', 'bfloat16', 'float16', FLOAT16_WEIGHTS, 'mixed', 'int8')
_LARGE: Final = 2**30  # bytes of weights
_CPU_FEATURES: Final = {'avx512_bf16', 'amx_bf16', 'bf16'}  # the last one is Arm's name


@dataclasses.dataclass(frozen=True, kw_only=True)
class Precision:
    """Number formats of a model.

    Args:
        dtype: of everything but the language side.
        language: of vision tower, projector and language model: most of the weights.
        int8: their linear layers keep int8 in memory, and compute in `language`.
        rounded: weights are rounded to float16 first, see `round_to_float16`.
    """

    dtype: torch.dtype = torch.float32
    language: torch.dtype = torch.float32
    int8: bool = False
    rounded: bool = False

    @property
    def name(self) -> str:
        """For people: one format, or that of everything else and that of the language side."""
        rest, language = (str(each).removeprefix('torch.') for each in (self.dtype, self.language))
        if self.int8:
            language = 'int8'
        if self.rounded:
            return f'{rest} of float16 weights'
        return rest if rest == language else f'{rest} and {language}'


def choose_device(name: str) -> torch.device:
    """`auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`...

    Raises:
        ModelError: there is no such device.
    """
    if name == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # the device "meta" has no values
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ModelError(
            f'device "{name}" cannot be used here ({str(error).splitlines()[0]}): use "auto" or '
            '"cpu", or install a torch build for that device.'
        ) from error
    return device


def choose_precision(name: str, device: torch.device, *, large: bool) -> Precision:
    """The number formats of a name in `DTYPES`.

    `mixed` is the release's own: half precision on the language side, float32 elsewhere. `auto` is
    float32 for small models. For large ones it is `mixed` on a graphics card, to which the mask
    branch in float32 is little work; bfloat16 on CPUs and boards (Jetson) that compute in it, where
    it is a third of the time; `mixed` on older boards and float32 on older CPUs. `int8` computes
    as `auto` does, with the language side's weights in a byte each: see `quantize_weights`.
    `float16_weights` is what the paper's figures were made with: see `round_to_float16`.

    Args:
        large: whether half precision is worth its rounding, see `is_large`.

    Raises:
        ModelError: no such name, or a format that the device cannot compute in, or for a large
            model not in any bearable time.
    """
    if name == 'auto':
        name = _best_dtype(device) if large else 'float32'
    if name == 'int8':
        return _int8(choose_precision('auto', device, large=large))
    if name not in DTYPES:
        raise ModelError(f'dtype "{name}" is none of {", ".join(DTYPES)}.')
    if device.type == 'cpu':
        _refuse_slow(name, large=large)
    if name == 'mixed':
        return Precision(language=_half(device))
    if name == FLOAT16_WEIGHTS:
        return Precision(rounded=True)
    dtype = getattr(torch, name)
    return Precision(dtype=dtype, language=dtype)


def is_large(folder: Path) -> bool:
    """Whether a model has a gigabyte of weights or more."""
    return sum(file.stat().st_size for file in folder.glob('*.safetensors')) >= _LARGE


def onednn_has_bfloat16() -> bool:
    """Whether torch has more for bfloat16 on this CPU than loops, far slower than float32."""
    return torch.backends.mkldnn.is_available() and bool(
        torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def _refuse_slow(name: str, *, large: bool) -> None:
    if name == 'float16':
        raise ModelError(
            'float16 is computed hundreds of times slower than float32 on a CPU: use "auto", '
            '"float32" or, where the CPU has it, "bfloat16".'
        )
    if large and name in ('bfloat16', 'mixed') and not onednn_has_bfloat16():
        raise ModelError(
            f'dtype "{name}": bfloat16 is computed many times slower than float32 on this CPU: '
            'use "float32", "int8" (a smaller memory) or "auto".'
        )


def _best_dtype(device: torch.device) -> str:
    if device.type == 'cpu':
        return 'bfloat16' if _computes_bfloat16(device) else 'float32'
    return 'bfloat16' if _is_board(device) and _computes_bfloat16(device) else 'mixed'


def _int8(computed: Precision) -> Precision:
    # A product with int8 is scaled only after its sum, which is often more than float16 can hold.
    overflows = computed.language == torch.float16
    language = torch.float32 if overflows else computed.language
    return dataclasses.replace(computed, language=language, int8=True)


def _is_board(device: torch.device) -> bool:
    return device.type == 'cuda' and bool(torch.cuda.get_device_properties(device).is_integrated)


def _half(device: torch.device) -> torch.dtype:
    if device.type == 'cpu' or _computes_bfloat16(device):
        return torch.bfloat16
    return torch.float16


def _computes_bfloat16(device: torch.device) -> bool:
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
    return bool(_CPU_FEATURES & set(flags.split()))


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
            'less precise. "float32" is meant for it.',
            folder,
        )
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
