from __future__ import annotations

from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from instructseg_ros.model.tokenization import word_tokenizer


@pytest.fixture(scope='module')
def tokenizer() -> PreTrainedTokenizerFast:
    return word_tokenizer(['mug', "person's", 'red', 'the'])


def ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)['input_ids'])


def test_words_come_after_padding_unknown_and_seg(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.convert_ids_to_tokens(range(7)) == [
        '[PAD]', '[UNK]', '[SEG]', 'mug', "person's", 'red', 'the',
    ]  # fmt: skip
    assert len(tokenizer) == 7


def test_case_and_everything_between_words_is_dropped(tokenizer: PreTrainedTokenizerFast) -> None:
    assert ids(tokenizer, '  THE, red-Mug!\n(3) ') == [6, 5, 3]


def test_an_apostrophe_belongs_to_its_word(tokenizer: PreTrainedTokenizerFast) -> None:
    assert ids(tokenizer, "The person's mug") == [6, 4, 3]


def test_other_words_are_unknown_one_by_one(tokenizer: PreTrainedTokenizerFast) -> None:
    assert ids(tokenizer, 'the mugs of red') == [6, 1, 1, 5]


def test_a_synonym_is_read_as_its_word_where_it_stands_alone() -> None:
    tokenizer = word_tokenizer(['red', 'soup', 'spoon'], {'ruby': 'red', 'soupspoon': 'soup spoon'})
    assert ids(tokenizer, 'Ruby soupspoon') == [3, 4, 5]
    assert ids(tokenizer, "rubys ruby's") == [1, 1]


def test_a_text_without_words_has_no_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    assert ids(tokenizer, '') == []
    assert ids(tokenizer, ' 123 ?! \u00e9 ') == []


def test_seg_in_a_text_is_its_token(tokenizer: PreTrainedTokenizerFast) -> None:
    assert ids(tokenizer, 'red [SEG]') == [5, 2]


def test_offsets_name_the_characters_of_each_word(tokenizer: PreTrainedTokenizerFast) -> None:
    encoded = tokenizer('The  red mug', add_special_tokens=False, return_offsets_mapping=True)
    assert encoded['offset_mapping'] == [(0, 3), (5, 8), (9, 12)]


def test_a_saved_tokenizer_comes_back_the_same(tmp_path: Path) -> None:
    tokenizer = word_tokenizer(["person's", 'red', 'the'], {'crimson': 'red'})
    tokenizer.save_pretrained(tmp_path)
    again = PreTrainedTokenizerFast.from_pretrained(tmp_path, local_files_only=True)
    assert again.get_vocab() == tokenizer.get_vocab()
    text = "The crimson, person's [SEG] thing"
    assert ids(again, text) == ids(tokenizer, text) == [5, 4, 3, 2, 1]
