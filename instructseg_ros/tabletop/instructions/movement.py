"""Instructions that identify an object by how it moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import copysign, hypot

from instructseg_ros.tabletop.instructions.draft import Draft, labels
from instructseg_ros.tabletop.instructions.noun_phrase import (
    ANYTHING,
    NounPhrase,
    nominal,
    phrases_for,
)
from instructseg_ros.tabletop.instructions.wording import (
    SINGULAR_REQUESTS,
    Phrase,
    Wordings,
    Writer,
    compose,
    grounded,
)
from instructseg_ros.tabletop.world.scene_graph import MOTIONS, SceneGraph, Thing

REST_SPEED = 1e-3
STRAIGHT_SHARE = 0.8
ASIDE_SHARE = 0.5
ROUND_KINDS = frozenset({'ball', 'can', 'apple', 'car'})


@dataclass(frozen=True, kw_only=True)
class Movement:
    """A direction and whether it is rolling, each None or False where the words leave it open."""

    direction: str | None = None
    rolling: bool = False

    def truth(self, thing: Thing) -> float:
        """1 where the thing clearly moves so, 0 where it clearly does not, else 0.5."""
        return min(
            moves(thing),
            1.0 if self.direction is None else heads(thing, self.direction),
            rolls(thing) if self.rolling else 1.0,
        )


def moves(thing: Thing) -> float:
    """Whether the thing moves; unclear while it starts, turns or comes down."""
    if thing.motion is not None:
        return 1.0
    return 0.5 if hypot(*thing.velocity) > REST_SPEED else 0.0


def heads(thing: Thing, direction: str) -> float:
    """Whether the thing moves in the direction; unclear where only part of its speed does."""
    if thing.motion is None:
        return moves(thing)
    if 'up' in (thing.motion, direction):
        return 1.0 if thing.motion == direction else 0.0
    share = _share(thing.velocity, direction)
    if thing.motion == direction and share >= STRAIGHT_SHARE:
        return 1.0
    return 0.5 if share > ASIDE_SHARE else 0.0


def _share(velocity: tuple[float, float, float], direction: str) -> float:
    """The cosine to a direction of the table: what is not sideways leads away or back on it."""
    x, y, z = velocity
    along = {'left': -x, 'right': x, 'away': copysign(hypot(y, z), z)}
    along['towards'] = -along['away']
    return along[direction] / max(hypot(x, y, z), REST_SPEED)


def rolls(thing: Thing) -> float:
    """Whether the thing rolls; unclear for round things that are moved otherwise."""
    if moves(thing) == 0.0:
        return 0.0
    if thing.manner == 'rolling':
        return 1.0
    return 0.5 if thing.kind in ROUND_KINDS else 0.0


# Participles go behind 'is' or a noun ('moving left'), finite verbs behind 'that' ('moves left').
PARTICIPLES = Wordings.table("""
    move: moving | moving | going // traveling
    move at all: moving | not standing still | moving around // in motion
    come: coming
    roll: rolling
    rise: being lifted | being lifted up | rising | being picked up
        // lifted up | being lifted into the air
""")
FINITES = Wordings.table("""
    move: moves | goes
    move at all: moves | does not stand still | moves around // is not still
    come: comes
    roll: rolls
    rise: rises | goes up | is lifted | is picked up // is lifted into the air
""")
DIRECTIONS = Wordings.table("""
    left: left | to the left | leftwards | to the left side | to your left | towards your left |
        over to the left
        // towards the left | to my left
    right: right | to the right | rightwards | to the right side | to your right |
        towards your right | over to the right
        // towards the right | to my right
    towards: towards me | towards the camera | closer | closer to me | nearer to the camera
        // nearer | nearer to me | towards you
    away: away | away from me | further away | away from the camera | farther from me |
        further from the camera | far away
        // farther away | away from you
    up: up | upwards | into the air | up in the air // up into the air
""")
WITH_DIRECTION = Wordings.parse('{verb} {direction}')
BEFORE_NOUN = Wordings.parse("""
    the {moving} {thing} | the {moving} {thing} | this {moving} {thing} | my {moving} {thing}
    // that {moving} {thing} | the {thing} there that is {moving}
""")
AFTER_NOUN = Wordings.parse("""
    the {thing} {moving} | the {thing} that is {moving} | the {thing} {moving} |
    the {thing} that is {moving} | the {thing} that you see {moving} |
    the {thing} which I see {moving} | the {thing} which you find {moving} |
    the {thing} that you find {moving}
    // the {thing} which is {moving} | the {thing} you see {moving}
""")
WITH_FINITE = Wordings.parse("""
    the {thing} that {moves} | the {thing} that {moves} | the {thing} that {moves} |
    the {thing} there that {moves} | this {thing} that {moves}
    // the {thing} which {moves}
""")
SENTENCES = SINGULAR_REQUESTS
QUESTIONS = Wordings.parse("""
    which {thing} is {moving}? | what {thing} is {moving}? | which {thing} can you see {moving}? |
    do you know which {thing} is {moving}? | what {thing} do I see {moving}? |
    can you tell which {thing} is {moving}?
    // which {thing} do you see {moving}? | can you see which {thing} is {moving}?
""")
OPEN_QUESTIONS = Wordings.parse("""
    what is {moving}? | show me what is {moving} | what do you see {moving}? |
    do you know what is {moving}? | what can I see {moving}? | find what is {moving}
    // tell me what is {moving} | can you see what is {moving}? | is there something {moving}?
""")
WORDINGS = (
    SENTENCES,
    WITH_DIRECTION,
    BEFORE_NOUN,
    AFTER_NOUN,
    WITH_FINITE,
    QUESTIONS,
    OPEN_QUESTIONS,
    *PARTICIPLES.values(),
    *FINITES.values(),
    *DIRECTIONS.values(),
)
ATTEMPTS = 12


def draft(writer: Writer, *, absent: bool) -> Draft | None:
    """The one thing that moves so; when absent, nothing that fits the noun moves so."""
    movers = [thing for thing in writer.graph if moves(thing) == 1.0]
    if not movers and not absent:
        return None
    for _ in range(ATTEMPTS):
        if absent:
            thing = writer.choice(movers if movers and writer.chance(0.6) else writer.graph)
            movement = _any_movement(writer)
        else:
            thing = writer.choice(movers)
            movement = _movement_of(thing, writer)
        phrase = writer.choice(phrases_for(thing))
        candidates = phrase.matches(writer.graph)
        truths = [movement.truth(one) for one in candidates]
        if 0.5 not in truths and truths.count(1.0) == (0 if absent else 1):
            return Draft(
                text=_text(phrase, movement, writer),
                targets=labels(one for one in candidates if movement.truth(one) == 1.0),
                candidates=labels(candidates),
            )
    return None


def _movement_of(thing: Thing, writer: Writer) -> Movement:
    direction = thing.motion if writer.chance(0.65) else None
    return Movement(direction=direction, rolling=rolls(thing) == 1.0 and writer.chance(0.4))


def _any_movement(writer: Writer) -> Movement:
    direction = writer.choice(MOTIONS) if writer.chance(0.7) else None
    return Movement(direction=direction, rolling=direction != 'up' and writer.chance(0.15))


def _text(phrase: NounPhrase, movement: Movement, writer: Writer) -> Phrase:
    if phrase == ANYTHING and writer.chance(0.25):
        moving = _in_words(movement, PARTICIPLES, writer)
        return writer.sentence(OPEN_QUESTIONS, moving=moving)
    thing = nominal(phrase, writer, plain=True)
    if writer.chance(0.3):
        moving = _in_words(movement, FINITES, writer)
        it = compose(writer.pick(WITH_FINITE), thing=thing, moves=moving)
        return writer.request(it, SENTENCES)
    moving = _in_words(movement, PARTICIPLES, writer)
    if writer.chance(0.15):
        return writer.sentence(QUESTIONS, thing=thing, moving=moving)
    before = moving.text in ('moving', 'rolling') and writer.chance(0.6)
    it = compose(writer.pick(BEFORE_NOUN if before else AFTER_NOUN), thing=thing, moving=moving)
    return writer.request(it, SENTENCES)


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
    return _weights(graph, lambda thing: heads(thing, direction))


def _weights(graph: SceneGraph, truth: Callable[[Thing], float]) -> dict[int, float]:
    truths = {thing.label: truth(thing) for thing in graph}
    return {label: weight for label, weight in truths.items() if weight > 0.0}
