"""Instructions that mean everything of a kind or a colour."""

from __future__ import annotations

from instructseg_ros.tabletop.instructions.draft import Draft, labels
from instructseg_ros.tabletop.instructions.noun_phrase import (
    ANYTHING,
    NounPhrase,
    absent_phrase,
    nominal,
    phrases_for,
)
from instructseg_ros.tabletop.instructions.wording import (
    PLURAL_REQUESTS,
    REQUESTS,
    Phrase,
    Wordings,
    Writer,
    compose,
)

SENTENCES = PLURAL_REQUESTS
PLURAL_NOUN = Wordings.parse("""
    all the {things} | all {things} | all of the {things} | the {things} | all the {things} |
    all {things} | all of the {things} | the {things} | all the {things} that you see |
    all {things} there are | all {things} that you find | all the {things} you find |
    all {things} I can see | all the {things} that can be seen
    // all {things} on the table | all the {things} you can see
""")
SINGULAR_NOUN = Wordings.parse("""
    every {thing} | each {thing} | every {thing} on the table | every {thing} | each {thing} |
    every {thing} on the table | every {thing} that you see | each {thing} that you find |
    every {thing} there is | every {thing} you see | each {thing} I can see |
    every {thing} that can be seen | each {thing} that there is
    // every {thing} you can see | each {thing} that is there
""")
TWO = Wordings.parse("""
    both {things} | both of the {things} | the two {things}
    // both the {things} | all two of the {things}
""")
WORDINGS = (SENTENCES, PLURAL_NOUN, SINGULAR_NOUN, TWO)
ATTEMPTS = 12


def draft(writer: Writer, *, absent: bool) -> Draft | None:
    """Everything, at least two things, that a noun phrase is true of; nothing when absent."""
    phrase = absent_phrase(writer) if absent else _present_phrase(writer)
    if phrase is None:
        return None
    targets = labels(phrase.matches(writer.graph))
    return Draft(text=_text(phrase, writer, len(targets)), targets=targets, candidates=targets)


def _present_phrase(writer: Writer) -> NounPhrase | None:
    for _ in range(ATTEMPTS):
        phrase = writer.choice(phrases_for(writer.choice(writer.graph)))
        if phrase == ANYTHING and not writer.chance(0.1):
            continue
        if len(phrase.matches(writer.graph)) >= 2:
            return phrase
    return None


def _text(phrase: NounPhrase, writer: Writer, number: int) -> Phrase:
    if writer.chance(0.3):
        thing = nominal(phrase, writer)
        it = compose(writer.pick(SINGULAR_NOUN), thing=thing)
        return writer.request(it, REQUESTS)
    pair = number == 2 and writer.chance(0.4)
    things = nominal(phrase, writer, plural=True)
    they = compose(writer.pick(TWO if pair else PLURAL_NOUN), things=things)
    return writer.request(they, SENTENCES)
