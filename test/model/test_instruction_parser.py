from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from instructseg_ros.model.instruction_parser import (
    MEANINGS,
    SLOTS,
    InstructionParser,
    ParserNetwork,
    WordReader,
    split_words,
)
from instructseg_ros.model.model_files import PARSER_WEIGHTS, ModelError, find_model
from instructseg_ros.model.segmenter import Segmenter

WORDS = WordReader({'the': 3, 'mug': 4}, 1, lambda word: word == 'mug')


def test_words_and_punctuation_are_split() -> None:
    words = split_words("That's it: the 2nd RED mug, isn\u2019t it?")
    assert words == ["that's", 'it', ':', 'the', '2nd', 'red', 'mug', ',', "isn't", 'it', '?']


def test_words_have_ids_and_kinds() -> None:
    ids, kinds = WORDS.read(['the', 'red', 'mug', ','])
    assert ids == [3, 1, 4, 0]
    assert kinds[:3] == [0, 2, 1] and kinds[3] > 2


def test_all_slots_of_the_meanings_are_slots_of_words() -> None:
    assert set().union(*(meaning.slots for meaning in MEANINGS.values())) < set(SLOTS)


def test_the_model_knows_the_words_of_every_meaning() -> None:
    segmenter = Segmenter.from_pretrained()
    slots = dict.fromkeys(SLOTS, 'mug') | {'color': 'red', 'color2': 'blue', 'side': 'left'}
    slots |= {'nth': 'second', 'number': 'two'}
    for meaning in MEANINGS.values():
        assert not segmenter.query(meaning.words.format(**slots), verbatim=True).unknown


@pytest.mark.parametrize(
    ('slot', 'phrase'),
    [('nth', 'last'), ('nth', 'second third'), ('side', 'window'), ('number', 'many')],
)
def test_a_place_that_cannot_be_read_leaves_the_meaning_open(
    slot: str, phrase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = 'first of row' if slot == 'number' else 'nth'
    slots = dict.fromkeys(MEANINGS[name].slots, 'second') | {'side': 'left', 'object': 'mug'}
    slots |= {'number': 'two'} if slot == 'number' else {}
    parser = InstructionParser(ParserNetwork(torch.zeros(6, 8), trained=5), WORDS)
    understood = (MEANINGS[name], slots)
    monkeypatch.setattr(parser, '_understand', lambda _: understood)
    assert parser.parse('the mug') is not None
    slots[slot] = phrase
    assert parser.parse('the mug') is None


def test_a_model_without_a_parser_has_none(tmp_path: Path) -> None:
    assert InstructionParser.from_folder(tmp_path, torch.zeros(9, 4), WORDS) is None


def test_a_parser_of_another_version_is_refused(tmp_path: Path) -> None:
    weights = load_file(find_model('embedded') / PARSER_WEIGHTS)
    weights['meaning.3.weight'] = weights['meaning.3.weight'][1:].contiguous()
    save_file(weights, tmp_path / PARSER_WEIGHTS)
    with pytest.raises(ModelError, match='train it again with scripts/train_instruction_parser'):
        InstructionParser.from_folder(tmp_path, torch.zeros(9, 128), WORDS)


def test_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    network = ParserNetwork(torch.randn(6, 8), trained=5).eval()
    ids, kinds = (
        torch.tensor([[3, 4, 2, 0, 0], [1, 5, 4, 3, 2]]),
        torch.zeros(2, 5, dtype=torch.long),
    )
    meanings, slots = network(ids, kinds, torch.tensor([3, 5]))
    alone, its_slots = network(ids[:1, :3], kinds[:1, :3], torch.tensor([3]))
    assert torch.allclose(meanings[:1], alone, atol=1e-6)
    assert torch.allclose(slots[:1, :3], its_slots, atol=1e-6)
