"""Instructions that identify an object by its place relative to others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from math import dist, hypot

from instructseg_ros.tabletop.instructions.category import Draft, InstructionCategory, labels
from instructseg_ros.tabletop.instructions.noun_phrase import (
    ANYTHING,
    NounPhrase,
    absent_phrase,
    definite,
    nominal,
    phrases_for,
    unique_phrase,
)
from instructseg_ros.tabletop.instructions.wording import (
    SINGULAR_REQUESTS,
    Phrase,
    Wordings,
    Writer,
    compose,
    grounded,
)
from instructseg_ros.tabletop.world.scene_graph import SceneObject

WIDTH_MARGIN = 0.05
DEPTH_MARGIN = 0.04
SHORTEST_GAP = 0.12
BESIDE, NOT_BESIDE = 0.17, 0.26  # m between the centres of objects
NEAREST = 0.2  # m to the nearest object, which is beside the anchor if others are farther
CLEARLY_FARTHER = 1.4  # times that distance
CONTAINERS = frozenset({'bowl', 'mug'})
SUPPORTS = frozenset({'plate', 'book', 'box'})


@dataclass(frozen=True, kw_only=True)
class Relation:
    """A relation of an object to one or two anchors.

    Attributes:
        truth: Returns 1 if the relation clearly holds, 0 if it clearly does not, otherwise 0.5.
        words: Words for it.
        anchors: Categories that anchors may have; None for any.
        anchor_count: Number of anchors.
        possible: Whether an object can be in this relation at all.
        is_nearest: Whether only the nearest of several objects can be in it.
    """

    truth: Callable[..., float]
    words: Wordings
    anchors: frozenset[str] | None = None
    anchor_count: int = 1
    possible: Callable[[SceneObject], bool] = lambda obj: True
    is_nearest: bool = False


def _beyond(difference: float, margin: float) -> float:
    return 1.0 if difference >= margin else 0.0 if difference <= -margin else 0.5


def touch(obj: SceneObject, anchor: SceneObject) -> bool:
    """Return whether one of two objects lies on the other or in it."""
    return anchor.label in (obj.on, obj.inside) or obj.label in (anchor.on, anchor.inside)


def _right(obj: SceneObject, anchor: SceneObject) -> float:
    if touch(obj, anchor):
        return 0.5
    across = obj.position[0] / obj.position[2] - anchor.position[0] / anchor.position[2]
    return _beyond(across, WIDTH_MARGIN)


def _behind(obj: SceneObject, anchor: SceneObject) -> float:
    if touch(obj, anchor):
        return 0.5
    return _beyond(obj.position[2] - anchor.position[2], DEPTH_MARGIN)


def _from(obj: SceneObject, other: SceneObject) -> tuple[float, float, float]:
    (x, y, z), (a, b, c) = obj.position, other.position
    return a - x, b - y, c - z


def _between(obj: SceneObject, first: SceneObject, second: SceneObject) -> float:
    """Judge by the position along the line between the anchors, and the distance from that line."""
    if touch(obj, first) or touch(obj, second):
        return 0.5
    gap = dist(first.position, second.position)
    if gap < SHORTEST_GAP:
        return 0.5
    (x, y, z), (wx, wy, wz) = _from(first, obj), _from(first, second)
    share = (x * wx + y * wy + z * wz) / gap**2
    aside = hypot(x - share * wx, y - share * wy, z - share * wz)
    if 0.25 <= share <= 0.75 and aside <= 0.25 * gap:
        return 1.0
    return 0.5 if 0.0 <= share <= 1.0 and aside <= 0.5 * gap else 0.0


def _beside(obj: SceneObject, anchor: SceneObject) -> float:
    gap = dist(obj.position, anchor.position)
    if touch(obj, anchor) or BESIDE < gap < NOT_BESIDE:
        return 0.5
    return 1.0 if gap <= BESIDE else 0.0


def _on(obj: SceneObject, anchor: SceneObject) -> float:
    return 1.0 if obj.on == anchor.label else 0.5 if obj.inside == anchor.label else 0.0


def _inside(obj: SceneObject, anchor: SceneObject) -> float:
    return 1.0 if obj.inside == anchor.label else 0.5 if obj.on == anchor.label else 0.0


RELATIONS = {
    'left': Relation(
        truth=lambda obj, anchor: 1.0 - _right(obj, anchor),
        words=Wordings.parse("""
            left of | to the left of | on the left side of | left of | to the left of |
            on the left side of | further left than | farther to the left than |
            on the left hand side of | to the left hand side of | over to the left of |
            off to the left of | leftwards of | more to the left than | further to the left than |
            at the left of | somewhere to the left of | away to the left of | farther left than |
            further over to the left than | standing to the left of | lying left of |
            placed left of | to the left from
            // on the left of | to the left side of | at the left side of
        """),
    ),
    'right': Relation(
        truth=_right,
        words=Wordings.parse("""
            right of | to the right of | on the right side of | right of | to the right of |
            on the right side of | further right than | farther to the right than |
            on the right hand side of | to the right hand side of | over to the right of |
            off to the right of | rightwards of | more to the right than |
            further to the right than | at the right of | somewhere to the right of |
            away to the right of | farther right than | further over to the right than |
            standing to the right of | lying right of | placed right of | to the right from
            // on the right of | to the right side of | at the right side of
        """),
    ),
    'behind': Relation(
        truth=_behind,
        words=Wordings.parse("""
            behind | at the back of | farther away than | further back than | more distant than |
            further from me than | farther from the camera than | at the far side of |
            in the back of | to the rear of | at the rear of | on the far side of | beyond |
            farther off than | further off than | farther from me than |
            further from the camera than | deeper in the picture than | standing behind |
            lying behind | somewhere behind | more remote than | less near than | less close than
            // in back of | further away than | farther back than
        """),
    ),
    'front': Relation(
        truth=lambda obj, anchor: 1.0 - _behind(obj, anchor),
        words=Wordings.parse("""
            in front of | before | nearer than | closer to me than | nearer to the camera than |
            less far away than | at the near side of | closer to the camera than | ahead of |
            on this side of | on the near side of | at the front side of | more to the front than |
            standing in front of | lying in front of | to the front of | further forward than |
            closer to us than | nearer to us than | less distant than | less remote than |
            closer to you than | more close than | nearer to you than | more in front than |
            somewhere in front of | on the front side of
            // at the front of | closer than | nearer to me than
        """),
    ),
    'between': Relation(
        truth=_between,
        words=Wordings.parse("""
            between | in between | in the middle of | midway between | at the middle between |
            somewhere between | standing between | in the space between | in the gap between |
            halfway between | centred between | placed between | lying between | sitting between |
            set between | located between | flanked by | half way in between | squeezed between |
            in the centre between
            // in the middle between | amid
        """),
        anchor_count=2,
    ),
    'beside': Relation(
        truth=_beside,
        is_nearest=True,
        words=Wordings.parse("""
            next to | next to | beside | near | close to | right next to | right beside | by |
            near to | at the side of | just by | close by | standing beside | lying next to |
            neighbouring | neighboring | right by | right near | close beside | directly next to |
            directly beside | adjoining | bordering | touching | almost touching | nearly touching |
            not far from | not far away from | a short way from | within reach of |
            side by side with | on one side of | right alongside | just beside | just next to |
            quite near to | quite close to | near by | in the vicinity of |
            in the neighbourhood of | around the side of | up against | hard by | over by |
            placed beside | placed next to | standing next to | standing near | standing by |
            lying near | lying by | lying beside | sitting beside | sitting near | sitting by |
            immediately beside | by the side of | to the side of | directly adjacent to |
            in close reach of
            // adjacent to | alongside | very close to | sitting next to
        """),
    ),
    'on': Relation(
        truth=_on,
        words=Wordings.parse("""
            on | on top of | on | on top of | standing on | lying on | sitting on top of |
            placed on | placed on top of | sitting on | up on top of | put on | upon |
            on the top of | atop | resting on | resting on top of | set on | laid on | carried by |
            supported by | perched on | put down on | stood on | up on | right on top of |
            put on top of | lying flat on | set down on
            // at the top of | lying on top of | standing on top of
        """),
        anchors=SUPPORTS,
        possible=lambda obj: obj.on is not None,
    ),
    'inside': Relation(
        truth=_inside,
        words=Wordings.parse("""
            in | inside | in | inside | inside of | lying in | sitting in | placed inside |
            sitting inside | standing inside | placed in | deep inside | put into | contained in |
            held in | kept in | resting in | resting inside | put in | put inside | dropped in |
            dropped into | stuck in | on the inside of | at the bottom of | lying at the bottom of |
            down in | right inside | set in | stored in | somewhere in | enclosed by
            // lying inside | standing in | within
        """),
        anchors=CONTAINERS,
        possible=lambda obj: obj.inside is not None,
    ),
}


PATTERNS = Wordings.parse("""
    the {object} {place} | the {object} {place} | the {object} {place} | the {object} {place} |
    the {object} that is {place} | the {object} that is {place} |
    the {object} that you find {place} | the {object} which I see {place} |
    the {object} which you find {place} | the {object} that stands {place} |
    the {object} that's {place} | the {object} we see {place} | the {object} there {place} |
    the {object} that I see {place} | the {object} that you see {place} |
    whichever {object} is {place} | the one {object} {place} | that {object} {place} |
    this {object} {place} | the {object}, the one {place} | the {object}, I mean the one {place} |
    the {object} that must be {place} | the {object} that happens to be {place} |
    the only {object} {place} | whatever {object} is {place}
    // the {object} which is {place} | the {object} you see {place}
""")
QUESTIONS = Wordings.parse("""
    which {object} is {place}? | what is the {object} {place}? | tell me which {object} is {place} |
    do you know which {object} is {place}? | which {object} can you see {place}? |
    what {object} do I see {place}? | can you tell which {object} is {place}? |
    isn't there some {object} {place}? | what {object} is {place}? |
    which of them is the {object} {place}? | the {object} {place}, where is it? |
    where do I find the {object} {place}? | is that the {object} {place}? |
    what is the name of the {object} {place}? | which {object} would be {place}? |
    could you show me which {object} is {place}? | I need to know which {object} is {place} |
    who sees the {object} {place}? | there is some {object} {place}. which one? |
    I want the {object}. I mean the one {place}
    // which {object} do you see {place}? | can you see which {object} is {place}?
""")
OPEN_QUESTIONS = Wordings.parse("""
    what is {place}? | what do you see {place}? | show me what is {place} |
    what can you see {place}? | what do you find {place}? | do you know what is {place}? |
    what's {place}? | is anything {place}? | is there something {place}? | whatever is {place} |
    the one that is {place} | bring me what is {place} | take what you see {place} |
    something is {place}. what is it? | find me whatever is {place} |
    could you tell me what is {place}? | what have we got {place}? | give me that which is {place} |
    who knows what is {place}? | I want what is {place} | point at what is {place} |
    pick up what you find {place} | what is it that is {place}?
    // what can you find {place}? | tell me what is {place} | what is there {place}?
""")
ONE_ANCHOR = Wordings.parse('{relation} {first}')
TWO_ANCHORS = Wordings.parse('{relation} {first} and {second}')
ATTEMPTS = 24
CONTRAST_SHARE = 0.8
SIDES = ('left', 'right', 'behind', 'front')
DRAWN = (*SIDES, *SIDES, 'between', 'between', 'on', 'inside')


@dataclass(frozen=True, kw_only=True)
class AnchoredRelation:
    """A relation with its anchors, such as "left of the red mug".

    Attributes:
        name: A key of `RELATIONS`.
        phrases: Noun phrases of the anchors.
        anchors: The anchors.
        truths: Truth of the relation for every other object, by label.
    """

    name: str
    phrases: tuple[NounPhrase, ...]
    anchors: tuple[SceneObject, ...]
    truths: dict[int, float]

    def judge(self, objects: Iterable[SceneObject]) -> dict[int, float]:
        """Return the truth of the relation for some objects that a phrase describes, by label.

        Only the nearest of several objects is beside an anchor, and only if it is clearly nearer.
        """
        others = [one for one in objects if one not in self.anchors]
        if not RELATIONS[self.name].is_nearest or not others:
            return {one.label: self.truths.get(one.label, 0.0) for one in others}
        [anchor] = self.anchors
        gaps = {one.label: dist(one.position, anchor.position) for one in others}
        nearest = min(others, key=lambda one: gaps[one.label])
        gap, *farther = sorted(gaps.values())
        if gap > NOT_BESIDE:
            return dict.fromkeys(gaps, 0.0)
        is_clear = gap <= NEAREST and (not farther or farther[0] >= CLEARLY_FARTHER * gap)
        if touch(nearest, anchor) or not is_clear:
            return dict.fromkeys(gaps, 0.5)
        return {label: float(label == nearest.label) for label in gaps}


def draft(writer: Writer, *, absent: bool, relations: Sequence[str] = DRAWN) -> Draft | None:
    """Draft an instruction that fits one object by its relation to others (none if `absent`)."""
    if absent and writer.chance(0.3):
        return _next_to_missing(writer)
    for _ in range(ATTEMPTS):
        name = writer.choice(relations)
        anchors = (_any_anchors if absent else _anchors)(RELATIONS[name], writer)
        place = _place(name, anchors, writer)
        phrase = place and (_empty if absent else _single)(place, writer)
        if place and phrase:
            return _draft(phrase, place, writer)
    return None


def _anchors(relation: Relation, writer: Writer) -> tuple[SceneObject, ...]:
    """Draw anchors such that an object is in this relation to them; () if there are none."""
    placed = [one for one in writer.graph if relation.possible(one)]
    if not placed:
        return ()
    obj = writer.choice(placed)
    others = [one for one in writer.graph if one is not obj]
    groups = combinations(others, relation.anchor_count)
    options = [group for group in groups if relation.truth(obj, *group) == 1.0]
    return tuple(writer.shuffled(writer.choice(options))) if options else ()


def _any_anchors(relation: Relation, writer: Writer) -> tuple[SceneObject, ...]:
    """Draw anchors that suit the relation, even if no object is in this relation to them."""
    fitting = [
        one for one in writer.graph if relation.anchors is None or one.category in relation.anchors
    ]
    if len(fitting) < relation.anchor_count:
        return ()
    return tuple(writer.shuffled(fitting)[: relation.anchor_count])


def _place(name: str, anchors: tuple[SceneObject, ...], writer: Writer) -> AnchoredRelation | None:
    phrases = [unique_phrase(anchor, writer) for anchor in anchors]
    named = tuple(phrase for phrase in phrases if phrase is not None)
    if not anchors or len(named) < len(anchors):
        return None
    others = [one for one in writer.graph if one not in anchors]
    truths = {obj.label: RELATIONS[name].truth(obj, *anchors) for obj in others}
    return AnchoredRelation(name=name, phrases=named, anchors=anchors, truths=truths)


def _single(place: AnchoredRelation, writer: Writer) -> NounPhrase | None:
    """Draw a phrase that fits one object in this relation, and usually others that are not."""
    targets = [one for one in writer.graph if place.truths.get(one.label) == 1.0]
    options = []
    for phrase in phrases_for(writer.choice(targets)):
        truths = [*place.judge(phrase.matches(writer.graph)).values()]
        if truths.count(1.0) == 1 and 0.5 not in truths:
            options.append((phrase, len(truths)))
    if writer.chance(CONTRAST_SHARE):
        options = [option for option in options if option[1] > 1]
    return writer.choice(options)[0] if options else None


def _empty(place: AnchoredRelation, writer: Writer) -> NounPhrase | None:
    """Draw a phrase that fits objects of the scene, but none that is in this relation."""
    others = [one for one in writer.graph if one not in place.anchors]
    if not others:
        return None
    phrase = writer.choice(phrases_for(writer.choice(others)))
    return phrase if {*place.judge(phrase.matches(writer.graph)).values()} == {0.0} else None


def _next_to_missing(writer: Writer) -> Draft | None:
    """Draft an instruction with a relation to an anchor that is not in the scene."""
    missing = absent_phrase(writer)
    if missing is None:
        return None
    name = writer.choice(SIDES)
    phrase = writer.choice(phrases_for(writer.choice(writer.graph)))
    place = AnchoredRelation(name=name, phrases=(missing,), anchors=(), truths={})
    return _draft(phrase, place, writer)


def _draft(phrase: NounPhrase, place: AnchoredRelation, writer: Writer) -> Draft:
    truths = place.judge(phrase.matches(writer.graph))
    return Draft(
        text=write_relation(phrase, place, writer),
        targets=frozenset(label for label, truth in truths.items() if truth == 1.0),
        anchors=labels(place.anchors),
        candidates=frozenset(truths),
    )


def write_relation(phrase: NounPhrase, place: AnchoredRelation, writer: Writer) -> Phrase:
    """Draw a wording that asks for what a phrase fits at a place."""
    return _paraphrase(phrase, place, writer) or _composed(phrase, place, writer)


def _paraphrase(phrase: NounPhrase, place: AnchoredRelation, writer: Writer) -> Phrase | None:
    of_anything = phrase == ANYTHING and place.name == 'beside'

    def slots() -> dict[str, Phrase]:
        anchors = [nominal(each, writer, plain=True) for each in place.phrases]
        named = {'object': nominal(phrase, writer, plain=True)}
        return named | dict(zip(('anchor', 'anchor2'), anchors, strict=False))

    return writer.paraphrase('beside anything' if of_anything else place.name, slots)


def _composed(phrase: NounPhrase, place: AnchoredRelation, writer: Writer) -> Phrase:
    weights = {label: truth for label, truth in place.truths.items() if truth > 0.0}
    slots = {'relation': grounded(writer.pick(RELATIONS[place.name].words), weights, 'relation')}
    slots['first'] = definite(place.phrases[0], writer)
    if len(place.phrases) == 2:
        slots['second'] = definite(place.phrases[1], writer)
    pattern = TWO_ANCHORS if 'second' in slots else ONE_ANCHOR
    where = compose(writer.pick(pattern), **slots)
    if phrase == ANYTHING and writer.chance(0.3):
        return writer.sentence(OPEN_QUESTIONS, place=where)
    named = nominal(phrase, writer, plain=True)
    if writer.chance(0.15):
        return writer.sentence(QUESTIONS, object=named, place=where)
    it = compose(writer.pick(PATTERNS), object=named, place=where)
    return writer.request(it, SINGULAR_REQUESTS)


RELATION = InstructionCategory(
    name='relation',
    generator=draft,
    sentences=SINGULAR_REQUESTS,
    wordings=(
        *(SINGULAR_REQUESTS, PATTERNS, QUESTIONS, OPEN_QUESTIONS, ONE_ANCHOR, TWO_ANCHORS),
        *(relation.words for relation in RELATIONS.values()),
    ),
    share=0.23,
    share_at_rest=0.23,
    early_weight=0.4,
    late_weight=3.0,
    demo_examples=2,
)
PROXIMITY = InstructionCategory(
    name='proximity',
    generator=partial(draft, relations=('beside',)),
    sentences=SINGULAR_REQUESTS,
    wordings=(SINGULAR_REQUESTS, PATTERNS, QUESTIONS, OPEN_QUESTIONS, ONE_ANCHOR),
    share=0.1,
    share_at_rest=0.1,
    early_weight=0.4,
    late_weight=1.5,
)
