"""Meanings of the instructions of the free-wording benchmark in a scene, whatever the words are.

The sentences are in `free_wording.yaml`. They were written by hand, without knowledge of the
generator that the model is trained with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from math import dist

from instructseg_ros.tabletop.instructions.category import labels
from instructseg_ros.tabletop.instructions.movement import heads, moves
from instructseg_ros.tabletop.instructions.noun_phrase import NounPhrase
from instructseg_ros.tabletop.instructions.relation import BESIDE, RELATIONS, WIDTH_MARGIN, touch
from instructseg_ros.tabletop.instructions.superlative import (
    LENGTH_RATIO,
    SUPERLATIVES,
    across,
    clear_first,
)
from instructseg_ros.tabletop.instructions.use import USES
from instructseg_ros.tabletop.world.catalogue import COLORS, OBJECT_CATEGORIES
from instructseg_ros.tabletop.world.scene_graph import SceneGraph, SceneObject

NEIGHBOUR_RATIO = 1.6  # how much farther away the second neighbour must be


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """The meaning of an instruction in one scene.

    Attributes:
        words: Value of each slot of the sentence.
        targets: Labels of the objects meant; empty if the target is absent.
        forbidden: Labels of objects that the instruction rules out explicitly.
    """

    words: dict[str, str] = field(default_factory=dict)
    targets: frozenset[int]
    forbidden: frozenset[int] = frozenset()


Reader = Callable[[SceneGraph], Iterator[Meaning]]


def _groups(objects: Iterable[SceneObject], least: int) -> Iterator[tuple[str, list[SceneObject]]]:
    """Yield each category with at least `least` objects."""
    by_category: dict[str, list[SceneObject]] = {}
    for obj in objects:
        by_category.setdefault(obj.category, []).append(obj)
    yield from ((noun, group) for noun, group in by_category.items() if len(group) >= least)


def _words(obj: SceneObject, suffix: str = '') -> dict[str, str]:
    return {f'noun{suffix}': obj.category, f'color{suffix}': obj.color}


def _is_unique(graph: SceneGraph, obj: SceneObject) -> bool:
    """Return whether no other object has both its category and its color."""
    return len(NounPhrase(category=obj.category, color=obj.color).matches(graph)) == 1


def _is_alone(graph: SceneGraph, obj: SceneObject) -> bool:
    """Return whether no other object has its category."""
    return len(NounPhrase(category=obj.category).matches(graph)) == 1


def _excluding(
    noun: str, objects: Sequence[SceneObject], excluded: Sequence[SceneObject], **colors: str
) -> Meaning:
    forbidden = labels(excluded)
    return Meaning(
        words={'noun': noun, **colors}, targets=labels(objects) - forbidden, forbidden=forbidden
    )


def _neighbour(anchor: SceneObject, others: Sequence[SceneObject]) -> SceneObject | None:
    """Return the only one of the others that is beside the anchor, not on or in it."""
    by_distance = sorted(others, key=lambda obj: dist(obj.position, anchor.position))
    gaps = [dist(obj.position, anchor.position) for obj in by_distance]
    if not gaps or gaps[0] > BESIDE or (len(gaps) > 1 and gaps[1] < NEIGHBOUR_RATIO * gaps[0]):
        return None
    return None if touch(by_distance[0], anchor) else by_distance[0]


def named(graph: SceneGraph) -> Iterator[Meaning]:
    """Yield each object whose category and color no other object shares."""
    for obj in graph:
        if _is_unique(graph, obj):
            yield Meaning(words=_words(obj), targets=labels([obj]))


def absent(graph: SceneGraph) -> Iterator[Meaning]:
    """Yield descriptions that no object fits, although one has the category or the color."""
    for obj in graph:
        for color in COLORS:
            if not NounPhrase(category=obj.category, color=color).matches(graph):
                yield Meaning(words={'noun': obj.category, 'color': color}, targets=frozenset())
        for category in OBJECT_CATEGORIES:
            if not NounPhrase(category=category).matches(graph):
                yield Meaning(words={'noun': category, 'color': obj.color}, targets=frozenset())


def unknown(graph: SceneGraph) -> Iterator[Meaning]:
    """Yield the meaning of a thing that no scene has."""
    yield Meaning(targets=frozenset())


def all_nouns(graph: SceneGraph) -> Iterator[Meaning]:
    """Yield all objects of each category of which there are several."""
    for noun, objects in _groups(graph, 2):
        yield Meaning(words={'noun': noun}, targets=labels(objects))


def used(graph: SceneGraph, *, use: str) -> Iterator[Meaning]:
    """Yield the objects that serve a use, if no other object might serve it too."""
    categories = {obj.category for obj in graph}
    if not USES[use].doubtful & categories and USES[use].categories & categories:
        yield Meaning(targets=labels(obj for obj in graph if obj.category in USES[use].categories))


def superlative(graph: SceneGraph, *, name: str, count: int | None = None) -> Iterator[Meaning]:
    """Yield the clear first of each category, among exactly `count` objects if it is given."""
    for noun, objects in _groups(graph, 2):
        first = clear_first(objects, SUPERLATIVES[name])
        if first is not None and count in (None, len(objects)):
            yield Meaning(words={'noun': noun}, targets=labels([first]))


def related(graph: SceneGraph, *, name: str, colored: bool = True) -> Iterator[Meaning]:
    """Yield the only object of a category that has a relation to a uniquely described anchor."""
    relation = RELATIONS[name]
    for anchor in graph:
        fits = relation.anchors is None or anchor.category in relation.anchors
        if not fits or not (_is_unique(graph, anchor) if colored else _is_alone(graph, anchor)):
            continue
        others = [obj for obj in graph if obj is not anchor]
        for noun, objects in _groups(others, 1):
            truths = [relation.truth(obj, anchor) for obj in objects]
            if truths.count(1.0) == 1 and 0.5 not in truths and noun != anchor.category:
                target = objects[truths.index(1.0)]
                yield Meaning(words={'noun': noun, **_words(anchor, '2')}, targets=labels([target]))


def moving(graph: SceneGraph, *, direction: str | None = None) -> Iterator[Meaning]:
    """Yield the only object that moves, or that moves in a direction."""
    truths = [moves(obj) if direction is None else heads(obj, direction) for obj in graph]
    if truths.count(1.0) == 1 and 0.5 not in truths:
        yield Meaning(targets=labels([graph[truths.index(1.0)]]))


def not_color(graph: SceneGraph) -> Iterator[Meaning]:
    """Yield the only object of a category without a color that another one of it has."""
    for noun, objects in _groups(graph, 2):
        for color in sorted({obj.color for obj in objects}):  # the same in every process
            with_it = [obj for obj in objects if obj.color == color]
            if len(objects) - len(with_it) == 1:
                yield _excluding(noun, objects, with_it, color=color)


def neither(graph: SceneGraph) -> Iterator[Meaning]:
    """Yield the only object of a category that has neither of two colors that others of it have."""
    for noun, objects in _groups(graph, 3):
        colors = sorted({obj.color for obj in objects})
        for obj in objects:
            rest = [color for color in colors if color != obj.color]
            others = [one for one in objects if one.color != obj.color]
            if len(rest) == 2 and len(others) == len(objects) - 1:
                yield _excluding(noun, objects, others, color=rest[0], color2=rest[1])


def other(graph: SceneGraph) -> Iterator[Meaning]:
    """Yield each of exactly two objects of a category, described as not being the other one."""
    for noun, objects in _groups(graph, 2):
        if len(objects) == 2 and objects[0].color != objects[1].color:
            for obj in objects:
                yield _excluding(noun, objects, [obj], color=obj.color)


def rest(graph: SceneGraph) -> Iterator[Meaning]:
    """Yield all objects of a category except the only one with some color."""
    for noun, objects in _groups(graph, 3):
        for obj in objects:
            if _is_unique(graph, obj):
                yield _excluding(noun, objects, [obj], color=obj.color)


def both(graph: SceneGraph) -> Iterator[Meaning]:
    """Yield pairs of objects, each with its own description."""
    lone = [obj for obj in graph if _is_unique(graph, obj)]
    for first in lone:
        for second in lone:
            if first.category != second.category:
                words = {**_words(first), **_words(second, '2')}
                yield Meaning(words=words, targets=labels([first, second]))


def either(graph: SceneGraph) -> Iterator[Meaning]:
    """Yield an object that is there, and the description of another one that is not."""
    for there in named(graph):
        for missing in absent(graph):
            if missing.words['noun'] != there.words['noun']:
                for first, second in ((there, missing), (missing, there)):
                    later = {f'{slot}2': word for slot, word in second.words.items()}
                    yield Meaning(words={**first.words, **later}, targets=there.targets)


def ordinal(graph: SceneGraph, *, place: int, count: int | None = None) -> Iterator[Meaning]:
    """Yield the object at a place, from the left, in a category of clearly separate objects."""
    for noun, objects in _groups(graph, 3):
        row = sorted(objects, key=across)
        apart = all(across(b) - across(a) >= WIDTH_MARGIN for a, b in pairwise(row))
        if apart and count in (None, len(row)):
            yield Meaning(words={'noun': noun}, targets=labels([row[place]]))


def second_largest(graph: SceneGraph) -> Iterator[Meaning]:
    """Yield the second of a category by size, if its size clearly differs from its neighbours'."""
    for noun, objects in _groups(graph, 3):
        row = sorted(objects, key=lambda obj: -obj.extent)[:3]
        if all(a.extent >= LENGTH_RATIO * b.extent for a, b in pairwise(row)):
            yield Meaning(words={'noun': noun}, targets=labels([row[1]]))


def next_to(graph: SceneGraph) -> Iterator[Meaning]:
    """Yield the only neighbour of a uniquely described object."""
    for anchor in graph:
        nearest = _neighbour(anchor, [obj for obj in graph if obj is not anchor])
        if nearest is not None and _is_unique(graph, anchor):
            yield Meaning(words=_words(anchor, '2'), targets=labels([nearest]))


def noun_next_to(graph: SceneGraph) -> Iterator[Meaning]:
    """Yield the one of several objects of a category that is beside the only one of another."""
    for anchor in graph:
        others = [obj for obj in graph if obj.category != anchor.category]
        for noun, objects in _groups(others, 2):
            nearest = _neighbour(anchor, objects)
            if nearest is not None and _is_alone(graph, anchor):
                words = {'noun': noun, 'noun2': anchor.category}
                yield Meaning(words=words, targets=labels([nearest]))


MEANINGS: dict[str, Reader] = {
    'named': named,
    'named_typo': named,
    'absent': absent,
    'unknown': unknown,
    'all_nouns': all_nouns,
    **{f'use_{use.replace(" ", "_")}': partial(used, use=use) for use in USES},
    **{name: partial(superlative, name=name) for name in SUPERLATIVES},
    'left_of': partial(related, name='left'),
    'right_of': partial(related, name='right'),
    'behind': partial(related, name='behind'),
    'in_front_of': partial(related, name='front'),
    'on_top_of': partial(related, name='on', colored=False),
    'inside': partial(related, name='inside', colored=False),
    'moving': moving,
    'moves_left': partial(moving, direction='left'),
    'moves_right': partial(moving, direction='right'),
    'lifted': partial(moving, direction='up'),
    'not_color': not_color,
    'neither': neither,
    'other': other,
    'rest': rest,
    'both': both,
    'either': either,
    'second_left': partial(ordinal, place=1),
    'second_right': partial(ordinal, place=-2),
    'third_left': partial(ordinal, place=2),
    'middle': partial(ordinal, place=1, count=3),
    'second_largest': second_largest,
    'bigger': partial(superlative, name='largest', count=2),
    'smaller': partial(superlative, name='smallest', count=2),
    'nearer': partial(superlative, name='nearest', count=2),
    'farther': partial(superlative, name='farthest', count=2),
    'next_to': next_to,
    'noun_next_to': noun_next_to,
}
