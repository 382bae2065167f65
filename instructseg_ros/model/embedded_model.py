"""The embedded model: its configuration and its word-level tokenizer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from instructseg_ros.model.configuration import InstructSegConfig
from instructseg_ros.model.processor import InstructSegProcessor, ProcessorConfig
from instructseg_ros.model.tasks import COMPACT, SEG_TOKEN

_PAD = '[PAD]'
_UNKNOWN = '[UNK]'
SPECIAL_TOKENS: Final = (_PAD, _UNKNOWN, SEG_TOKEN)  # ids 0, 1, 2
_LETTER = r'[\p{Latin}\p{M}]'
_OTHER = r'[^\p{Latin}]'
# A word of Latin letters with inner apostrophes, a word of another script, a number, or an emoji.
_WORD: Final = '|'.join(
    [
        rf"\p{{Latin}}{_LETTER}*(?:'\p{{Latin}}{_LETTER}*)*",
        rf'[\p{{L}}&&{_OTHER}][\p{{L}}\p{{M}}\x{{200C}}\x{{200D}}&&{_OTHER}]*',
        r'\p{N}+',
        r'\p{So}[\p{So}\p{M}\x{200D}\x{1F3FB}-\x{1F3FF}]*',
    ]
)
_APOSTROPHES: Final = '[\u2018\u2019\u02bc\uff07`\u00b4]'

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
    # Computes Phi's gelu_new in one kernel.
    'hidden_act': 'gelu_pytorch_tanh',
    'partial_rotary_factor': 0.4,
    'max_position_embeddings': 640,
    'pad_token_id': None,
}


def embedded_config(vocabulary_size: int) -> InstructSegConfig:
    """Return the configuration of the embedded model for a vocabulary of this size."""
    return InstructSegConfig(**_SIZES, text_config={**_TEXT, 'vocab_size': vocabulary_size})


def processor_for(
    config: InstructSegConfig,
    words: Iterable[str],
    synonyms: Mapping[str, str] | None = None,
    look_alikes: Iterable[str] | None = None,
    *,
    trained_words: int = 0,
    object_words: int = 0,
    nouns: Iterable[str] = (),
) -> InstructSegProcessor:
    """Return the processor of an embedded model: word-level tokenizer and compact prompts.

    Args:
        config: Configuration of the model.
        words: The vocabulary, without special tokens.
        trained_words, object_words, nouns: See `ProcessorConfig`.
        synonyms: Words outside the vocabulary, each with the known word that replaces it.
        look_alikes: See `InstructSegProcessor`.
    """
    return InstructSegProcessor(
        word_tokenizer(words, synonyms),
        ProcessorConfig.from_model(
            config,
            mask_size=MASK_SIZE,
            prompts=COMPACT,
            guided_filter=True,
            stretch_levels=True,
            trained_words=trained_words,
            object_words=object_words,
            nouns=nouns,
        ),
        look_alikes,
    )


def word_tokenizer(
    words: Iterable[str], synonyms: Mapping[str, str] | None = None
) -> PreTrainedTokenizerFast:
    """Build a tokenizer whose tokens are whole, lower-case words.

    Each word, number or emoji outside the vocabulary becomes one `[UNK]`. Punctuation and quotation
    marks around a word are dropped.

    Args:
        words: The vocabulary, without special tokens.
        synonyms: Words outside the vocabulary, each with the known word that replaces it.
    """
    vocabulary = {word: index for index, word in enumerate([*SPECIAL_TOKENS, *words])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=_UNKNOWN))
    replacements = [_replacement(word, known) for word, known in (synonyms or {}).items()]
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Replace(Regex(_APOSTROPHES), "'"), *replacements]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORD), behavior='removed', invert=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=_PAD,
        unk_token=_UNKNOWN,
        additional_special_tokens=[SEG_TOKEN],
    )


def _replacement(word: str, known: str) -> normalizers.Replace:
    # An apostrophe without a following letter is a quotation mark.
    alone = rf"(?<!{_LETTER})(?<!{_LETTER}'){word}(?!'?{_LETTER})"
    return normalizers.Replace(Regex(alone), known)
