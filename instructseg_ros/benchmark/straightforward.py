"""The model as its parts come: what the faster paths are measured against."""

from __future__ import annotations

import copy
import dataclasses

import torch
from torch import nn
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention,
)

from instructseg_ros.benchmark.stages import Inputs, restore
from instructseg_ros.model.configuration import InstructSegConfig
from instructseg_ros.model.deformable_attention import DeformableAttention
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.selection import mask_quality


def straightforward_configuration(config: InstructSegConfig) -> InstructSegConfig:
    """Phi with its own activation function, which is the same in several kernels."""
    config.text_config.hidden_act = 'gelu_new'
    return config


def make_straightforward(model: InstructSegModel) -> None:
    """Give the pixel decoder transformers' own sampling back, and SigLIP its last layer."""
    unread = copy.deepcopy(model.vision_tower.encoder.layers[-1])

    def run_unread(_: nn.Module, __: object, features: torch.Tensor) -> None:
        unread(features, None)

    model.vision_tower.register_forward_hook(run_unread)
    for module in model.modules():
        if isinstance(module, DeformableAttention):
            module.__class__ = Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention


def straightforward_pass(model: InstructSegModel, inputs: Inputs) -> torch.Tensor:
    """A still image as in the authors' evaluation: (height, width) bool mask.

    The picture is encoded once as key frame and once as its own reference, the last layer runs for
    all states, every layer's masks are made, and all masks are brought to the picture's size.
    """
    prompt = dataclasses.replace(inputs.prompt, read_from=0)
    tokens = model.encode_frame(inputs.vision_values)
    references = model.encode_frame(inputs.vision_values)[:, None]
    reasoning = model.reason(model.perceive(tokens, references, prompt), prompt)
    answer = model.decode(reasoning, model.encode_pixels(inputs.pixel_values)).final
    masks = restore(answer.mask_logits[0, 0])
    scores = answer.score_logits[0, 0].sigmoid() * mask_quality(masks)
    return masks[scores.argmax()] > 0
