"""Runs the encoders of frames with OpenVINO: about twice as fast as torch on x86 processors."""

from __future__ import annotations

import functools
import warnings
from typing import Any, Final

import torch
from torch import nn

from instructseg_ros.model import RUNTIMES
from instructseg_ros.model.configuration import InstructSegConfig
from instructseg_ros.model.model_files import ModelError, first_line
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.pixel_branch import PixelBranch, PixelFeatures
from instructseg_ros.model.precision import Precision
from instructseg_ros.model.stage_outputs import ImagePrefix

_SHAPES: Final = 8  # input shapes whose compiled stages are kept


def uses_openvino(
    runtime: str,
    device: torch.device,
    precision: Precision,
    config: InstructSegConfig,
    *,
    compiled: bool = False,
) -> bool:
    """Return whether OpenVINO runs what depends only on images.

    With `auto`, it does if it is installed and the model has the embedded layout, is in float32 on
    a CPU, and is not compiled.

    Args:
        runtime: One of `RUNTIMES`.
        device: Where the model runs.
        precision: Its number formats.
        config: Its configuration.
        compiled: Whether torch compiles the model.

    Raises:
        ModelError: The runtime is unknown, or it is OpenVINO, which is missing or cannot run this
            model.
    """
    if runtime not in RUNTIMES:
        raise ModelError(f'runtime "{runtime}" is not one of {", ".join(RUNTIMES)}.')
    fits = (
        device.type == 'cpu'
        and precision == Precision()
        and config.motion_perceiver
        and not compiled
    )
    if runtime == 'torch' or (runtime == 'auto' and not fits):
        return False
    if not fits:
        raise ModelError(
            'the runtime "openvino" runs only models of the embedded layout, in float32 on a CPU '
            'and not compiled: use the runtime "auto".'
        )
    try:
        import openvino  # noqa: F401
    except ImportError as error:
        if runtime == 'auto':
            return False
        raise ModelError(
            f'the runtime "openvino" is not available ({first_line(error)}): '
            'pip install openvino, or use the runtime "torch".'
        ) from error
    return True


_claimed: int | None = None


def claim_threads() -> int:
    """Leave torch one thread, and return the number that it had before.

    Idle threads of torch spin: with two threads each, OpenVINO is no faster than torch alone.
    """
    global _claimed
    count = torch.get_num_threads()
    if count > 1 or _claimed is None:
        _claimed = count
        torch.set_num_threads(1)
    return _claimed


class OpenVinoStages:
    """The stages of a model that depend only on images, converted anew for each input shape.

    A conversion takes half a second and 60 MB.

    Args:
        model: The model, in float32 on the CPU, with a motion perceiver.
        threads: Number of CPU threads.
        bfloat16: Whether to compute in bfloat16; otherwise, results equal those of torch up to
            rounding in float32.
    """

    def __init__(self, model: InstructSegModel, threads: int, *, bfloat16: bool = False) -> None:
        settings = {
            'PERFORMANCE_HINT': 'LATENCY',
            'INFERENCE_PRECISION_HINT': 'bf16' if bfloat16 else 'f32',
            'INFERENCE_NUM_THREADS': threads,
        }
        self._frame = _Stage(nn.Sequential(model.vision_tower, model.projector), settings)
        self._pixels = _Stage(_FlatPixelBranch(model.pixel_branch), settings)
        self._image = _Stage(_ImageReader(model), settings)
        self._model = model

    def encode_frame(self, vision_values: torch.Tensor) -> torch.Tensor:
        """See `InstructSegModel.encode_frame`."""
        [tokens] = self._frame(vision_values)
        return tokens

    def encode_pixels(self, pixel_values: torch.Tensor) -> PixelFeatures:
        """See `InstructSegModel.encode_pixels`."""
        coarse, mask_features, *levels = self._pixels(pixel_values)
        return PixelFeatures(coarse=coarse, mask_features=mask_features, levels=tuple(levels))

    def read_image(
        self, tokens: torch.Tensor, references: torch.Tensor | None
    ) -> tuple[torch.Tensor, ImagePrefix]:
        """See `ReadImage`."""
        frames = self._model.motion_references(tokens, references)
        image_tokens, cells, *states = self._image(tokens, frames)
        pairs = tuple(zip(states[::2], states[1::2], strict=True))
        return image_tokens, ImagePrefix(layers=(cells,), states=pairs)


class _Stage:
    """A module run by OpenVINO."""

    def __init__(self, module: nn.Module, settings: dict[str, Any]) -> None:
        self._module = module.eval()
        self._settings = settings
        self._request_for = functools.lru_cache(maxsize=_SHAPES)(self._compile)

    def __call__(self, *inputs: torch.Tensor) -> list[torch.Tensor]:
        """Run the module, and return its outputs."""
        request = self._request_for(tuple(tuple(each.shape) for each in inputs))
        outputs = request.infer([each.contiguous().numpy() for each in inputs], share_inputs=True)
        return [torch.from_numpy(outputs[index]) for index in range(len(outputs))]

    def _compile(self, shapes: tuple[tuple[int, ...], ...]) -> Any:
        """Return an OpenVINO request for inputs of these shapes."""
        import openvino
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

        # `openvino.convert_model` calls openvino-telemetry, and takes several times as long.
        frontend = FrontEndManager().load_by_framework('pytorch')
        decoder = TorchScriptPythonDecoder(self._traced(shapes))
        model = frontend.convert(frontend.load(decoder))
        for values, shape in zip(model.inputs, shapes, strict=True):
            values.get_node().set_element_type(openvino.Type.f32)
            values.get_node().set_partial_shape(openvino.PartialShape(list(shape)))
        model.validate_nodes_and_infer_types()
        request = openvino.Core().compile_model(model, 'CPU', self._settings).create_infer_request()
        _forget_traces()
        return request

    def _traced(self, shapes: tuple[tuple[int, ...], ...]) -> torch.jit.ScriptModule:
        examples = tuple(torch.zeros(shape) for shape in shapes)
        with torch.no_grad(), warnings.catch_warnings():
            # Sizes become constants, and OpenVINO still needs what torch calls deprecated.
            warnings.simplefilter('ignore')
            return torch.jit.freeze(torch.jit.trace(self._module, examples, check_trace=False))


def _forget_traces() -> None:
    """Release the classes of traced modules, which torch would keep with all weights for ever."""
    torch.jit._state._clear_class_state()
    torch.jit._recursive.concrete_type_store = torch.jit._recursive.ConcreteTypeStore()
    torch._C._jit_clear_class_registry()


class _FlatPixelBranch(nn.Module):
    """The pixel branch with a tuple as its result, which torch can trace."""

    def __init__(self, branch: PixelBranch) -> None:
        super().__init__()
        self._branch = branch

    def forward(self, values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features = self._branch(values)
        return features.coarse, features.mask_features, *features.levels


class _ImageReader(nn.Module):
    """Motion perceiver, and the language model over image tokens, as OpenVINO can convert them."""

    def __init__(self, model: InstructSegModel) -> None:
        super().__init__()
        self._perceiver = model.perceiver
        self._fusion = model.image_token_fusion
        self._language_model = model.language_model
        self._causal = not model.config.bidirectional_image

    def forward(self, tokens: torch.Tensor, references: torch.Tensor) -> tuple[torch.Tensor, ...]:
        image = self._fusion(tokens, self._perceiver(tokens, references))
        cache = _KeptStates()
        layers = self._language_model.prefill(image, cache, causal=self._causal)
        return image, layers[-1], *cache.states


class _KeptStates:
    """Takes the place of a `DynamicCache` that is empty, whose operations cannot be converted."""

    def __init__(self) -> None:
        self.states: list[torch.Tensor] = []

    def get_seq_length(self, *_: Any) -> int:
        return 0

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.states += [keys, values]
        return keys, values
