"""Instructions by place in an order: the second from the left, or the larger of two."""

from __future__ import annotations

from itertools import pairwise

from instructseg_ros.tabletop.instructions.category import Draft, InstructionCategory, labels
from instructseg_ros.tabletop.instructions.noun_phrase import (
    NounPhrase,
    absent_phrase,
    nouns,
    phrases_for,
    singular_and_plural,
)
from instructseg_ros.tabletop.instructions.superlative import SUPERLATIVES, Superlative, ranks
from instructseg_ros.tabletop.instructions.wording import (
    PARAPHRASES,
    PLURAL_REQUESTS,
    SINGULAR_REQUESTS,
    Phrase,
    Wordings,
    Writer,
    compose,
    grounded,
)
from instructseg_ros.tabletop.world.scene_graph import SceneObject

SIDES = {'leftmost': 'left', 'rightmost': 'right'}
NTH = Wordings.table('2: second\n3: third\n4: fourth')
NUMBERS = Wordings.table('2: two\n3: three\n4: four')
FROM_SIDE = Wordings.parse("""
    the {nth} {object} from the {side} | the {nth} {object} from the {side} |
    the {nth} {object} counting from the {side} | the {nth} of the {objects} from the {side} |
    the {object} number {number} from the {side} | the {nth} {object} when you start on the {side} |
    from the {side} the {nth} {object} | the {nth} one of the {objects} from the {side} |
    the {object} that comes {nth} from the {side} | the {object} that is {nth} from the {side} |
    the {object} in {nth} place from the {side} | the {object} in {nth} position from the {side} |
    the {nth} {object} in from the {side} | {object} number {number} from the {side} |
    {object} number {number} if you count from the {side} |
    starting at the {side}, the {nth} {object} | beginning on the {side}, the {nth} {object} |
    if you count from the {side}, the {nth} {object} |
    the {nth} {object} in the row from the {side} | the {nth} {object} you come to from the {side} |
    the {nth} {object} that you reach from the {side} | the {object} {nth} from the {side} |
    the {nth} {object} when I read from the {side} | the {nth} {object} along from the {side} |
    the {object} I'd count as number {number} from the {side} |
    the {nth} {object} from the {side} end | the {nth} {object} from the {side} edge of the table |
    the {nth} {object} from the {side} hand side |
    counted from the {side}, {object} number {number} | the {nth} {object} in line from the {side} |
    the {nth} of those {objects}, starting from the {side} |
    the {nth} {object} looking from the {side} | the {nth} {object} as you go in from the {side} |
    among the {objects} the {nth} from the {side}
    // counting from the {side} the {nth} {object} |
    the {nth} {object} when counting from the {side}
""")
BY_MEASURE = Wordings.parse("""
    the {nth} {most} {object} | the {nth} {most} {object} | the {nth} {most} of the {objects} |
    the {object} that is the {nth} {most} | the {nth} {most} one of the {objects} |
    the {nth} {most} one among the {objects} | the {object} which ranks as the {nth} {most} |
    among the {objects} the {nth} {most} | out of all the {objects} the {nth} {most} |
    whichever {object} is the {nth} {most} | the {object} that's {nth} {most} |
    the {object} that would be the {nth} {most} | the {nth} {most} {object} of them all |
    the {nth} {most} {object} of the lot | the {nth} {most} {object} that you see |
    the {nth} {most} {object} there is | the {nth} {most} {object} on the table |
    the {nth} {most} {object} around here |
    {object} number {number} when you start with the {most} one |
    the {nth} {object} if you begin with the {most} one |
    the {nth} {object} counting from the {most} one | the {nth} {object}, starting from the {most} |
    the {object} that comes {nth} after you sort them, {most} first |
    the {nth} {most} of these {objects} | that {nth} {most} {object} |
    the {object} in {nth} place, the {most} one being first
    // of all the {objects} the {nth} {most} one
""")
MIDDLE = Wordings.parse("""
    the middle {object} | the {object} in the middle | the middle one of the three {objects} |
    the {object} in the middle of the three | of the three {objects} the middle one |
    the {object} that stands between the other two | the center {object} |
    the centre {object} of the three | the {object} in the centre of the three |
    the {object} in the middle of the row | the {object} with one on either side |
    the {object} with another one on each side | the {object} which has the other two beside it |
    the one of the three {objects} that is in the middle | the middle one out of the {objects} |
    the {object} between the two outer ones |
    the {object} that's neither first nor last in the row | the {object} right in the middle |
    the {object} in between the others | not the outer {objects} but the middle one |
    the {object} flanked by the other two | the {object} in the middle of the other {objects} |
    the central {object} | whichever {object} is in the middle |
    the {object} standing in the middle | from the row of three {objects} the middle one |
    the {object} that has a neighbour on both sides | among the {objects} the one in the middle
    // the {object} at the middle of the three | the one {object} between the other two
""")
FIRST_ON_SIDE = Wordings.parse("""
    the {number} {objects} on the {side} | the {number} {objects} farthest to the {side} |
    the first {number} {objects} from the {side} | the {number} {objects} furthest {side} |
    the {number} {objects} at the {side} | the {number} {objects} most to the {side} |
    the {number} {objects} nearest to the {side} edge |
    the first {number} {objects} when you start on the {side} |
    the first {number} {objects} counting from the {side} |
    the first {number} of the {objects} from the {side} | all {number} {objects} at the {side} end |
    the {number} {objects} over on the {side} | the {number} {objects} on the far {side} |
    starting at the {side}, the first {number} {objects} |
    from the {side}, the first {number} {objects} |
    the {number} of the {objects} that are most to the {side} |
    the {number} {objects} to the {side} of all the others |
    the {number} {objects} you come to first from the {side} |
    the first {number} {objects} in from the {side} | those {number} {objects} on the {side} |
    the {objects} on the {side}, {number} of them | the {number} {objects} at the {side} hand end
    // the {number} {objects} that are furthest to the {side} |
    on the {side} the first {number} {objects}
""")
FIRST_BY_MEASURE = Wordings.parse("""
    the {number} {most} {objects} | the {number} {most} of the {objects} |
    the {most} {number} {objects} | all {number} of the {most} {objects} |
    the {number} {most} ones of the {objects} | the {number} {most} ones among the {objects} |
    the {number} {objects} that are the {most} | all {number} {most} {objects} |
    these {number} {most} {objects} | the {most} {objects}, {number} of them |
    out of the {objects} the {number} {most} | among the {objects} the {number} {most} ones |
    the {number} {most} {objects} of them all | the {number} {most} {objects} of the lot |
    the {number} {most} {objects} that you see | the {most} {number} of the {objects} |
    whichever {number} {objects} are the {most} | the {number} {objects} which are {most} |
    the {number} {most} {objects} there are | those {number} {objects} that are the {most} ones
    // of the {objects} the {number} {most} ones
""")
MOST = Wordings.table("""
    largest: largest | biggest | most big | greatest | least small | least little | hugest
        // most large
    smallest: smallest | littlest | most small | least big | least large | most tiny | teeniest
        // tiniest
    nearest: nearest | closest | most near | most close | least far | least far away | least remote
        // least distant
    farthest: farthest | furthest | most distant | most far | least near | least close |
        most far away | farthest off | furthest off
        // most remote
""")
MORE = Wordings.table("""
    largest: bigger | larger | less small | greater | more big | less little | more large |
        less tiny
    smallest: smaller | littler | less big | tinier | more small | less large | more little |
        teenier
    nearest: nearer | closer | less distant | more near | more close | less far | less remote |
        less far away
    farthest: farther | further | more distant | more far | more remote | less near | less close |
        farther off | further off
""")
MORE_AFTER = Wordings.table("""
    leftmost: on the left | further left | more to the left | to the left | on the left hand side |
        on the left side | at the left | further to the left | more left | nearer the left edge |
        left of the other | to the left of the other one | less far to the right |
        over on the left | more on the left | further over to the left
        // farther left
    rightmost: on the right | further right | more to the right | to the right |
        on the right hand side | on the right side | at the right | further to the right |
        more right | nearer the right edge | right of the other | to the right of the other one |
        over on the right | more on the right | further over to the right
        // farther right
    nearest: nearer to me | closer to me | closer to the camera | nearer to you | closer to us |
        closer to you | nearer by | less far away | less far from me | closer than the other |
        nearer than the other one | less distant than the other | closer to where I am |
        nearer to us than the other
        // nearer to the camera
    farthest: farther away | further away from me | farther from the camera | further off |
        farther off | further from me | more distant from me | further away than the other |
        less close to me | less near to me | farther back | further from us |
        more remote than the other | further than the other one | more distant than the other
        // more far away
    largest: bigger than the other | larger than the other | bigger in size | the bigger one |
        greater in size | larger in size | of larger size | of bigger size |
        less small than the other | the bigger of them | bigger than its companion |
        the larger one | bigger than the other one | less little than the other
        // the larger
    smallest: smaller than the other | littler than the other | smaller in size | the smaller one |
        littler in size | of smaller size | less big than the other | less large than the other |
        the smaller of them | smaller than its companion | tinier than the other |
        smaller than the other one | the littler one
        // the smaller
""")
OF_TWO = Wordings.parse("""
    the {more} {object} | the {more} one of the two {objects} | the {more} of the two {objects} |
    the {more} of both {objects} | of the two {objects} the {more} one |
    the {object} that is the {more} one | whichever {object} is the {more} one |
    the {more} one of the pair of {objects} | out of the two {objects} the {more} one |
    out of the two {objects}, the {more} | the {more} {object} of the two |
    the {more} {object} of the pair | that {more} {object} |
    the {object} which is the {more} of the two | between the two {objects} the {more} one |
    the {object}, I mean the {more} one | the {object}, the {more} of the two |
    the {object} that is {more} | the {object} that's {more} than the other |
    the {more} one, comparing both {objects} | the {more} one among the two {objects} |
    the {more} of these two {objects} | the {object} that turns out to be {more} |
    not just any {object} but the {more} one | both {objects} compared, the {more} |
    whichever of the two {objects} is {more} | from these two {objects} the {more} one |
    the {object} which looks {more} | the {object} that seems {more} than its companion |
    the {object} that's the {more} one
    // of both {objects} the {more} one | the {more} one of these {objects}
""")
OF_TWO_AFTER = Wordings.parse("""
    the {object} that is {more} | the one of the two {objects} that is {more} |
    of the two {objects} the one that is {more} | the {object} {more} | the {object} that's {more} |
    whichever {object} is {more} | whichever of the two {objects} is {more} |
    out of the two {objects}, the one that is {more} | of both {objects} the one that's {more} |
    the {object}, I mean the one that is {more} |
    the {object}, the one {more} | from these two {objects} the one that is {more} |
    of these {objects} the one which is {more} | between the two {objects}, the one that's {more} |
    that {object} which is {more} | the one of the pair of {objects} that is {more} |
    the {object} that you see is {more} | among the two {objects} the one {more} |
    comparing the two {objects}, the one that is {more}
    // out of two {objects} the one {more} | the {object} which is {more}
""")
WHICH_OF_TWO = Wordings.parse("""
    which of the two {objects} is {more}? | which one of these two {objects} is {more}? |
    tell me which of the two {objects} is {more} | which {object} is {more}? |
    of the two {objects}, which one is {more}? | what {object} is {more}? |
    do you know which of the {objects} is {more}? | I see two {objects}. which one is {more}? |
    there are two {objects}. I want the one that is {more} |
    here are two {objects}. take the one that is {more} |
    look at the two {objects}. show me the one that is {more} | two {objects}, which is {more}? |
    which one is {more}, of these {objects}? | could you tell me which {object} is {more}? |
    compare the {objects}. which one is {more}? | show me which of the {objects} is {more} |
    which of those {objects} would you say is {more}? |
    bring me the {object}. the one that is {more} |
    the {object}, please. I mean the one that is {more} |
    there is a pair of {objects}. I need the one that is {more} |
    I don't want both {objects}, only the one that is {more} |
    is it this {object} or that one that is {more}? |
    take whichever of the two {objects} is {more} |
    see these two {objects}? the one that is {more}, please |
    of the pair of {objects}, which is {more}? | I wonder which of the two {objects} is {more} |
    pick one of the two {objects}, the one that is {more} |
    we have two {objects} here. which is {more}?
    // of the two {objects} which is {more}? | which of both {objects} is {more}?
""")
ATTEMPTS = 24
MIDDLE_SHARE = 0.3
SEVERAL_SHARE = 0.2


def draft_ordinal(writer: Writer, *, absent: bool) -> Draft | None:
    """Draft an instruction for the nth or the first n of an order; if `absent`, it is too short."""
    for _ in range(ATTEMPTS):
        phrase, name = _any_phrase(writer), writer.choice(tuple(SUPERLATIVES))
        row = _row(phrase, SUPERLATIVES[name], writer)
        if row is None:
            continue
        if len(row) == 3 and name in SIDES and not absent and writer.chance(MIDDLE_SHARE):
            return _draft(_middle_text(phrase, writer), [row[1]], row)
        place = int(writer.choice((2, 2, 3, 3, 4)))
        several = writer.chance(SEVERAL_SHARE)
        if absent != (place > len(row)) or (several and place >= len(row)):
            continue
        text = _ordinal_text(phrase, name, place, writer, several=several)
        targets = row[:place] if several else row[place - 1 : place]
        return _draft(text, targets, row)
    return None


def draft_comparison(writer: Writer, *, absent: bool) -> Draft | None:
    """Draft an instruction for one of exactly two objects by comparison, or for absent ones."""
    name = writer.choice(tuple(SUPERLATIVES))
    if absent:
        missing = absent_phrase(writer)
        return _draft(_comparison_text(missing, name, writer), [], []) if missing else None
    for _ in range(ATTEMPTS):
        phrase, name = _any_phrase(writer), writer.choice(tuple(SUPERLATIVES))
        row = _row(phrase, SUPERLATIVES[name], writer)
        if row is not None and len(row) == 2:
            return _draft(_comparison_text(phrase, name, writer), row[:1], row)
    return None


def _draft(text: Phrase, targets: list[SceneObject], candidates: list[SceneObject]) -> Draft:
    return Draft(text=text, targets=labels(targets), candidates=labels(candidates))


def _any_phrase(writer: Writer) -> NounPhrase:
    return writer.choice(phrases_for(writer.choice(writer.graph))[1:])


def _row(phrase: NounPhrase, superlative: Superlative, writer: Writer) -> list[SceneObject] | None:
    """Return the objects in the order of a superlative; None if one is not clearly next."""
    row = sorted(phrase.matches(writer.graph), key=superlative.measure, reverse=True)
    measures = [superlative.measure(obj) for obj in row]
    return row if all(superlative.clear(a, b) for a, b in pairwise(measures)) else None


def _middle_text(phrase: NounPhrase, writer: Writer) -> Phrase:
    sentence = writer.paraphrase('middle', lambda: singular_and_plural(phrase, writer))
    return sentence or writer.request(_filled(MIDDLE, phrase, writer), SINGULAR_REQUESTS)


def _ordinal_text(
    phrase: NounPhrase, name: str, place: int, writer: Writer, *, several: bool
) -> Phrase:
    words = SIDES[name] if name in SIDES else writer.pick(MOST[name])
    order = grounded(words, ranks(writer.graph, SUPERLATIVES[name]), 'superlative')
    nth = Phrase(writer.pick(NTH[str(place)]))
    meaning = 'nth' if name in SIDES else f'second {name}' if place == 2 else None
    sentence = None
    if not several and meaning in PARAPHRASES:
        sentence = writer.paraphrase(
            meaning, lambda: {**singular_and_plural(phrase, writer), 'side': order, 'nth': nth}
        )
    if sentence is not None:
        return sentence
    by_side, by_measure = (FIRST_ON_SIDE, FIRST_BY_MEASURE) if several else (FROM_SIDE, BY_MEASURE)
    number = Phrase(writer.pick(NUMBERS[str(place)]))
    slots = {'side': order, 'most': order, 'nth': nth, 'number': number}
    it = _filled(by_side if name in SIDES else by_measure, phrase, writer, **slots)
    return writer.request(it, PLURAL_REQUESTS if several else SINGULAR_REQUESTS)


def _comparison_text(phrase: NounPhrase, name: str, writer: Writer) -> Phrase:
    sentence = writer.paraphrase(f'{name} of two', lambda: singular_and_plural(phrase, writer))
    return sentence or _composed_comparison(phrase, name, writer)


def _composed_comparison(phrase: NounPhrase, name: str, writer: Writer) -> Phrase:
    after = name not in MORE or writer.chance(0.4)
    words = writer.pick((MORE_AFTER if after else MORE)[name])
    more = grounded(words, ranks(writer.graph, SUPERLATIVES[name]), 'superlative')
    if writer.chance(0.2):
        return writer.sentence(WHICH_OF_TWO, **singular_and_plural(phrase, writer), more=more)
    it = _filled(OF_TWO_AFTER if after else OF_TWO, phrase, writer, more=more)
    return writer.request(it, SINGULAR_REQUESTS)


def _filled(wordings: Wordings, phrase: NounPhrase, writer: Writer, **slots: Phrase) -> Phrase:
    template = writer.pick(wordings)
    return compose(template, **nouns(template, phrase, writer), **slots)


ORDINAL = InstructionCategory(
    name='ordinal',
    generator=draft_ordinal,
    sentences=SINGULAR_REQUESTS,
    wordings=(
        *(SINGULAR_REQUESTS, PLURAL_REQUESTS, FROM_SIDE, BY_MEASURE, MIDDLE),
        *(FIRST_ON_SIDE, FIRST_BY_MEASURE, *NTH.values(), *NUMBERS.values(), *MOST.values()),
    ),
    share=0.12,
    share_at_rest=0.12,
    early_weight=0.4,
    late_weight=0.5,
)
COMPARISON = InstructionCategory(
    name='comparison',
    generator=draft_comparison,
    sentences=SINGULAR_REQUESTS,
    wordings=(
        *(SINGULAR_REQUESTS, OF_TWO, OF_TWO_AFTER, WHICH_OF_TWO),
        *(*MORE.values(), *MORE_AFTER.values()),
    ),
    share=0.1,
    share_at_rest=0.1,
    early_weight=0.4,
    late_weight=2.2,
)
