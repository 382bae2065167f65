"""Instructions that mean all objects of a category or a color."""

from __future__ import annotations

from instructseg_ros.tabletop.instructions.category import Draft, InstructionCategory, labels
from instructseg_ros.tabletop.instructions.noun_phrase import (
    ANYTHING,
    NounPhrase,
    absent_phrase,
    nominal,
    phrases_for,
    singular_and_plural,
)
from instructseg_ros.tabletop.instructions.wording import (
    PLURAL_REQUESTS,
    REQUESTS,
    Phrase,
    Wordings,
    Writer,
    compose,
)

PLURAL_NOUN = Wordings.parse("""
    all the {objects} | all {objects} | all of the {objects} | the {objects} | all the {objects} |
    all {objects} | all of the {objects} | the {objects} | all the {objects} that you see |
    all {objects} there are | all {objects} that you find | all the {objects} you find |
    all {objects} I can see | all the {objects} that can be seen | all these {objects} |
    all those {objects} | each and every one of the {objects} | every one of these {objects} |
    any {objects} you see | any {objects} there are | the whole lot of {objects} |
    the {objects}, all of them | all of these {objects} | all of those {objects} here |
    each of the {objects} | each one of the {objects} | the {objects} here |
    the {objects} in the picture | as many {objects} as you see | whatever {objects} there are |
    whichever {objects} you find | the entire lot of {objects} | all the {objects} we have |
    all our {objects} | all my {objects} | the {objects}, every last one |
    the {objects} that are around | no matter which {objects}, all of them |
    the complete set of {objects} | these {objects} | those {objects} | the various {objects} |
    the {objects}, the whole bunch | all the {objects}, none left out
    // all {objects} on the table | all the {objects} you can see
""")
SINGULAR_NOUN = Wordings.parse("""
    every {object} | each {object} | every {object} on the table | every {object} | each {object} |
    every {object} on the table | every {object} that you see | each {object} that you find |
    every {object} there is | every {object} you see | each {object} I can see |
    every {object} that can be seen | each {object} that there is | every single {object} |
    each single {object} | each and every {object} | every last {object} | any {object} you see |
    any {object} there is | each {object} in the picture | every {object} here |
    every {object} we have | each {object} you find on the table | any and every {object} |
    whatever {object} there is | every {object} around | each {object} that you see |
    every {object} that is there | one {object} after another, all of them | any {object} at all |
    every {object}, no matter which
    // every {object} you can see | each {object} that is there
""")
TWO = Wordings.parse("""
    both {objects} | both of the {objects} | the two {objects} | the pair of {objects} |
    this pair of {objects} | these two {objects} | those two {objects} | both these {objects} |
    both of those {objects} | the {objects}, both of them | two {objects}, both |
    the two {objects} you see | the two {objects} that are there | each of the two {objects} |
    the couple of {objects} | both my {objects} | not one but both {objects}
    // both the {objects} | all two of the {objects}
""")
EVERY_SHARE = 0.4
SINGLE_SHARE = 0.4
ATTEMPTS = 12


def draft(writer: Writer, *, absent: bool) -> Draft | None:
    """Draft an instruction for all objects that fit a phrase, or for none if `absent`.

    They are at least two, unless the noun is singular: "every mug" may mean a single mug.
    """
    every = writer.chance(EVERY_SHARE)
    fewest = 1 if every and writer.chance(SINGLE_SHARE) else 2
    phrase = absent_phrase(writer) if absent else _present_phrase(writer, fewest)
    if phrase is None:
        return None
    targets = labels(phrase.matches(writer.graph))
    text = write_plural(phrase, writer, len(targets), every=every)
    return Draft(text=text, targets=targets, candidates=targets)


def _present_phrase(writer: Writer, fewest: int) -> NounPhrase | None:
    for _ in range(ATTEMPTS):
        phrase = writer.choice(phrases_for(writer.choice(writer.graph)))
        if phrase == ANYTHING and not writer.chance(0.1):
            continue
        if len(phrase.matches(writer.graph)) >= fewest:
            return phrase
    return None


def write_plural(phrase: NounPhrase, writer: Writer, number: int, *, every: bool) -> Phrase:
    """Draw a wording that asks for all objects that a phrase fits.

    Args:
        phrase: The phrase.
        writer: Scene, random source and choice of wordings.
        number: Number of objects that it fits.
        every: Word it in the singular, such as "every mug", unless a whole sentence is drawn.
    """
    sentence = None
    if number != 1:
        sentence = writer.paraphrase('plural', lambda: singular_and_plural(phrase, writer))
    return sentence or _composed(phrase, writer, number, every=every)


def _composed(phrase: NounPhrase, writer: Writer, number: int, *, every: bool) -> Phrase:
    if every:
        named = nominal(phrase, writer)
        it = compose(writer.pick(SINGULAR_NOUN), object=named)
        return writer.request(it, REQUESTS)
    pair = number == 2 and writer.chance(0.4)
    named = nominal(phrase, writer, plural=True)
    they = compose(writer.pick(TWO if pair else PLURAL_NOUN), objects=named)
    return writer.request(they, PLURAL_REQUESTS)


PLURAL = InstructionCategory(
    name='plural',
    generator=draft,
    sentences=PLURAL_REQUESTS,
    wordings=(PLURAL_REQUESTS, PLURAL_NOUN, SINGULAR_NOUN, TWO),
    share=0.11,
    share_at_rest=0.11,
    early_weight=1.5,
    late_weight=2.5,
    is_lasting=True,
)
