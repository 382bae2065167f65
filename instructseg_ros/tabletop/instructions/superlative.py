"""Instructions with a superlative, such as the largest or nearest of several objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import hypot

from instructseg_ros.tabletop.instructions.category import Draft, InstructionCategory, labels
from instructseg_ros.tabletop.instructions.noun_phrase import (
    NounPhrase,
    absent_phrase,
    nominal,
    phrases_for,
    singular_and_plural,
)
from instructseg_ros.tabletop.instructions.wording import (
    SINGULAR_REQUESTS,
    Phrase,
    Wordings,
    Writer,
    compose,
    grounded,
)
from instructseg_ros.tabletop.world.scene_graph import SceneGraph, SceneObject

LENGTH_RATIO = 1.2
WIDTH_MARGIN = 0.05
DISTANCE_MARGIN = 0.05


@dataclass(frozen=True, kw_only=True)
class Superlative:
    """A superlative: the object with the highest value of a measure.

    Attributes:
        measure: The measure.
        clear: Whether the best value is clearly above the second best.
        before: Words before a noun ('largest').
        after: Words after a noun ('closest to me').
    """

    measure: Callable[[SceneObject], float]
    clear: Callable[[float, float], bool]
    before: Wordings
    after: Wordings


def _longer(best: float, other: float) -> bool:
    return best >= LENGTH_RATIO * other


def _shorter(best: float, other: float) -> bool:
    return -best * LENGTH_RATIO <= -other


def _beside(best: float, other: float) -> bool:
    return best - other >= WIDTH_MARGIN


def _farther(best: float, other: float) -> bool:
    return best - other >= DISTANCE_MARGIN


def across(obj: SceneObject) -> float:
    """Return how far to the right an object is seen, as the tangent of an angle."""
    return obj.position[0] / obj.position[2]


def _distance(obj: SceneObject) -> float:
    return hypot(*obj.position)


SUPERLATIVES = {
    'largest': Superlative(
        measure=lambda obj: obj.extent,
        clear=_longer,
        before=Wordings.parse("""
            largest | biggest | least small | most large | least little | most big | greatest |
            hugest | most sizable | most huge | bulkiest
            // largest sized | biggest sized
        """),
        after=Wordings.parse("""
            of the largest size | of the biggest size | largest in size | biggest of them |
            largest of the lot | of the greatest size | larger than the others |
            bigger than all the others | larger than any other | larger than the rest
            // largest of all | biggest in size
        """),
    ),
    'smallest': Superlative(
        measure=lambda obj: -obj.extent,
        clear=_shorter,
        before=Wordings.parse("""
            smallest | littlest | least big | most small | least large | most little | teeniest |
            least great | most tiny | most wee | weest
            // smallest sized | tiniest
        """),
        after=Wordings.parse("""
            of the smallest size | smallest in size | littlest of them | smallest of the lot |
            of the least size | smaller than the others | littler than all the others |
            of the tiniest size | smaller than any other | smaller than the rest |
            smallest among them
            // smallest of all | of the littlest size
        """),
    ),
    'leftmost': Superlative(
        measure=lambda obj: -across(obj),
        clear=_beside,
        before=Wordings.parse("""
            leftmost | far left | furthest left | most left | farthest left | outermost left |
            very furthest left | extreme left
            // left-most
        """),
        after=Wordings.parse("""
            on the left | on the far left | farthest to the left | furthest left | at the far left |
            to the far left | all the way to the left | most to the left | on the left end |
            at the left end | at the very left | nearest the left edge | on the far left hand side |
            all the way left | further left than the others | to the left of all the others |
            on the extreme left | on the very left | most far left
            // furthest to the left | farthest on the left
        """),
    ),
    'rightmost': Superlative(
        measure=across,
        clear=_beside,
        before=Wordings.parse("""
            rightmost | far right | furthest right | most right | farthest right | outermost right |
            very furthest right | extreme right
            // right-most
        """),
        after=Wordings.parse("""
            on the right | on the far right | farthest to the right | furthest right |
            at the far right | to the far right | all the way to the right | most to the right |
            on the right end | at the right end | at the very right | nearest the right edge |
            on the far right hand side | all the way right | further right than the others |
            to the right of all the others | on the extreme right | on the very right |
            most far right
            // furthest to the right | farthest on the right
        """),
    ),
    'nearest': Superlative(
        measure=lambda obj: -_distance(obj),
        clear=_farther,
        before=Wordings.parse("""
            nearest | closest | least far | least remote | most near | most close | least far away |
            very nearest | least far off | very closest
            // least distant
        """),
        after=Wordings.parse("""
            closest to me | nearest to me | closest to the camera | nearest to the camera |
            closest to you | least far from me | most near to me | nearest to us | closest to us |
            least far away | closest to where I am | least distant from me |
            nearer than the others | closer than all the others | nearest by |
            closer to me than the rest | nearest to where I sit | least far from the camera |
            most close to me
            // closest of all | nearest to you
        """),
    ),
    'farthest': Superlative(
        measure=_distance,
        clear=_farther,
        before=Wordings.parse("""
            farthest | furthest | most distant | most remote | least near | least close |
            most far away | farthest off | furthest off | very furthest | most far off
            // most far
        """),
        after=Wordings.parse("""
            farthest away | furthest from me | most distant from me | farthest from the camera |
            most remote from me | least near to me | farthest off | furthest off |
            farthest from us | furthest from you | least close to me | farther than the others |
            further away than the rest | farther away than all the others | most distant from us |
            at the greatest distance | furthest from where I sit | most far away
            // furthest away | farthest from me | most far from me
        """),
    ),
}


def clear_first(candidates: Iterable[SceneObject], superlative: Superlative) -> SceneObject | None:
    """Return the first of two or more candidates; None if it is not clearly ahead of the second."""
    ordered = sorted(candidates, key=superlative.measure, reverse=True)
    if len(ordered) < 2:
        return None
    best, runner_up = (superlative.measure(obj) for obj in ordered[:2])
    return ordered[0] if superlative.clear(best, runner_up) else None


def ranks(graph: SceneGraph, superlative: Superlative) -> dict[int, float]:
    """Return the squared ranks of the objects by label, from 1 for the first to 0 for the last."""
    if len(graph) == 1:
        return {graph[0].label: 1.0}
    ordered = sorted(graph, key=superlative.measure)
    return {obj.label: (rank / (len(graph) - 1)) ** 2 for rank, obj in enumerate(ordered)}


BEFORE_NOUN = Wordings.parse("""
    the {first} {object} | the {first} {object} | the {first} {object} | the {first} {object} |
    the {object} that is the {first} one | the {object} that is the {first} one |
    the {object} which I call the {first} one | this {first} {object} | my {first} {object} |
    the {object} that's the {first} | whichever {object} is the {first} |
    whichever is the {first} {object} | the very {first} {object} | the {first} {object} there is |
    the {first} {object} of them all | the {first} {object} of the lot |
    the {first} {object} on the table | the {first} {object} that you see |
    the {object}, the {first} one | the {object}, I mean the {first} one |
    not just any {object} but the {first} one | the {object} that has to be the {first} |
    the {first} {object} you have got | the {first} {object} around here |
    the one {first} {object} | the {first} {object} in the picture | only the {first} {object}
    // the {object} which is the {first} one | that {first} {object}
""")
OF_ALL = Wordings.parse("""
    the {first} of the {objects} | the {first} one of the {objects} |
    among the {objects} the {first} one | out of the {objects} the {first} one |
    from these {objects} the {first} one | of all those {objects}, the {first} |
    the {first} one among the {objects} | the {first} among all {objects} |
    out of all the {objects}, the {first} | whichever of the {objects} is the {first} |
    the one of the {objects} that is the {first} | the {first} out of the {objects} |
    the {first} one out of these {objects} | comparing the {objects}, the {first} one |
    the {first} of these {objects}
    // of the {objects} the {first} one | the {first} of all the {objects}
""")
AFTER_NOUN = Wordings.parse("""
    the {object} {first} | the {object} that is {first} | the {object} {first} |
    the {object} that is {first} | the {object} that you find {first} |
    the {object} which I see {first} | the {object} you see {first} |
    the {object} that I find {first} | the {object} which lies {first} |
    the {object} that stands {first} | the {object} that's {first} | whichever {object} is {first} |
    the one {object} {first} | that {object} {first} | the {object}, the one {first} |
    the {object}, I mean the one that is {first} | the {object} we see {first} |
    the only {object} {first} | the {object} which happens to be {first} |
    the {object} there {first} | whatever {object} is {first} | this {object} {first}
    // the {object} which is {first} | the {object} that you see {first}
""")
QUESTIONS = Wordings.parse("""
    which {object} is the {first} one? | what is the {first} {object}? |
    do you know which {object} is the {first} one? | tell me what the {first} {object} is |
    which one is the {first} {object}? | what is the {first} one? I mean the {object} |
    which {object} would be the {first}? | could you tell me which {object} is the {first}? |
    who knows which {object} is the {first}? | I need the {object}. the {first} one |
    do you see the very {first} {object}? | what {object} is the {first}? |
    I want the {object}, but it has to be the {first} one |
    I'd like to know which {object} is the {first} | show me which {object} is the {first}
    // which is the {first} {object}? | tell me which {object} is the {first} one
""")
PLACE_QUESTIONS = Wordings.parse("""
    which {object} is {first}? | what {object} is {first}? | which {object} can you see {first}? |
    do you know which {object} is {first}? | can you tell which {object} is {first}? |
    which {object} would be {first}? | could you show me which {object} is {first}? |
    I need the {object}. the one {first} | who sees the {object} {first}? |
    what is the {object} {first}? | is that the {object} {first}? |
    I want the {object}. I mean the one that is {first} | tell me which {object} is {first} |
    which of them is the {object} {first}? | I'd like to know which {object} is {first}
    // which {object} do you see {first}? | can you see which {object} is {first}?
""")
ATTEMPTS = 24


def draft(writer: Writer, *, absent: bool) -> Draft | None:
    """Draft an instruction that means the clear first of several objects (none if `absent`)."""
    if absent:
        phrase = absent_phrase(writer)
        if phrase is None:
            return None
        name = writer.choice(tuple(SUPERLATIVES))
        text = write_superlative(phrase, name, writer)
        return Draft(text=text, targets=frozenset(), candidates=frozenset())
    for _ in range(ATTEMPTS):
        phrase = writer.choice(phrases_for(writer.choice(writer.graph)))
        name = writer.choice(tuple(SUPERLATIVES))
        candidates = phrase.matches(writer.graph)
        target = clear_first(candidates, SUPERLATIVES[name])
        if target is not None:
            return Draft(
                text=write_superlative(phrase, name, writer),
                targets=labels([target]),
                candidates=labels(candidates),
            )
    return None


def write_superlative(phrase: NounPhrase, name: str, writer: Writer) -> Phrase:
    """Draw a wording that asks for the first, by a key of `SUPERLATIVES`, of what a phrase fits."""
    sentence = writer.paraphrase(name, lambda: singular_and_plural(phrase, writer))
    return sentence or _composed(phrase, name, writer)


def _composed(phrase: NounPhrase, name: str, writer: Writer) -> Phrase:
    superlative = SUPERLATIVES[name]
    after = writer.chance(0.35)
    words = writer.pick(superlative.after if after else superlative.before)
    first = grounded(words, ranks(writer.graph, superlative), 'superlative')
    if not after and writer.chance(0.25):
        named = nominal(phrase, writer, plural=True)
        it = compose(writer.pick(OF_ALL), first=first, objects=named)
        return writer.request(it, SINGULAR_REQUESTS)
    named = nominal(phrase, writer, plain=after)
    if writer.chance(0.15):
        questions = PLACE_QUESTIONS if after else QUESTIONS
        return writer.sentence(questions, first=first, object=named)
    it = compose(writer.pick(AFTER_NOUN if after else BEFORE_NOUN), first=first, object=named)
    return writer.request(it, SINGULAR_REQUESTS)


SUPERLATIVE = InstructionCategory(
    name='superlative',
    generator=draft,
    sentences=SINGULAR_REQUESTS,
    wordings=(
        *(SINGULAR_REQUESTS, BEFORE_NOUN, OF_ALL, AFTER_NOUN, QUESTIONS, PLACE_QUESTIONS),
        *(words for one in SUPERLATIVES.values() for words in (one.before, one.after)),
    ),
    share=0.17,
    share_at_rest=0.17,
    early_weight=0.5,
    late_weight=1.5,
)
