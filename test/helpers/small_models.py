"""InstructSeg in both of its layouts at toy sizes, with random weights, and what to feed it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from instructseg_ros.model.configuration import InstructSegConfig
from instructseg_ros.model.embedded_model import word_tokenizer
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.processor import InstructSegProcessor, ProcessorConfig
from instructseg_ros.model.stage_outputs import Prompt
from instructseg_ros.model.tasks import COMPACT, RELEASED

WORDS = (
    *('all', 'ball', 'blue', 'is', 'left', 'mug', 'of'),
    *('reasoning', 'red', 'referring', 'the', 'where'),
)
VOCABULARY = len(WORDS) + 3  # with padding, unknown and [SEG]

_TEXT: dict[str, Any] = {
    'vocab_size': VOCABULARY,
    'hidden_size': 40,
    'intermediate_size': 64,
    'num_hidden_layers': 2,
    'num_attention_heads': 2,
    'partial_rotary_factor': 0.4,
    'max_position_embeddings': 512,
    'pad_token_id': None,
}
_FUSION: dict[str, Any] = {
    'fusion_width': 24,
    'fusion_layers': 2,
    'fusion_heads': 2,
    'fusion_head_dim': 8,
}
_MASKS: dict[str, Any] = {
    'feature_size': 32,
    'hidden_dim': 32,
    'encoder_layers': 1,
    'encoder_feedforward_dim': 32,
    'decoder_layers': 4,
    'dim_feedforward': 32,
    'num_attention_heads': 4,
    'num_queries': 8,
}


def compact_config() -> InstructSegConfig:
    """The embedded model's layout: every option for small models switched on."""
    resnet = {
        'model_type': 'resnet',
        'embedding_size': 8,
        'hidden_sizes': [8, 8, 16, 16],
        'depths': [1, 1, 1, 1],
        'layer_type': 'basic',
        'out_features': ['stage1', 'stage2', 'stage3', 'stage4'],
    }
    masks = {
        'backbone_config': resnet,
        'mask_feature_size': 8,
        'mask_upsampling': 2,
        'mask_detail_width': 4,
    }
    return InstructSegConfig(
        vision_config=_vision(image_size=64, patch_size=16),
        text_config=_TEXT,
        mask_config={**_MASKS, **masks},
        perceiver_layers=1,
        perceiver_heads=4,
        reference_frames=2,
        stem_channels=(4, 4, 8),
        projector_norm=True,
        motion_perceiver=True,
        bidirectional_image=True,
        pointer=True,
        **_FUSION,
    )


def released_config() -> InstructSegConfig:
    """The released model's layout: every option for small models switched off."""
    swin = {
        'model_type': 'swin',
        'image_size': 128,
        'embed_dim': 8,
        'depths': [1, 1, 2, 1],
        'num_heads': [1, 2, 2, 4],
        'window_size': 4,
        'out_features': ['stage1', 'stage2', 'stage3', 'stage4'],
    }
    return InstructSegConfig(
        # 60 is no multiple of 14, as 384 is none: the last rows and columns are not seen.
        vision_config=_vision(image_size=60, patch_size=14),
        text_config=_TEXT,
        mask_config={**_MASKS, 'backbone_config': swin, 'mask_feature_size': 16},
        num_latents=3,
        perceiver_layers=2,
        perceiver_heads=2,
        perceiver_head_dim=8,
        reference_frames=4,
        **_FUSION,
    )


def processor_of(
    config: InstructSegConfig,
    *,
    mask_size: tuple[int, int],
    compact: bool,
    words: Sequence[str] = WORDS,
) -> InstructSegProcessor:
    """A processor for a configuration."""
    return InstructSegProcessor(
        word_tokenizer(words),
        ProcessorConfig.from_model(
            config,
            mask_size=mask_size,
            prompts=COMPACT if compact else RELEASED,
            guided_filter=compact,
        ),
    )


@torch.no_grad()
def scramble(module: nn.Module, seed: int = 0) -> None:
    """Move every parameter off its start value, so that none goes unnoticed."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.15)


@dataclass(frozen=True, kw_only=True)
class SmallModel:
    """A model in evaluation mode with its processor."""

    model: InstructSegModel
    processor: InstructSegProcessor

    def prompt(self, *instructions: str, frames: int = 1, references: int = 0) -> Prompt:
        """The same instructions on each of some frames."""
        return self.processor.prompt([instructions] * frames, reference_frames=references)

    def inputs(self, *, frames: int = 1, references: int = 0) -> dict[str, torch.Tensor]:
        """Random pictures as `forward` takes them."""
        generator = torch.Generator().manual_seed(frames + 10 * references)
        side = self.processor.config.vision_size
        height, width = self.processor.config.mask_size
        pictures = {
            'pixel_values': torch.randn(frames, 3, height, width, generator=generator),
            'vision_values': torch.rand(frames, 3, side, side, generator=generator) * 2 - 1,
        }
        if references:
            shape = (frames, references, 3, side, side)
            pictures['reference_values'] = torch.rand(shape, generator=generator) * 2 - 1
        return pictures


def compact_model() -> SmallModel:
    """The embedded model's layout."""
    config = compact_config()
    # With other seeds some answers hang on the last bits.
    return _small(config, processor_of(config, mask_size=(64, 96), compact=True), seed=3)


def released_model() -> SmallModel:
    """The released model's layout."""
    config = released_config()
    return _small(config, processor_of(config, mask_size=(128, 128), compact=False), seed=0)


def _small(config: InstructSegConfig, processor: InstructSegProcessor, *, seed: int) -> SmallModel:
    torch.manual_seed(0)
    model = InstructSegModel(config).eval()
    scramble(model, seed)
    return SmallModel(model=model, processor=processor)


def _vision(*, image_size: int, patch_size: int) -> dict[str, Any]:
    return {
        'hidden_size': 16,
        'intermediate_size': 32,
        'num_hidden_layers': 2,
        'num_attention_heads': 2,
        'image_size': image_size,
        'patch_size': patch_size,
        'vision_use_head': False,
    }
