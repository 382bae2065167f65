"""Instructions that mean the first of several things by size, place or distance."""

from __future__ import annotations

from instructseg_ros.simulation.instructions.draft import Draft, labels
from instructseg_ros.simulation.instructions.noun_phrase import (
    NounPhrase,
    absent_phrase,
    nominal,
    phrases_for,
)
from instructseg_ros.simulation.instructions.phrase import Phrase, compose, grounded
from instructseg_ros.simulation.instructions.superlatives import SUPERLATIVES, clear_first, ranks
from instructseg_ros.simulation.instructions.wording import SINGULAR_REQUESTS
from instructseg_ros.simulation.instructions.writer import Wordings, Writer

SENTENCES = SINGULAR_REQUESTS
BEFORE_NOUN = Wordings(
    (
        *4 * ('the {first} {thing}',),
        *2 * ('the {thing} that is the {first} one',),
        'the {thing} which I call the {first} one',
        'this {first} {thing}',
        'my {first} {thing}',
    ),
    ('the {thing} which is the {first} one', 'that {first} {thing}'),
)
OF_ALL = Wordings(
    (
        'the {first} of the {things}',
        'the {first} one of the {things}',
        'among the {things} the {first} one',
    ),
    ('of the {things} the {first} one', 'the {first} of all the {things}'),
)
AFTER_NOUN = Wordings(
    (
        *2 * ('the {thing} {first}', 'the {thing} that is {first}'),
        'the {thing} that you find {first}',
        'the {thing} which I see {first}',
        'the {thing} you see {first}',
        'the {thing} that I find {first}',
        'the {thing} which lies {first}',
        'the {thing} that stands {first}',
    ),
    ('the {thing} which is {first}', 'the {thing} that you see {first}'),
)
QUESTIONS = Wordings(
    (
        'which {thing} is the {first} one?',
        'what is the {first} {thing}?',
        'do you know which {thing} is the {first} one?',
        'tell me what the {first} {thing} is',
    ),
    ('which is the {first} {thing}?', 'tell me which {thing} is the {first} one'),
)
PLACE_QUESTIONS = Wordings(
    (
        'which {thing} is {first}?',
        'what {thing} is {first}?',
        'which {thing} can you see {first}?',
        'do you know which {thing} is {first}?',
        'can you tell which {thing} is {first}?',
    ),
    ('which {thing} do you see {first}?', 'can you see which {thing} is {first}?'),
)
ATTEMPTS = 24
WORDINGS = (
    *(SENTENCES, BEFORE_NOUN, OF_ALL, AFTER_NOUN, QUESTIONS, PLACE_QUESTIONS),
    *(words for one in SUPERLATIVES.values() for words in (one.before, one.after)),
)


def draft(writer: Writer, *, absent: bool) -> Draft | None:
    """The first of at least two things by a clear margin, or the first of none."""
    if absent:
        phrase = absent_phrase(writer)
        if phrase is None:
            return None
        name = writer.choice(tuple(SUPERLATIVES))
        text = _text(phrase, name, writer)
        return Draft(text=text, targets=frozenset(), candidates=frozenset())
    for _ in range(ATTEMPTS):
        phrase = writer.choice(phrases_for(writer.choice(writer.graph)))
        name = writer.choice(tuple(SUPERLATIVES))
        candidates = phrase.matches(writer.graph)
        target = clear_first(candidates, SUPERLATIVES[name])
        if target is not None:
            return Draft(
                text=_text(phrase, name, writer),
                targets=labels([target]),
                candidates=labels(candidates),
            )
    return None


def _text(phrase: NounPhrase, name: str, writer: Writer) -> Phrase:
    superlative = SUPERLATIVES[name]
    after = writer.chance(0.35)
    words = writer.pick(superlative.after if after else superlative.before)
    first = grounded(words, ranks(writer.graph, superlative), 'superlative')
    if not after and writer.chance(0.25):
        things = nominal(phrase, writer, plural=True)
        it = compose(writer.pick(OF_ALL), first=first, things=things)
        return writer.request(it, SENTENCES)
    thing = nominal(phrase, writer, plain=after)
    if writer.chance(0.15):
        questions = PLACE_QUESTIONS if after else QUESTIONS
        return writer.sentence(questions, first=first, thing=thing)
    it = compose(writer.pick(AFTER_NOUN if after else BEFORE_NOUN), first=first, thing=thing)
    return writer.request(it, SENTENCES)
