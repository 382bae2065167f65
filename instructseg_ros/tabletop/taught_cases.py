"""Instructions about taught objects in a scene, in groups, with the objects that they mean."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import combinations
from typing import Final, TypeVar

import numpy as np

from instructseg_ros.tabletop.instructions.attribute import write_attribute
from instructseg_ros.tabletop.instructions.category import labels
from instructseg_ros.tabletop.instructions.noun_phrase import NounPhrase, noun_wordings, pluralized
from instructseg_ros.tabletop.instructions.plural import write_plural
from instructseg_ros.tabletop.instructions.relation import (
    RELATIONS,
    AnchoredRelation,
    write_relation,
)
from instructseg_ros.tabletop.instructions.superlative import (
    SUPERLATIVES,
    clear_first,
    write_superlative,
)
from instructseg_ros.tabletop.instructions.wording import Phrase
from instructseg_ros.tabletop.world.catalogue import COLORS, OBJECT_CATEGORIES
from instructseg_ros.tabletop.world.scene_graph import SceneGraph

# The figures to reach: mean IoU or, for absent targets, the share that is not found.
GOALS: Final[dict[str, float | None]] = {
    'named': 0.8,
    'color': 0.7,
    'superlative': 0.7,
    'relation': 0.7,
    'in or on': 0.7,
    'plural': None,
    'absent': 0.95,
    'absent color': 0.95,
}
TOUCHING: Final = ('on', 'inside')
_APART: Final = tuple(name for name in RELATIONS if name not in TOUCHING)
_PER_SCENE: Final = 2  # instructions of a group about a category

T = TypeVar('T')


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TaughtCase:
    """An instruction about a taught category.

    Attributes:
        group: A key of `GOALS`.
        category: The category.
        detail: The color, superlative or relation; '' for none.
        text: The plainest wording.
        targets: Labels of the objects that it means; none if the target is absent.
        write: Draws a wording of the training with a `writer`.
    """

    group: str
    category: str
    detail: str = ''
    text: str
    targets: frozenset[int]
    write: Callable[..., Phrase]


def taught_cases(
    graph: SceneGraph, category: str, rng: np.random.Generator, groups: Iterable[str] = tuple(GOALS)
) -> list[TaughtCase]:
    """Draw instructions of every group about a category that the scene offers.

    Args:
        graph: The scene; it must contain all visible objects of the category.
        category: The category.
        rng: Random source; the same state gives the same instructions.
        groups: Keys of `GOALS`.
    """
    return [case for group in groups for case in _GROUPS[group](graph, category, rng)]


def _case(
    group: str,
    phrase: NounPhrase,
    graph: SceneGraph,
    *,
    detail: str = '',
    write: Callable[..., Phrase] | None = None,
) -> TaughtCase:
    """Return a case about all objects that a phrase fits."""
    assert phrase.category is not None
    return TaughtCase(
        group=group,
        category=phrase.category,
        detail=detail,
        text=f'the {_plain(phrase)}',
        targets=labels(phrase.matches(graph)),
        write=write or partial(write_attribute, phrase),
    )


def _plain(phrase: NounPhrase) -> str:
    """Return the plainest wording of a phrase with a category and perhaps a color."""
    assert phrase.category is not None
    noun = noun_wordings(phrase.category).trained[0]
    return noun if phrase.color is None else f'{phrase.color} {noun}'


def _few(options: Sequence[T], rng: np.random.Generator, most: int = _PER_SCENE) -> list[T]:
    return [options[i] for i in rng.permutation(len(options))[:most]]


def _named(graph: SceneGraph, category: str, rng: np.random.Generator) -> Iterator[TaughtCase]:
    phrase = NounPhrase(category=category)
    if len(phrase.matches(graph)) == 1:
        yield _case('named', phrase, graph)


def _colored(graph: SceneGraph, category: str, rng: np.random.Generator) -> Iterator[TaughtCase]:
    """Yield colors of one object, if another one of the category or color makes them needed."""
    mine = [obj.color for obj in graph if obj.category == category]
    others = [obj.color for obj in graph if obj.category != category]
    unique = [one for one in mine if mine.count(one) == 1 and (len(mine) > 1 or one in others)]
    for color in _few(unique, rng):
        phrase = NounPhrase(category=category, color=color)
        yield _case('color', phrase, graph, detail=color)


def _superlative(
    graph: SceneGraph, category: str, rng: np.random.Generator
) -> Iterator[TaughtCase]:
    phrase = NounPhrase(category=category)
    first = {name: clear_first(phrase.matches(graph), one) for name, one in SUPERLATIVES.items()}
    for name in _few([name for name, obj in first.items() if obj is not None], rng):
        target = first[name]
        assert target is not None
        yield TaughtCase(
            group='superlative',
            category=category,
            detail=name,
            text=f'the {SUPERLATIVES[name].before.trained[0]} {_plain(phrase)}',
            targets=labels([target]),
            write=partial(write_superlative, phrase, name),
        )


def _apart(graph: SceneGraph, category: str, rng: np.random.Generator) -> Iterator[TaughtCase]:
    """Yield relations that hold for one of several objects of the category."""
    yield from _related(graph, category, rng, _APART, 'relation', fewest=2)


def _touching(graph: SceneGraph, category: str, rng: np.random.Generator) -> Iterator[TaughtCase]:
    yield from _related(graph, category, rng, TOUCHING, 'in or on', fewest=1)


def _related(
    graph: SceneGraph,
    category: str,
    rng: np.random.Generator,
    relations: Sequence[str],
    group: str,
    *,
    fewest: int,
) -> Iterator[TaughtCase]:
    phrase = NounPhrase(category=category)
    mine = phrase.matches(graph)
    fitting = {}
    for name in relations:
        truths = [(place, place.judge(mine)) for place in _places(graph, name)]
        fitting[name] = [(p, t) for p, t in truths if _means_one(t) and len(t) >= fewest]
    for name in _few([name for name, places in fitting.items() if places], rng):
        [(place, truth)] = _few(fitting[name], rng, 1)
        anchors = ' and '.join(f'the {_plain(each)}' for each in place.phrases)
        yield TaughtCase(
            group=group,
            category=category,
            detail=name,
            text=f'the {_plain(phrase)} {RELATIONS[name].words.trained[0]} {anchors}',
            targets=frozenset(label for label, value in truth.items() if value == 1.0),
            write=partial(write_relation, phrase, place),
        )


def _means_one(truths: dict[int, float]) -> bool:
    values = [*truths.values()]
    return values.count(1.0) == 1 and 0.5 not in values


def _places(graph: SceneGraph, name: str) -> Iterator[AnchoredRelation]:
    """Yield a relation to every ordinary object that a category and perhaps a color identify."""
    relation = RELATIONS[name]
    suitable = OBJECT_CATEGORIES if relation.anchors is None else relation.anchors
    named = [(obj, _identify(obj.category, obj.color, graph)) for obj in graph]
    found = [(obj, each) for obj, each in named if each and obj.category in suitable]
    for group in combinations(found, relation.anchor_count):
        anchors = tuple(obj for obj, _ in group)
        others = [obj for obj in graph if obj not in anchors]
        yield AnchoredRelation(
            name=name,
            phrases=tuple(phrase for _, phrase in group),
            anchors=anchors,
            truths={obj.label: relation.truth(obj, *anchors) for obj in others},
        )


def _identify(category: str, color: str, graph: SceneGraph) -> NounPhrase | None:
    options = NounPhrase(category=category), NounPhrase(category=category, color=color)
    return next((each for each in options if len(each.matches(graph)) == 1), None)


def _plural(graph: SceneGraph, category: str, rng: np.random.Generator) -> Iterator[TaughtCase]:
    phrase = NounPhrase(category=category)
    number = len(phrase.matches(graph))
    if number > 1:
        write = partial(write_plural, phrase, number=number, every=False)
        case = _case('plural', phrase, graph, write=write)
        yield dataclasses.replace(case, text=f'all the {pluralized(_plain(phrase))}')


def _absent(graph: SceneGraph, category: str, rng: np.random.Generator) -> Iterator[TaughtCase]:
    phrase = NounPhrase(category=category)
    if not phrase.matches(graph):
        yield _case('absent', phrase, graph)


def _absent_color(
    graph: SceneGraph, category: str, rng: np.random.Generator
) -> Iterator[TaughtCase]:
    """Yield a color that no object of the category has; if possible, another object has it."""
    mine = {obj.color for obj in graph if obj.category == category}
    if not mine:
        return
    missing = [color for color in COLORS if color not in mine]
    elsewhere = [color for color in missing if any(color == obj.color for obj in graph)]
    for color in _few(elsewhere or missing, rng, 1):
        phrase = NounPhrase(category=category, color=color)
        yield _case('absent color', phrase, graph, detail=color)


_GROUPS: Final = {
    'named': _named,
    'color': _colored,
    'superlative': _superlative,
    'relation': _apart,
    'in or on': _touching,
    'plural': _plural,
    'absent': _absent,
    'absent color': _absent_color,
}
