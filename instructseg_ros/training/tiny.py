"""A tiny model in the released layout, to try a training on: every part of it, untaught."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from instructseg_ros.model.checkpoints import HEAD, HEAD_FILE, quiet
from instructseg_ros.model.configuration import InstructSegConfig
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.processor import InstructSegProcessor, ProcessorConfig
from instructseg_ros.model.prompts import CHAT, EXPLAIN, RELEASED, SEG_TOKEN

_END: Final = '<|endoftext|>'
_CANVAS: Final = (128, 128)
_WIDTH: Final = 64
_VISION: Final = {
    'hidden_size': 32, 'intermediate_size': 64, 'num_hidden_layers': 2, 'num_attention_heads': 2,
    'image_size': 84, 'patch_size': 14, 'vision_use_head': False,
}  # fmt: skip
_TEXT: Final = {
    'hidden_size': _WIDTH, 'intermediate_size': 128, 'num_hidden_layers': 2,
    'num_attention_heads': 4, 'partial_rotary_factor': 0.4, 'max_position_embeddings': 1024,
    'pad_token_id': None,
}  # fmt: skip
_SWIN: Final = {
    'model_type': 'swin', 'image_size': 128, 'embed_dim': 16, 'depths': [1, 1, 2, 1],
    'num_heads': [1, 2, 2, 4], 'window_size': 4, 'drop_path_rate': 0.1,
    'out_features': ['stage1', 'stage2', 'stage3', 'stage4'],
}  # fmt: skip
_MASKS: Final = {
    'backbone_config': _SWIN, 'feature_size': 64, 'mask_feature_size': 32, 'hidden_dim': 64,
    'encoder_layers': 1, 'encoder_feedforward_dim': 64, 'decoder_layers': 4,
    'dim_feedforward': 128, 'num_attention_heads': 4, 'num_queries': 4,
}  # fmt: skip


def write_tiny_model(folder: Path, texts: Iterable[str], *, seed: int = 0) -> None:
    """Write a model with random weights, its head for text, and its processor.

    Args:
        texts: that the tokenizer learns its tokens from.
    """
    tokenizer = _tokenizer([*texts, *RELEASED.values(), CHAT, EXPLAIN])
    config = _config(len(tokenizer))
    torch.manual_seed(seed)
    model = InstructSegModel(config)
    # As from a pretrained start: the authors' zeros would make all mask tokens alike.
    torch.nn.init.normal_(model.seg_query, std=0.02)
    with quiet():
        model.save_pretrained(folder)
    sizes = ProcessorConfig.of_model(config, mask_size=_CANVAS, prompts=RELEASED)
    InstructSegProcessor(tokenizer, sizes).save_pretrained(folder)
    save_file({HEAD: torch.randn(len(tokenizer), _WIDTH) * 0.02}, folder / HEAD_FILE)


def _config(words: int) -> InstructSegConfig:
    text: dict[str, Any] = {**_TEXT, 'vocab_size': words}
    return InstructSegConfig(
        vision_config=dict(_VISION),
        text_config=text,
        mask_config=dict(_MASKS),
        num_latents=8,
        perceiver_layers=2,
        perceiver_heads=2,
        perceiver_head_dim=16,
        fusion_width=32,
        fusion_layers=2,
        fusion_heads=2,
        fusion_head_dim=16,
    )


def _tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE, as Phi's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=[_END, SEG_TOKEN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=_END, bos_token=_END, unk_token=_END, pad_token=_END
    )
