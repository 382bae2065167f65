from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from instructseg_ros.model.instruction_parser import MEANINGS, NO_SLOT, SLOTS
from instructseg_ros.tabletop.instructions.tagged import SentenceWriter, TaggedSentence
from instructseg_ros.tabletop.instructions.wording import PARAPHRASES


def drawn(count: int, *, held_out: bool = False) -> list[TaggedSentence]:
    writer = SentenceWriter(['dog', 'vase'], np.random.default_rng(3), held_out=held_out)
    return [writer.draw() for _ in range(count)]


@pytest.mark.parametrize('held_out', [False, True])
def test_every_word_has_a_slot_and_every_slot_of_the_meaning_is_filled(held_out: bool) -> None:
    for one in drawn(3000, held_out=held_out):
        assert len(one.words) == len(one.slots) > 0
        assert set(one.slots) <= set(SLOTS)
        assert MEANINGS[one.meaning].slots <= set(one.slots), one


def test_sentences_of_every_meaning_are_drawn() -> None:
    counts = Counter(one.meaning for one in drawn(15000))
    assert counts.keys() == MEANINGS.keys()
    assert min(counts.values()) >= 10


def test_every_paraphrase_has_a_meaning_of_the_parser() -> None:
    assert {re.sub(' of two$', '', name) for name in PARAPHRASES} <= MEANINGS.keys()


def test_a_slot_holds_what_fills_it() -> None:
    writer = SentenceWriter(['dog'], np.random.default_rng(5))
    one = writer.filled('other', 'I have the {color} one, get the other of the {objects}!')
    assert one.words[:3] == ('i', 'have', 'the')
    assert one.slots[:4] == (NO_SLOT, NO_SLOT, NO_SLOT, 'color')
    assert one.slots[-2:] == ('object', NO_SLOT)
    assert one.words[-1] == '!'


def test_held_out_wordings_are_drawn_only_on_request() -> None:
    held_out = {text for words in PARAPHRASES.values() for text in words.held_out}
    plain = {text for text in held_out if '{' not in text}
    texts = {' '.join(re.findall(r"[\w'-]+", text.lower())) for text in plain}

    def share(**options: bool) -> float:
        sentences = [
            ' '.join(w for w in one.words if w.isalnum() or "'" in w or '-' in w)
            for one in drawn(1500, **options)
        ]
        return float(np.mean([each in texts for each in sentences]))

    assert share() == 0 < share(held_out=True)
