"""The released checkpoint's tokenizer, built from GPT-2's merges."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

END = '<|endoftext|>'
SEG = '[SEG]'
END_ID, SEG_ID = 50256, 50295

_MERGES = Path(__file__).resolve().parents[1] / 'data' / 'gpt2' / 'merges.txt'
# CodeGen's, longest first: 50257..50286 and 50287..50294.
_SPACES = tuple(' ' * length for length in range(31, 1, -1))
_TABS = tuple('\t' * length for length in range(9, 1, -1))
_BYTE_LEVEL = {'type': 'ByteLevel', 'add_prefix_space': False, 'trim_offsets': True}


def write_tokenizer(folder: Path) -> Path:
    """Write the tokenizer's six files, as they lie in the release."""
    merges = _MERGES.read_text(encoding='utf-8').splitlines()[1:]  # the first line is a version
    vocabulary = _vocabulary(merges)
    shutil.copyfile(_MERGES, folder / 'merges.txt')
    _write(folder / 'vocab.json', vocabulary)
    _write(folder / 'added_tokens.json', {text: index for index, text in _added().items()})
    _write(folder / 'tokenizer.json', _fast(vocabulary, merges))
    _write(folder / 'special_tokens_map.json', _special())
    _write(folder / 'tokenizer_config.json', _config())
    return folder


def _vocabulary(merges: list[str]) -> dict[str, int]:
    """Bytes first, then what each merge makes, then the end of a text."""
    tokens = [*_byte_symbols(), *(merge.replace(' ', '') for merge in merges), END]
    return {token: index for index, token in enumerate(tokens)}


def _byte_symbols() -> list[str]:
    """GPT-2's characters for the 256 bytes: those that print for themselves come first."""
    printing = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = 256 - len(printing)
    return [chr(code) for code in (*printing, *range(0x100, 0x100 + others))]


def _added() -> dict[int, str]:
    return dict(enumerate((*_SPACES, *_TABS, SEG), start=END_ID + 1))


def _added_tokens() -> dict[int, dict[str, Any]]:
    """The authors add [SEG] as they would a word: of these, only the end of a text is special."""
    texts = {END_ID: END, **_added()}
    return {
        index: {
            'content': text,
            'lstrip': False,
            'normalized': index != END_ID,
            'rstrip': False,
            'single_word': False,
            'special': index == END_ID,
        }
        for index, text in texts.items()
    }


def _fast(vocabulary: dict[str, int], merges: list[str]) -> dict[str, Any]:
    """The whole of tokenizer.json."""
    return {
        'version': '1.0',
        'truncation': None,
        'padding': None,
        'added_tokens': [{'id': index, **token} for index, token in _added_tokens().items()],
        'normalizer': None,
        'pre_tokenizer': _BYTE_LEVEL,
        'post_processor': _BYTE_LEVEL,
        'decoder': _BYTE_LEVEL,
        'model': {
            'type': 'BPE',
            'dropout': None,
            'unk_token': None,
            'continuing_subword_prefix': '',
            'end_of_word_suffix': '',
            'fuse_unk': False,
            'byte_fallback': False,
            'vocab': vocabulary,
            'merges': merges,
        },
    }


def _special() -> dict[str, Any]:
    names = ('bos_token', 'eos_token', 'unk_token')
    token = {key: value for key, value in _added_tokens()[END_ID].items() if key != 'special'}
    return {**dict.fromkeys(names, token), 'pad_token': END}


def _config() -> dict[str, Any]:
    return {
        'add_prefix_space': False,
        'added_tokens_decoder': {str(index): token for index, token in _added_tokens().items()},
        'bos_token': END,
        'clean_up_tokenization_spaces': True,
        'eos_token': END,
        'model_max_length': 2048,
        'pad_token': END,
        'padding_side': 'right',
        'tokenizer_class': 'CodeGenTokenizer',
        'unk_token': END,
    }


def _write(file: Path, values: dict[str, Any]) -> None:
    text = json.dumps(values, indent=2, ensure_ascii=False)
    file.write_text(f'{text}\n', encoding='utf-8')
