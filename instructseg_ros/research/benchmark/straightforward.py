"""The model as its parts come, and the authors' procedure: what the faster paths are beside."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerPixelDecoder,
    Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention,
)
from transformers.models.swin.modeling_swin import SwinBackbone, SwinLayer

from instructseg_ros.model.configuration import InstructSegConfig
from instructseg_ros.model.deformable_attention import DeformableAttention
from instructseg_ros.model.mask_decoder import mask_quality
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.pixel_branch import PixelDecoder
from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.model.states import InstructSegOutput, Prompt
from instructseg_ros.model.swin import FastSwinBackbone, WindowLayer
from instructseg_ros.research.benchmark.stages import Inputs, restore

# Transformers' own parts in the place of the faster ones that are made of them.
_PLAIN = {
    DeformableAttention: Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention,
    FastSwinBackbone: SwinBackbone,
    PixelDecoder: Mask2FormerPixelDecoder,
    WindowLayer: SwinLayer,
}


def straightforward_configuration(config: InstructSegConfig) -> InstructSegConfig:
    """Phi with its own activation function, which is the same in several kernels."""
    config.text_config.hidden_act = 'gelu_new'
    return config


def make_straightforward(model: InstructSegModel) -> None:
    """Give the pixel branch transformers' own layers back, and SigLIP its last one."""
    unread = copy.deepcopy(model.vision_tower.encoder.layers[-1])

    def run_unread(_: nn.Module, __: object, features: torch.Tensor) -> None:
        unread(features, None)

    model.vision_tower.register_forward_hook(run_unread)
    for module in model.modules():
        module.__class__ = _PLAIN.get(type(module), type(module))


def straightforward_pass(model: InstructSegModel, inputs: Inputs) -> torch.Tensor:
    """A still image as in the authors' evaluation: (height, width) bool mask.

    The picture is encoded once as key frame and once as its own reference, the last layer runs for
    all states, every layer's masks are made, and all masks are brought to the picture's size.
    """
    tokens = model.encode_frame(inputs.vision_values)
    references = model.encode_frame(inputs.vision_values)[:, None]
    answer = _answer(model, tokens, references, inputs.prompt, inputs.pixel_values).final
    logits, _ = _best(restore(answer.mask_logits[0, 0]), answer.score_logits[0, 0])
    return logits > 0


@torch.inference_mode()
def straightforward_frame(
    model: InstructSegModel,
    processor: InstructSegProcessor,
    images: Sequence[np.ndarray],
    instruction: str,
) -> tuple[np.ndarray, float]:
    """The authors' procedure for one expression on one frame of a video.

    Every frame is encoded by itself, and everything is computed for this expression alone.

    Args:
        images: the reference frames, oldest first, and the key frame: (H, W, 3) uint8 RGB.

    Returns:
        (H, W) bool mask and its score.
    """
    device = model.device
    encoded = [
        model.encode_frame(processor.vision_values(image)[None].to(device)) for image in images
    ]
    *earlier, tokens = encoded
    references = torch.stack(earlier, dim=1) if earlier else None
    prompt = processor.prompt([[instruction]], reference_frames=len(earlier)).to(device)
    pixels = processor.pixel_values(images[-1])[None].to(device)
    answer = _answer(model, tokens, references, prompt, pixels).final
    masks = answer.mask_logits[0, 0]
    restored = processor.restore_masks(masks, *images[-1].shape[:2])
    logits, score = _best(restored, answer.score_logits[0, 0])
    sharp = processor.sharpen_mask(logits, images[-1], masks.shape[-2:])
    return (sharp > 0).cpu().numpy(), score


def _answer(
    model: InstructSegModel,
    tokens: torch.Tensor,
    references: torch.Tensor | None,
    prompt: Prompt,
    pixels: torch.Tensor,
) -> InstructSegOutput:
    context = model.perceive(tokens, references, prompt)
    if not prompt.prefix_length:
        prompt = dataclasses.replace(prompt, read_from=0)  # the whole last layer
    return model.decode(model.reason(context, prompt), model.encode_pixels(pixels))


def _best(masks: torch.Tensor, score_logits: torch.Tensor) -> tuple[torch.Tensor, float]:
    scores = score_logits.sigmoid() * mask_quality(masks)
    best = int(scores.argmax())
    return masks[best], float(scores[best])
