"""Instructions that identify an object by how it moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import copysign, hypot

from instructseg_ros.tabletop.instructions.category import Draft, InstructionCategory, labels
from instructseg_ros.tabletop.instructions.noun_phrase import (
    ANYTHING,
    NounPhrase,
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
from instructseg_ros.tabletop.world.scene_graph import MOTIONS, SceneGraph, SceneObject

REST_SPEED = 1e-3
STRAIGHT_SHARE = 0.8
ASIDE_SHARE = 0.5
ROUND_CATEGORIES = frozenset({'ball', 'can', 'apple', 'car'})


@dataclass(frozen=True, kw_only=True)
class Movement:
    """The movement that a text describes.

    Attributes:
        direction: One of MOTIONS; None if it is not mentioned.
        rolling: Whether rolling is mentioned.
    """

    direction: str | None = None
    rolling: bool = False

    def truth(self, obj: SceneObject) -> float:
        """Return 1 if the object clearly moves like this, 0 if it clearly does not, else 0.5."""
        return min(
            moves(obj),
            1.0 if self.direction is None else heads(obj, self.direction),
            rolls(obj) if self.rolling else 1.0,
        )


def moves(obj: SceneObject) -> float:
    """Return how clearly the object moves, 0 to 1: 0.5 while it starts, turns or comes down."""
    if obj.motion is not None:
        return 1.0
    return 0.5 if hypot(*obj.velocity) > REST_SPEED else 0.0


def heads(obj: SceneObject, direction: str) -> float:
    """Return how clearly the object moves in a direction, 0 to 1: 0.5 if only partly."""
    if obj.motion is None:
        return moves(obj)
    if 'up' in (obj.motion, direction):
        return 1.0 if obj.motion == direction else 0.0
    share = _share(obj.velocity, direction)
    if obj.motion == direction and share >= STRAIGHT_SHARE:
        return 1.0
    return 0.5 if share > ASIDE_SHARE else 0.0


def _share(velocity: tuple[float, float, float], direction: str) -> float:
    """Cosine between a velocity and a direction on the table; vertical parts count as depth."""
    x, y, z = velocity
    along = {'left': -x, 'right': x, 'away': copysign(hypot(y, z), z)}
    along['towards'] = -along['away']
    return along[direction] / max(hypot(x, y, z), REST_SPEED)


def rolls(obj: SceneObject) -> float:
    """Return how clearly the object rolls, 0 to 1: 0.5 for round ones moving without rolling."""
    if moves(obj) == 0.0:
        return 0.0
    if obj.manner == 'rolling':
        return 1.0
    return 0.5 if obj.category in ROUND_CATEGORIES else 0.0


# Participles follow 'is' or a noun ('moving left'), finite verbs follow 'that' ('moves left').
PARTICIPLES = Wordings.table("""
    move: moving | moving | going | sliding | shifting | travelling | on its way | drifting
        // traveling
    move at all: moving | moving about | moving around | on the move | not standing still |
        not at rest | sliding about | shifting | on the go | going somewhere | changing its place |
        no longer at rest
        // in motion
    come: coming | on its way | heading
    roll: rolling | rolling along | rolling on
    rise: being lifted | being lifted up | rising | being picked up | going up | on the way up |
        coming up | getting lifted | being raised | moving up | being taken up | leaving the table |
        getting higher
        // lifted up | being lifted into the air
""")
FINITES = Wordings.table("""
    move: moves | goes | slides | shifts | heads | travels | drifts
    move at all: moves | moves around | slides about | shifts | is on the move |
        does not stand still | is not at rest | will not keep still | moves about |
        changes its place | is going somewhere | does move
        // goes around
    come: comes | is coming | heads | is on its way
    roll: rolls | is rolling | rolls along | rolls on
    rise: rises | goes up | is lifted | is picked up | is going up | is being lifted | gets lifted |
        gets picked up | is being raised | comes up | leaves the table | is on the way up |
        moves up | gets higher
        // is lifted into the air
""")
DIRECTIONS = Wordings.table("""
    left: left | to the left | leftwards | to the left side | to your left | towards your left |
        over to the left | to our left | in the direction of the left | off to the left | leftward |
        further left | to the left hand side | from right to left
        // towards the left | to my left
    right: right | to the right | rightwards | to the right side | to your right |
        towards your right | over to the right | to our right | in the direction of the right |
        off to the right | rightward | further right | to the right hand side | from left to right
        // towards the right | to my right
    towards: towards me | towards the camera | closer | closer to me | nearer to the camera |
        toward me | toward us | to me | to us | in my direction | nearer to us | closer to us |
        this way | our way | toward the camera | to the front
        // nearer | nearer to me | towards you
    away: away | away from me | further away | away from the camera | farther from me |
        further from the camera | far away | away from us | off into the distance | farther off |
        further off | backwards | to the back | into the background | away from here |
        out of my reach | farther away from us
        // farther away | away from you
    up: up | upwards | into the air | up in the air | upward | off the table | up from the table |
        skywards | high up | upwards in the air | up off the table
        // up into the air
""")
WITH_DIRECTION = Wordings.parse('{verb} {direction}')
BEFORE_NOUN = Wordings.parse("""
    the {moving} {object} | the {moving} {object} | this {moving} {object} | my {moving} {object} |
    the only {moving} {object} | the {moving} {object} there | the {object}, the {moving} one |
    the one {moving} {object} | whichever {object} is {moving} | the {moving} {object} you see |
    the {moving} {object} in the picture
    // that {moving} {object} | the {object} there that is {moving}
""")
AFTER_NOUN = Wordings.parse("""
    the {object} {moving} | the {object} that is {moving} | the {object} {moving} |
    the {object} that is {moving} | the {object} that you see {moving} |
    the {object} which I see {moving} | the {object} which you find {moving} |
    the {object} that you find {moving} | the {object} that's {moving} |
    whichever {object} is {moving} | the {object} we see {moving} | the one {object} {moving} |
    the {object} that seems to be {moving} | the {object} that is now {moving} |
    the {object} which happens to be {moving} | that {object} {moving} | this {object} {moving} |
    the only {object} {moving} | the {object}, the one {moving} |
    the {object}, I mean the one that is {moving} | whatever {object} is {moving}
    // the {object} which is {moving} | the {object} you see {moving}
""")
WITH_FINITE = Wordings.parse("""
    the {object} that {moves} | the {object} that {moves} | the {object} that {moves} |
    the {object} there that {moves} | this {object} that {moves} | whichever {object} {moves} |
    whatever {object} {moves} | that {object} which {moves} | the one {object} that {moves} |
    the only {object} that {moves} | the {object}, the one that {moves} |
    the {object}, I mean the one that {moves} | the {object} here that {moves}
    // the {object} which {moves}
""")
QUESTIONS = Wordings.parse("""
    which {object} is {moving}? | what {object} is {moving}? |
    which {object} can you see {moving}? | do you know which {object} is {moving}? |
    what {object} do I see {moving}? | can you tell which {object} is {moving}? |
    which one is the {object} {moving}? | what is the {object} that is {moving}? |
    tell me which {object} is {moving} | is there some {object} {moving}? |
    isn't that {object} {moving}? | could you show me which {object} is {moving}? |
    there is some {object} {moving}. which one? | I want the {object}. the one that is {moving} |
    who sees the {object} {moving}? | which {object} would be {moving}?
    // which {object} do you see {moving}? | can you see which {object} is {moving}?
""")
OPEN_QUESTIONS = Wordings.parse("""
    what is {moving}? | show me what is {moving} | what do you see {moving}? |
    do you know what is {moving}? | what can I see {moving}? | find what is {moving} |
    what's {moving}? | whatever is {moving} | is anything {moving}? |
    something is {moving}. what is it? | the one that is {moving} | I want what is {moving} |
    who knows what is {moving}? | bring me what is {moving} | get whatever is {moving} |
    could you tell me what is {moving}? | point at what is {moving} | what is it that is {moving}? |
    what have we got {moving}?
    // tell me what is {moving} | can you see what is {moving}? | is there something {moving}?
""")
ATTEMPTS = 12


def draft(writer: Writer, *, absent: bool) -> Draft | None:
    """Draft an instruction that fits one object by its movement (no object if `absent`)."""
    movers = [obj for obj in writer.graph if moves(obj) == 1.0]
    if not movers and not absent:
        return None
    for _ in range(ATTEMPTS):
        if absent:
            obj = writer.choice(movers if movers and writer.chance(0.6) else writer.graph)
            movement = _any_movement(writer)
        else:
            obj = writer.choice(movers)
            movement = _movement_of(obj, writer)
        phrase = writer.choice(phrases_for(obj))
        candidates = phrase.matches(writer.graph)
        truths = [movement.truth(one) for one in candidates]
        if 0.5 not in truths and truths.count(1.0) == (0 if absent else 1):
            return Draft(
                text=_text(phrase, movement, writer),
                targets=labels(one for one in candidates if movement.truth(one) == 1.0),
                candidates=labels(candidates),
            )
    return None


def _movement_of(obj: SceneObject, writer: Writer) -> Movement:
    direction = obj.motion if writer.chance(0.65) else None
    return Movement(direction=direction, rolling=rolls(obj) == 1.0 and writer.chance(0.4))


def _any_movement(writer: Writer) -> Movement:
    direction = writer.choice(MOTIONS) if writer.chance(0.7) else None
    return Movement(direction=direction, rolling=direction != 'up' and writer.chance(0.15))


def _text(phrase: NounPhrase, movement: Movement, writer: Writer) -> Phrase:
    return _paraphrase(phrase, movement, writer) or _composed(phrase, movement, writer)


def _paraphrase(phrase: NounPhrase, movement: Movement, writer: Writer) -> Phrase | None:
    if movement.rolling:
        return None
    if phrase == ANYTHING:
        return writer.paraphrase(f'motion {movement.direction or "moving"}')
    meaning = f'object {movement.direction or "moving"}'
    return writer.paraphrase(meaning, lambda: singular_and_plural(phrase, writer))


def _composed(phrase: NounPhrase, movement: Movement, writer: Writer) -> Phrase:
    if phrase == ANYTHING and writer.chance(0.25):
        moving = _in_words(movement, PARTICIPLES, writer)
        return writer.sentence(OPEN_QUESTIONS, moving=moving)
    named = nominal(phrase, writer, plain=True)
    if writer.chance(0.3):
        moving = _in_words(movement, FINITES, writer)
        it = compose(writer.pick(WITH_FINITE), object=named, moves=moving)
        return writer.request(it, SINGULAR_REQUESTS)
    moving = _in_words(movement, PARTICIPLES, writer)
    if writer.chance(0.15):
        return writer.sentence(QUESTIONS, object=named, moving=moving)
    before = moving.text in ('moving', 'rolling') and writer.chance(0.6)
    it = compose(writer.pick(BEFORE_NOUN if before else AFTER_NOUN), object=named, moving=moving)
    return writer.request(it, SINGULAR_REQUESTS)


def _in_words(movement: Movement, verbs: dict[str, Wordings], writer: Writer) -> Phrase:
    graph, direction = writer.graph, movement.direction
    verb = _verb(movement, writer)
    if verb == 'rise':
        return grounded(writer.pick(verbs[verb]), _heading(graph, 'up'), 'motion')
    truth = rolls if verb == 'roll' else moves
    acting = grounded(writer.pick(verbs[verb]), _weights(graph, truth), 'motion')
    if direction is None:
        return acting
    words = writer.pick(DIRECTIONS[direction])
    heading = grounded(words, _heading(graph, direction), 'motion')
    return compose(writer.pick(WITH_DIRECTION), verb=acting, direction=heading)


def _verb(movement: Movement, writer: Writer) -> str:
    if movement.rolling:
        return 'roll'
    if movement.direction == 'up' and writer.chance(0.6):
        return 'rise'
    if movement.direction == 'towards' and writer.chance(0.5):
        return 'come'
    return 'move' if movement.direction else 'move at all'


def _heading(graph: SceneGraph, direction: str) -> dict[int, float]:
    return _weights(graph, lambda obj: heads(obj, direction))


def _weights(graph: SceneGraph, truth: Callable[[SceneObject], float]) -> dict[int, float]:
    truths = {obj.label: truth(obj) for obj in graph}
    return {label: weight for label, weight in truths.items() if weight > 0.0}


MOTION = InstructionCategory(
    name='motion',
    generator=draft,
    sentences=SINGULAR_REQUESTS,
    wordings=(
        *(SINGULAR_REQUESTS, WITH_DIRECTION, BEFORE_NOUN, AFTER_NOUN, WITH_FINITE),
        *(QUESTIONS, OPEN_QUESTIONS),
        *(words for one in (PARTICIPLES, FINITES, DIRECTIONS) for words in one.values()),
    ),
    share=0.25,
    share_at_rest=0.03,
    early_weight=1.3,
    late_weight=2.6,
    demo_examples=2,
)
