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
_LETTERS = "a-z'"


def word_tokenizer(
    words: Iterable[str], synonyms: Mapping[str, str] | None = None
) -> PreTrainedTokenizerFast:
    """Tokenizer whose tokens are whole words: letters and apostrophes, lower-cased.

    Everything between words is dropped; words outside the list become `[UNK]`.

    Args:
        synonyms: words outside the list that are read as words of it.
    """
    vocabulary = {word: index for index, word in enumerate([*SPECIAL_TOKENS, *words])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=_UNKNOWN))
    read_as = [_reading(word, known) for word, known in (synonyms or {}).items()]
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *read_as])
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(f'[^{_LETTERS}]+'), behavior='removed')
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=_PAD,
        unk_token=_UNKNOWN,
        additional_special_tokens=[SEG_TOKEN],
    )


def _reading(word: str, known: str) -> normalizers.Replace:
    return normalizers.Replace(Regex(f'(?<![{_LETTERS}]){word}(?![{_LETTERS}])'), known)
