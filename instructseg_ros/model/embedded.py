"""The embedded model's shape: InstructSeg small enough to learn a tabletop and run on a CPU."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from instructseg_ros.model.configuration import InstructSegConfig
from instructseg_ros.model.processor import InstructSegProcessor, ProcessorConfig
from instructseg_ros.model.prompts import COMPACT
from instructseg_ros.model.tokenization import word_tokenizer

MASK_SIZE: Final = (240, 320)

_SIZES: Final[dict[str, Any]] = {
    'vision_config': {
        'hidden_size': 128,
        'intermediate_size': 256,
        'num_hidden_layers': 6,
        'num_attention_heads': 4,
        'image_size': 256,
        'patch_size': 16,
        'vision_use_head': False,
    },
    'mask_config': {
        'backbone_config': {
            'model_type': 'resnet',
            'embedding_size': 32,
            'hidden_sizes': [32, 64, 128, 160],
            'depths': [1, 2, 2, 1],
            'layer_type': 'basic',
            'out_features': ['stage1', 'stage2', 'stage3', 'stage4'],
        },
        'feature_size': 64,
        'mask_feature_size': 24,
        'mask_upsampling': 2,
        'mask_detail_width': 32,
        'hidden_dim': 64,
        'encoder_layers': 1,
        'encoder_feedforward_dim': 128,
        'decoder_layers': 4,
        'dim_feedforward': 128,
        'num_attention_heads': 4,
        'num_queries': 8,
    },
    'perceiver_layers': 3,
    'perceiver_heads': 4,
    'fusion_width': 64,
    'fusion_layers': 1,
    'fusion_heads': 4,
    'fusion_head_dim': 16,
    'reference_frames': 2,
    'reference_stride': 0.2,
    'max_reference_stride': 0.2,
    'stem_channels': (32, 64, 128),
    'projector_norm': True,
    'motion_perceiver': True,
    'bidirectional_image': True,
    'pointer': True,
}
_TEXT: Final[dict[str, Any]] = {
    'hidden_size': 128,
    'intermediate_size': 256,
    'num_hidden_layers': 4,
    'num_attention_heads': 4,
    # The same function as Phi's own gelu_new, in one kernel.
    'hidden_act': 'gelu_pytorch_tanh',
    'partial_rotary_factor': 0.4,
    'max_position_embeddings': 640,
    'pad_token_id': None,
}


def embedded_config(vocabulary_size: int) -> InstructSegConfig:
    """Configuration of the embedded model for a tokenizer of `vocabulary_size` words."""
    return InstructSegConfig(**_SIZES, text_config={**_TEXT, 'vocab_size': vocabulary_size})


def processor_for(
    config: InstructSegConfig, words: Iterable[str], synonyms: Mapping[str, str] | None = None
) -> InstructSegProcessor:
    """Processor with a word-level tokenizer and compact prompts for an embedded model."""
    return InstructSegProcessor(
        word_tokenizer(words, synonyms),
        ProcessorConfig.of_model(
            config, mask_size=MASK_SIZE, prompts=COMPACT, guided_filter=True
        ),
    )
