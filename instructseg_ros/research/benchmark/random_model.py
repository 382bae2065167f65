"""Models and inputs with random values, which run as fast as real ones."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import torch
from torch.nn import functional

from instructseg_ros.model.configuration import InstructSegConfig
from instructseg_ros.model.model_files import ModelError
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.precision import Precision, quantize_weights
from instructseg_ros.model.stage_outputs import Prompt
from instructseg_ros.model.tasks import IMAGE_ID, SEG_ID, TEMPORAL_ID

# A tenth of the released model's parameters, but as many tokens, mask tokens and canvas pixels.
_MEDIUM: Final[dict[str, Any]] = {
    'vision_config': {
        'hidden_size': 768,
        'intermediate_size': 3072,
        'num_hidden_layers': 12,
        'num_attention_heads': 12,
        'image_size': 384,
        'patch_size': 14,
        'vision_use_head': False,
    },
    'text_config': {
        'vocab_size': 50296,
        'hidden_size': 1024,
        'intermediate_size': 4096,
        'num_hidden_layers': 11,
        'num_attention_heads': 16,
        'partial_rotary_factor': 0.5,
        'hidden_act': 'gelu_pytorch_tanh',
        'pad_token_id': None,
    },
    'mask_config': {
        'backbone_config': {
            'model_type': 'swin',
            'image_size': 1024,
            'embed_dim': 64,
            'depths': [2, 2, 6, 2],
            'num_heads': [2, 4, 8, 16],
            'window_size': 12,
            'out_features': ['stage1', 'stage2', 'stage3', 'stage4'],
        },
        'feature_size': 128,
        'mask_feature_size': 128,
        'hidden_dim': 128,
        'encoder_feedforward_dim': 512,
        'dim_feedforward': 1024,
        'num_attention_heads': 4,
    },
    'fusion_width': 512,
}
_TINY: Final[dict[str, Any]] = {
    'vision_config': {
        'hidden_size': 32,
        'intermediate_size': 64,
        'num_hidden_layers': 2,
        'num_attention_heads': 2,
        'image_size': 56,
        'patch_size': 14,
        'vision_use_head': False,
    },
    'text_config': {
        'vocab_size': 64,
        'hidden_size': 64,
        'intermediate_size': 128,
        'num_hidden_layers': 2,
        'num_attention_heads': 2,
        'partial_rotary_factor': 0.4,
        'pad_token_id': None,
        'hidden_act': 'gelu_pytorch_tanh',
    },
    'mask_config': {
        'backbone_config': {
            'model_type': 'swin',
            'image_size': 128,
            'embed_dim': 16,
            'depths': [1, 1, 1, 1],
            'num_heads': [1, 2, 2, 4],
            'window_size': 4,
            'out_features': ['stage1', 'stage2', 'stage3', 'stage4'],
        },
        'feature_size': 32,
        'mask_feature_size': 32,
        'hidden_dim': 32,
        'encoder_layers': 1,
        'encoder_feedforward_dim': 32,
        'decoder_layers': 4,
        'dim_feedforward': 32,
        'num_attention_heads': 4,
        'num_queries': 10,
    },
    'num_latents': 4,
    'fusion_width': 32,
}
_SIZES: Final[dict[str, dict[str, Any]]] = {'full': {}, 'medium': _MEDIUM, 'tiny': _TINY}
SIZES: Final = tuple(_SIZES)
# Numbers of tokens in the fixed texts of the released prompts: before the reference tokens,
# between image and instruction, after the instruction.
_STILL_TEXT: Final = (36, 16, 15)
_VIDEO_TEXT: Final = (39, 23, 16)
_INSTRUCTION: Final = 6
_IMAGE_SIZE: Final = (720, 1280)  # height and width of a camera image, pixels


def configuration(size: str) -> InstructSegConfig:
    """Return the configuration of the released model or of a smaller one of the same layout.

    Args:
        size: `full` for the released size, `medium` for about 300 M parameters, or `tiny` for
            quick trials.
    """
    return InstructSegConfig(**_SIZES[size])


def random_model(
    config: InstructSegConfig, precision: Precision, device: torch.device
) -> InstructSegModel:
    """Build a model in its final precision, so that its memory is allocated only once.

    Args:
        config: Its configuration.
        precision: Its number formats.
        device: Where to allocate it.

    Raises:
        ModelError: Rounded weights are requested, which change neither speed nor memory.
    """
    if precision.rounded:
        raise ModelError(
            'random weights are not rounded: "float16_weights" is as fast as "float32", so '
            'measure that instead.'
        )
    config.language_dtype = str(precision.language).removeprefix('torch.')
    before = torch.get_default_dtype()
    torch.set_default_dtype(precision.dtype)
    try:
        with torch.device('meta'):
            model = InstructSegModel(config)
    finally:
        torch.set_default_dtype(before)
    model.to_empty(device=device)
    model.initialize_weights()
    if precision.int8:
        quantize_weights(model)
    return model.eval().requires_grad_(False)


def released_prompt(config: InstructSegConfig, *, references: int = 0) -> Prompt:
    """Return a prompt of the released layout for an instruction of five tokens and [SEG]."""
    lead, middle, tail = _VIDEO_TEXT if references else _STILL_TEXT
    pieces = (
        (0, lead),
        (TEMPORAL_ID, config.num_latents * max(1, references)),
        (0, 1),
        (IMAGE_ID, config.image_tokens),
        (0, middle + _INSTRUCTION + tail),
        (SEG_ID, config.num_queries),
    )
    ids = torch.tensor([token for token, count in pieces for _ in range(count)])
    read_from = len(ids) - config.num_queries - tail - _INSTRUCTION
    place = torch.arange(len(ids))
    refer = (place >= read_from) & (place < read_from + _INSTRUCTION)
    return Prompt(
        input_ids=ids[None, None],
        refer_mask=refer[None, None],
        prefix_length=0,
        read_from=read_from,
        refer_stop=read_from + _INSTRUCTION,
        start_ids=tuple(ids[: ids.tolist().index(IMAGE_ID)].tolist()),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inputs:
    """Random images and a prompt, as arguments of `InstructSegModel.forward`."""

    pixel_values: torch.Tensor
    vision_values: torch.Tensor
    reference_values: torch.Tensor | None
    prompt: Prompt


def random_inputs(config: InstructSegConfig, device: torch.device, *, references: int) -> Inputs:
    """Return random inputs: a key frame with some reference frames, or a still image."""
    side, canvas = config.vision_config.image_size, config.mask_config.backbone_config.image_size
    frames = torch.rand(1, 1 + references, 3, side, side, device=device) * 2 - 1
    return Inputs(
        pixel_values=torch.randn(1, 3, canvas, canvas, device=device),
        vision_values=frames[:, 0],
        reference_values=frames[:, 1:] if references else None,
        prompt=released_prompt(config, references=references).to(device),
    )


def restore(mask_logits: torch.Tensor) -> torch.Tensor:
    """Resize (N, h, w) logits of a square canvas at stride 4 to the image: (N, 720, 1280)."""
    full = _resize(mask_logits.float(), (4 * mask_logits.shape[-2], 4 * mask_logits.shape[-1]))
    height = round(full.shape[-1] * _IMAGE_SIZE[0] / _IMAGE_SIZE[1])
    return _resize(full[:, :height], _IMAGE_SIZE)


def _resize(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return functional.interpolate(x[None], size=size, mode='bilinear', align_corners=False)[0]
