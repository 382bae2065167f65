"""Instructions by place in an order: the second from the left, or the larger of two."""

from __future__ import annotations

from itertools import pairwise

from instructseg_ros.tabletop.instructions.category import Draft, InstructionCategory, labels
from instructseg_ros.tabletop.instructions.noun_phrase import (
    NounPhrase,
    absent_phrase,
    nominal,
    nouns,
    phrases_for,
)
from instructseg_ros.tabletop.instructions.superlative import SUPERLATIVES, Superlative, ranks
from instructseg_ros.tabletop.instructions.wording import (
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
    from the {side} the {nth} {object}
    // counting from the {side} the {nth} {object} |
    the {nth} {object} when counting from the {side}
""")
BY_MEASURE = Wordings.parse("""
    the {nth} {most} {object} | the {nth} {most} {object} | the {nth} {most} of the {objects} |
    the {object} that is the {nth} {most}
    // of all the {objects} the {nth} {most} one
""")
MIDDLE = Wordings.parse("""
    the middle {object} | the {object} in the middle | the middle one of the three {objects} |
    the {object} in the middle of the three | of the three {objects} the middle one |
    the {object} that stands between the other two
    // the {object} at the middle of the three |
    the one {object} between the other two
""")
FIRST_ON_SIDE = Wordings.parse("""
    the {number} {objects} on the {side} | the {number} {objects} farthest to the {side} |
    the first {number} {objects} from the {side} | the {number} {objects} furthest {side}
    // the {number} {objects} that are furthest to the {side} |
    on the {side} the first {number} {objects}
""")
FIRST_BY_MEASURE = Wordings.parse("""
    the {number} {most} {objects} | the {number} {most} of the {objects} |
    the {most} {number} {objects} | all {number} of the {most} {objects}
    // of the {objects} the {number} {most} ones
""")
MOST = Wordings.table("""
    largest: largest | biggest // most large
    smallest: smallest | littlest // tiniest
    nearest: nearest | closest // least distant
    farthest: farthest | furthest | most distant // most remote
""")
MORE = Wordings.table("""
    largest: bigger | larger | less small
    smallest: smaller | littler | less big
    nearest: nearer | closer | less distant
    farthest: farther | further | more distant
""")
MORE_AFTER = Wordings.table("""
    leftmost: on the left | further left | more to the left // farther left
    rightmost: on the right | further right | more to the right // farther right
    nearest: nearer to me | closer to me | closer to the camera // nearer to the camera
    farthest: farther away | further away from me | farther from the camera // more far away
    largest: bigger than the other | larger than the other | bigger in size // the larger
    smallest: smaller than the other | littler than the other | smaller in size // the smaller
""")
OF_TWO = Wordings.parse("""
    the {more} {object} | the {more} one of the two {objects} | the {more} of the two {objects} |
    the {more} of both {objects} | of the two {objects} the {more} one |
    the {object} that is the {more} one
    // of both {objects} the {more} one | the {more} one of these {objects}
""")
OF_TWO_AFTER = Wordings.parse("""
    the {object} that is {more} | the one of the two {objects} that is {more} |
    of the two {objects} the one that is {more} | the {object} {more}
    // out of two {objects} the one {more} | the {object} which is {more}
""")
WHICH_OF_TWO = Wordings.parse("""
    which of the two {objects} is {more}? |
    which one of these two {objects} is {more}? | tell me which of the two {objects} is {more}
    // of the two {objects} which is {more}? | which of both {objects} is {more}?
""")
ATTEMPTS = 24
MIDDLE_SHARE = 0.15
SEVERAL_SHARE = 0.2


def draft_ordinal(writer: Writer, *, absent: bool) -> Draft | None:
    """Draft an instruction for the nth or the first n of an order; if `absent`, it is too short."""
    for _ in range(ATTEMPTS):
        phrase, name = _any_phrase(writer), writer.choice(tuple(SUPERLATIVES))
        row = _row(phrase, SUPERLATIVES[name], writer)
        if row is None:
            continue
        if len(row) == 3 and not absent and writer.chance(MIDDLE_SHARE):
            it = _filled(MIDDLE, phrase, writer)
            return _draft(writer.request(it, SINGULAR_REQUESTS), [_by_side(row)[1]], row)
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


def _by_side(row: list[SceneObject]) -> list[SceneObject]:
    return sorted(row, key=SUPERLATIVES['leftmost'].measure)


def _ordinal_text(
    phrase: NounPhrase, name: str, place: int, writer: Writer, *, several: bool
) -> Phrase:
    words = SIDES[name] if name in SIDES else writer.pick(MOST[name])
    order = grounded(words, ranks(writer.graph, SUPERLATIVES[name]), 'superlative')
    by_side, by_measure = (FIRST_ON_SIDE, FIRST_BY_MEASURE) if several else (FROM_SIDE, BY_MEASURE)
    it = _filled(
        by_side if name in SIDES else by_measure,
        phrase,
        writer,
        side=order,
        most=order,
        nth=Phrase(writer.pick(NTH[str(place)])),
        number=Phrase(writer.pick(NUMBERS[str(place)])),
    )
    return writer.request(it, PLURAL_REQUESTS if several else SINGULAR_REQUESTS)


def _comparison_text(phrase: NounPhrase, name: str, writer: Writer) -> Phrase:
    after = name not in MORE or writer.chance(0.4)
    words = writer.pick((MORE_AFTER if after else MORE)[name])
    more = grounded(words, ranks(writer.graph, SUPERLATIVES[name]), 'superlative')
    if writer.chance(0.2):
        named = nominal(phrase, writer, plural=True, plain=True)
        return writer.sentence(WHICH_OF_TWO, objects=named, more=more)
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
    late_weight=1.4,
    is_shipped=False,
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
    late_weight=1.2,
    is_shipped=False,
)
