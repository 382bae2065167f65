"""Instructions that name one object by its category, color and size."""

from __future__ import annotations

from instructseg_ros.tabletop.instructions.category import Draft, InstructionCategory, labels
from instructseg_ros.tabletop.instructions.noun_phrase import (
    NounPhrase,
    absent_phrase,
    color_word,
    indefinite,
    nominal,
    unique_phrase,
)
from instructseg_ros.tabletop.instructions.wording import (
    SINGULAR_REQUESTS,
    Phrase,
    Wordings,
    Writer,
    compose,
)

INDEFINITE_SENTENCES = Wordings.parse("""
    is there {it}? | is there {it} on the table? | do you see {it}? | I need {it} |
    can you see {it} on the table? | find {it} | I want {it} | I am looking for {it} |
    have you got {it}? | do we have {it}? | is there {it} around here? | would there be {it}? |
    I could use {it} | I'd be glad to have {it} | is there {it} in the picture? | got {it}? |
    any chance of {it}? | where would I find {it}? | somewhere there is {it} |
    there should be {it} here | bring {it} | could I have {it}? | has anybody seen {it}? |
    give us {it} | I spy {it} | I see {it}. do you? | there's {it} somewhere | do you spot {it}? |
    I'd like {it} | we are in need of {it} | let's see if there is {it} | isn't there {it}? |
    please, is there {it}? | show me {it} | would you happen to have {it}? | fetch me {it} |
    pass me {it} | what about {it}?
    // is there {it} for me? | can you find {it} on the table? | do you see {it} on the table?
""")
INDEFINITE_SHARE = 0.25
ATTEMPTS = 8


def draft(writer: Writer, *, absent: bool) -> Draft | None:
    """Draft an instruction whose noun phrase fits exactly one object (none if `absent`)."""
    phrase = absent_phrase(writer, sized=True) if absent else _present_phrase(writer)
    if phrase is None:
        return None
    targets = labels(phrase.matches(writer.graph))
    return Draft(text=write_attribute(phrase, writer), targets=targets, candidates=targets)


def _present_phrase(writer: Writer) -> NounPhrase | None:
    for _ in range(ATTEMPTS):
        phrase = unique_phrase(writer.choice(writer.graph), writer, sized=True)
        if phrase is not None:
            return phrase
    return None


def write_attribute(phrase: NounPhrase, writer: Writer) -> Phrase:
    """Draw a wording that asks for the only object that a phrase fits."""
    return _paraphrase(phrase, writer) or _composed(phrase, writer)


def _paraphrase(phrase: NounPhrase, writer: Writer) -> Phrase | None:
    color = phrase.color
    if not phrase.category or not color or phrase.size:
        return None
    noun = NounPhrase(category=phrase.category)
    return writer.paraphrase(
        'attribute', lambda: {'object': nominal(noun, writer), 'color': color_word(color, writer)}
    )


def _composed(phrase: NounPhrase, writer: Writer) -> Phrase:
    named = nominal(phrase, writer)
    if writer.chance(INDEFINITE_SHARE):
        return writer.request(indefinite(named), INDEFINITE_SENTENCES)
    return writer.request(compose('the {nominal}', nominal=named), SINGULAR_REQUESTS)


ATTRIBUTE = InstructionCategory(
    name='attribute',
    generator=draft,
    sentences=SINGULAR_REQUESTS,
    wordings=(SINGULAR_REQUESTS, INDEFINITE_SENTENCES),
    share=0.26,
    share_at_rest=0.26,
    early_weight=2.5,
    late_weight=1.8,
    demo_examples=2,
    is_lasting=True,
)
