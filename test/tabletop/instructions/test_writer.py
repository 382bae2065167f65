from __future__ import annotations

import numpy as np

from instructseg_ros.tabletop.instructions.wording import Phrase, Wordings, Writer

GREETING = Wordings(('hello', 'hi'), ('good day',))
SENTENCE = Wordings(('see {it}', 'find {it}'), ('look at {it}',))


def writers(*, held_out: bool) -> list[Writer]:
    return [Writer((), np.random.default_rng(seed), held_out=held_out) for seed in range(60)]


def test_training_never_draws_what_is_held_out() -> None:
    assert {one.pick(GREETING) for one in writers(held_out=False)} == {'hello', 'hi'}


def test_held_out_texts_mix_both() -> None:
    assert {one.pick(GREETING) for one in writers(held_out=True)} == {'hello', 'hi', 'good day'}


def test_a_held_out_sentence_always_has_a_held_out_wording() -> None:
    for one in writers(held_out=True):
        text = one.request(Phrase(one.pick(GREETING)), SENTENCE).text.lower()
        assert 'look at' in text or 'good day' in text


def test_a_request_may_be_nothing_but_the_thing() -> None:
    texts = {one.request(Phrase('it'), SENTENCE).text for one in writers(held_out=False)}
    assert {'it', 'It', 'see it', 'Find it.'} <= texts
