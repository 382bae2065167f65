"""The embedded model's configuration and tokenizer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from instructseg_ros.model.embedded_model import (
    MASK_SIZE,
    embedded_config,
    processor_for,
    word_tokenizer,
)
from instructseg_ros.model.modeling import InstructSegModel


def test_the_embedded_model_fits_its_place_in_the_package() -> None:
    with torch.device('meta'):
        model = InstructSegModel(embedded_config(400))
    tensors = model.state_dict().values()
    assert sum(x.numel() * x.element_size() for x in tensors) < 40e6


def test_processor_and_configuration_agree() -> None:
    config = embedded_config(7)
    processor = processor_for(config, ['a', 'b', 'c', 'd'])
    assert len(processor.tokenizer) == config.text_config.vocab_size
    assert processor.config.mask_size == MASK_SIZE
    assert processor.config.vision_size == config.vision_config.image_size
    assert processor.config.image_tokens == config.image_tokens == 256
    assert processor.config.num_queries == config.num_queries


def test_prompts_of_the_longest_instructions_fit_its_positions() -> None:
    config = embedded_config(4)
    prompt = processor_for(config, ['a']).prompt([['a ' * 200]])
    assert prompt.input_ids.shape[-1] <= config.text_config.max_position_embeddings


@pytest.fixture(scope='module')
def tokenizer() -> PreTrainedTokenizerFast:
    return word_tokenizer(['mug', "person's", 'red', 'the'])


def ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)['input_ids'])


def test_words_come_after_padding_unknown_and_seg(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.convert_ids_to_tokens(range(7)) == [
        '[PAD]',
        '[UNK]',
        '[SEG]',
        'mug',
        "person's",
        'red',
        'the',
    ]
    assert len(tokenizer) == 7


def test_case_and_everything_between_words_is_dropped(tokenizer: PreTrainedTokenizerFast) -> None:
    assert ids(tokenizer, '  THE, red-Mug!\n(...) ') == [6, 5, 3]


@pytest.mark.parametrize(
    'text',
    [
        "the 'mug'",
        "'the mug'",
        "'the' ''mug''",
        'the `mug`',
        '"the mug"',
        '\u201cthe mug\u201d',
        'the \u2018mug\u2019',
        'the \u201amug\u2018',
        'the \u00abmug\u00bb',
        'the \u00b4mug\u00b4',
    ],
)
def test_quotation_marks_around_a_word_are_no_part_of_it(
    tokenizer: PreTrainedTokenizerFast, text: str
) -> None:
    assert ids(tokenizer, text) == [6, 3]


@pytest.mark.parametrize('apostrophe', ["'", '\u2019', '\u02bc', '`'])
def test_every_form_of_apostrophe_is_read_as_the_plain_one(
    tokenizer: PreTrainedTokenizerFast, apostrophe: str
) -> None:
    assert ids(tokenizer, f'the person{apostrophe}s mug') == [6, 4, 3]


def test_an_apostrophe_belongs_to_its_word(tokenizer: PreTrainedTokenizerFast) -> None:
    assert ids(tokenizer, "The person's mug") == [6, 4, 3]


def test_other_words_are_unknown_one_by_one(tokenizer: PreTrainedTokenizerFast) -> None:
    assert ids(tokenizer, 'the mugs of red') == [6, 1, 1, 5]


def test_a_synonym_is_read_as_its_word_where_it_stands_alone() -> None:
    tokenizer = word_tokenizer(['red', 'soup', 'spoon'], {'ruby': 'red', 'soupspoon': 'soup spoon'})
    assert ids(tokenizer, 'Ruby soupspoon') == [3, 4, 5]
    assert ids(tokenizer, "rubys ruby's") == [1, 1]
    assert ids(tokenizer, "'ruby' \u2018soupspoon\u2019") == [3, 4, 5]


def test_a_text_without_words_has_no_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    assert ids(tokenizer, '') == []
    assert ids(tokenizer, " ?! ' \u2026 ") == []


@pytest.mark.parametrize(
    'word',
    [
        '\u676f\u5b50',
        '\u0627\u0644\u0643\u0648\u0628',
        '\u043a\u0440\u0443\u0436\u043a\u0430',
        '\u0939\u093f\u0928\u094d\u0926\u0940',
        '\u30b3\u30c3\u30d7',
        '\ucef5',
        '\u2615',
        '\U0001f469\U0001f3fd\u200d\U0001f373',
        'caf\u00e9',
        '42',
    ],
    ids=[
        'Chinese',
        'Arabic',
        'Cyrillic',
        'Hindi',
        'Japanese',
        'Korean',
        'emoji',
        'emojis joined',
        'accent',
        'number',
    ],
)
def test_a_word_of_another_script_is_one_unknown_word(
    tokenizer: PreTrainedTokenizerFast, word: str
) -> None:
    assert ids(tokenizer, f'the {word} mug') == [6, 1, 3]
    assert ids(tokenizer, f'{word}mug')[0] == 1


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
