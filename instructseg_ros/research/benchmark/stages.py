"""The five stages and the choice of the mask, one after the other, each measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final, TypeVar

import torch
from torch.nn import functional

from instructseg_ros.model.configuration import InstructSegConfig
from instructseg_ros.model.mask_decoder import best_mask
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.states import Prompt
from instructseg_ros.research.benchmark.measure import Cost, measure
from instructseg_ros.research.benchmark.random_model import released_prompt

Result = TypeVar('Result')
_PICTURE: Final = (720, 1280)  # a camera's frame


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inputs:
    """Random pictures and a prompt, as `InstructSegModel.forward` takes them."""

    pixel_values: torch.Tensor
    vision_values: torch.Tensor
    reference_values: torch.Tensor | None
    prompt: Prompt


def random_inputs(config: InstructSegConfig, device: torch.device, *, references: int) -> Inputs:
    """A key frame with some reference frames; a still image without."""
    side, canvas = config.vision_config.image_size, config.mask_config.backbone_config.image_size
    frames = torch.rand(1, 1 + references, 3, side, side, device=device) * 2 - 1
    return Inputs(
        pixel_values=torch.randn(1, 3, canvas, canvas, device=device),
        vision_values=frames[:, 0],
        reference_values=frames[:, 1:] if references else None,
        prompt=released_prompt(config, references=references).to(device),
    )


class StageClock:
    """Runs stages on a device and keeps what each cost."""

    def __init__(self, device: torch.device, *, runs: int) -> None:
        self._device = device
        self._runs = runs
        self.costs: dict[str, Cost] = {}

    def __call__(self, name: str, work: Callable[[], Result]) -> Result:
        """Measure one stage and return what it gives."""
        result, self.costs[name] = measure(work, self._device, runs=self._runs)
        return result


def run_stages(model: InstructSegModel, inputs: Inputs, clock: StageClock) -> None:
    """All stages in a row, as `Segmenter` runs them."""
    prompt, earlier = inputs.prompt, inputs.reference_values
    tokens = clock('encode_frame', lambda: model.encode_frame(inputs.vision_values))
    references = None
    if earlier is not None:
        kept = clock('encode_references', lambda: model.encode_frame(earlier[0]))
        references = kept[None]
    context = clock('perceive', lambda: model.perceive(tokens, references, prompt))
    prefix = model.prefill_text(prompt)  # once for all frames
    reasoning = clock('reason', lambda: model.reason(context, prompt, prefix_cache=prefix))
    features = clock('encode_pixels', lambda: model.encode_pixels(inputs.pixel_values))
    output = clock('decode', lambda: model.decode(reasoning, features, final_only=True))
    masks = output.final.mask_logits[0, 0]
    # Random weights score all mask tokens alike. These fall slowly: about thirty masks are brought
    # to full size, as how many of a hundred a trained model would bring is not known.
    scores = torch.linspace(4, -8, len(masks), device=masks.device)
    clock('choose_mask', lambda: best_mask(masks, scores, restore))


def restore(mask_logits: torch.Tensor) -> torch.Tensor:
    """(N, h, w) logits of a square canvas at stride 4 -> (N, 720, 1280), as the processor does."""
    full = _resize(mask_logits.float(), (4 * mask_logits.shape[-2], 4 * mask_logits.shape[-1]))
    height = round(full.shape[-1] * _PICTURE[0] / _PICTURE[1])
    return _resize(full[:, :height], _PICTURE)


def _resize(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return functional.interpolate(x[None], size=size, mode='bilinear', align_corners=False)[0]
