"""A word-level tokenizer for models that are trained on a closed grammar."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from instructseg_ros.model.prompts import SEG_TOKEN

_PAD = '[PAD]'
_UNKNOWN = '[UNK]'
SPECIAL_TOKENS: Final = (_PAD, _UNKNOWN, SEG_TOKEN)  # before the words, in this order
_LETTER = r'[\p{Latin}\p{M}]'
_OTHER = r'[^\p{Latin}]'
#: A word of Latin letters, apostrophes inside; of another script; a number; an emoji.
_WORD: Final = '|'.join([
    rf"\p{{Latin}}{_LETTER}*(?:'\p{{Latin}}{_LETTER}*)*",
    rf'[\p{{L}}&&{_OTHER}][\p{{L}}\p{{M}}\x{{200C}}\x{{200D}}&&{_OTHER}]*',
    r'\p{N}+',
    r'\p{So}[\p{So}\p{M}\x{200D}\x{1F3FB}-\x{1F3FF}]*',
])  # fmt: skip
_APOSTROPHES: Final = '[\u2018\u2019\u02bc\uff07`\u00b4]'


def word_tokenizer(
    words: Iterable[str], synonyms: Mapping[str, str] | None = None
) -> PreTrainedTokenizerFast:
    """Tokenizer whose tokens are whole words, lower-cased, of letters and apostrophes inside.

    Words outside the list, also of other scripts, numbers and emoji, become `[UNK]` one by one.
    Punctuation is dropped, and so are quotation marks of any kind around a word.

    Args:
        synonyms: words outside the list that are read as words of it.
    """
    vocabulary = {word: index for index, word in enumerate([*SPECIAL_TOKENS, *words])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=_UNKNOWN))
    read_as = [_reading(word, known) for word, known in (synonyms or {}).items()]
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.Replace(Regex(_APOSTROPHES), "'"), *read_as]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORD), behavior='removed', invert=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=_PAD,
        unk_token=_UNKNOWN,
        additional_special_tokens=[SEG_TOKEN],
    )


def _reading(word: str, known: str) -> normalizers.Replace:
    # An apostrophe without a letter behind it is a quotation mark.
    alone = rf"(?<!{_LETTER})(?<!{_LETTER}'){word}(?!'?{_LETTER})"
    return normalizers.Replace(Regex(alone), known)
