from __future__ import annotations

import pytest
from instruction_scenes import moving, random_scenes, scene_object

from instructseg_ros.tabletop.meanings import MEANINGS, Meaning
from instructseg_ros.tabletop.world.scene_graph import SceneGraph, SceneObject


def at(label: int, category: str, color: str, x: float, **others: object) -> SceneObject:
    """An object at x metres to the right."""
    return scene_object(label, category, color, position=(x, 0.2, 0.8), **others)


ROW = (
    at(1, 'mug', 'red', -0.3, extent=0.1),
    at(2, 'mug', 'blue', -0.1, extent=0.3),
    at(3, 'mug', 'green', 0.1, extent=0.2),
    at(4, 'bowl', 'red', 0.3),
)


def meanings(name: str, graph: SceneGraph) -> list[Meaning]:
    return list(MEANINGS[name](graph))


def targets(name: str, graph: SceneGraph = ROW, **words: str) -> set[frozenset[int]]:
    """Targets of the meanings that have these words."""
    return {one.targets for one in meanings(name, graph) if words.items() <= one.words.items()}


@pytest.mark.parametrize(
    ('name', 'words', 'expected'),
    [
        ('named', {'noun': 'mug', 'color': 'blue'}, {2}),
        ('all_nouns', {'noun': 'mug'}, {1, 2, 3}),
        ('use_drink', {}, {1, 2, 3}),
        ('largest', {'noun': 'mug'}, {2}),
        ('leftmost', {'noun': 'mug'}, {1}),
        ('left_of', {'noun': 'bowl', 'noun2': 'mug', 'color2': 'red'}, None),
        ('right_of', {'noun': 'bowl', 'noun2': 'mug', 'color2': 'red'}, {4}),
        ('neither', {'noun': 'mug', 'color': 'blue', 'color2': 'green'}, {1}),
        ('rest', {'noun': 'mug', 'color': 'red'}, {2, 3}),
        ('both', {'noun': 'mug', 'color': 'red', 'noun2': 'bowl', 'color2': 'red'}, {1, 4}),
        ('either', {'noun': 'mug', 'color': 'red', 'noun2': 'bowl', 'color2': 'pink'}, {1}),
        ('either', {'noun': 'mug', 'color': 'pink', 'noun2': 'bowl', 'color2': 'red'}, {4}),
        ('second_left', {'noun': 'mug'}, {2}),
        ('second_right', {'noun': 'mug'}, {2}),
        ('third_left', {'noun': 'mug'}, {3}),
        ('middle', {'noun': 'mug'}, {2}),
        ('second_largest', {'noun': 'mug'}, {3}),
        ('bigger', {'noun': 'mug'}, None),
        ('absent', {'noun': 'mug', 'color': 'black'}, set()),
        ('absent', {'noun': 'hammer', 'color': 'red'}, set()),
        ('unknown', {}, set()),
    ],
)
def test_a_meaning_selects_these_objects_of_a_row(
    name: str, words: dict[str, str], expected: set[int] | None
) -> None:
    assert targets(name, **words) == (set() if expected is None else {frozenset(expected)})


def test_what_a_negation_rules_out_is_forbidden() -> None:
    pair = (at(1, 'mug', 'red', -0.2), at(2, 'mug', 'blue', 0.2), at(3, 'bowl', 'red', 0.0))
    for name in ('not_color', 'other'):
        (red,) = [one for one in meanings(name, pair) if one.words['color'] == 'red']
        assert (red.targets, red.forbidden) == ({2}, {1})


@pytest.mark.parametrize(
    ('name', 'expected'), [('bigger', 1), ('smaller', 2), ('nearer', 1), ('farther', 2)]
)
def test_a_comparison_is_between_two(name: str, expected: int) -> None:
    near = scene_object(1, 'box', extent=0.3, position=(0.0, 0.2, 0.6))
    far = scene_object(2, 'box', extent=0.1, position=(0.0, 0.2, 0.9))
    assert targets(name, (near, far), noun='box') == {frozenset({expected})}
    assert targets(name, (near, far, scene_object(3, 'box')), noun='box') == set()


def test_a_neighbour_is_close_and_much_closer_than_the_next() -> None:
    plate, spoon, pen = at(1, 'plate', 'red', 0.0), at(2, 'spoon', 'blue', 0.1), 0.4
    words = {'noun2': 'plate', 'color2': 'red'}
    assert targets('next_to', (plate, spoon, at(3, 'pen', 'red', pen)), **words) == {frozenset({2})}
    assert targets('next_to', (plate, spoon, at(3, 'pen', 'red', -0.11)), **words) == set()
    assert targets('next_to', (plate, at(3, 'pen', 'red', pen)), **words) == set()
    on_it = at(2, 'spoon', 'blue', 0.0, on=1)
    assert targets('next_to', (plate, on_it, at(3, 'pen', 'red', pen)), **words) == set()


def test_of_two_spoons_the_one_beside_the_plate_is_meant() -> None:
    graph = (at(1, 'plate', 'red', 0.0), at(2, 'spoon', 'red', 0.1), at(3, 'spoon', 'red', 0.4))
    assert targets('noun_next_to', graph, noun='spoon', noun2='plate') == {frozenset({2})}


def test_the_moving_thing_is_the_only_one_that_moves() -> None:
    car, ball = moving(1, 'car', 'left'), moving(2, 'ball', 'right')
    assert targets('moving', (car, scene_object(3, 'mug'))) == {frozenset({1})}
    assert targets('moving', (car, ball)) == set()
    assert targets('moves_left', (car, ball)) == {frozenset({1})}
    assert targets('moves_right', (car, ball)) == {frozenset({2})}
    assert targets('lifted', (car, moving(2, 'mug', 'up'))) == {frozenset({2})}


def test_on_and_inside_name_their_support_by_its_noun() -> None:
    graph = (at(1, 'plate', 'red', 0.0), at(2, 'apple', 'red', 0.0, on=1))
    assert targets('on_top_of', graph, noun='apple', noun2='plate') == {frozenset({2})}
    graph = (at(1, 'bowl', 'red', 0.0), at(2, 'apple', 'red', 0.0, inside=1))
    assert targets('inside', graph, noun='apple', noun2='bowl') == {frozenset({2})}


def test_targets_exist_and_are_never_forbidden() -> None:
    for graph in random_scenes(60):
        exists = {obj.label for obj in graph}
        for name in MEANINGS:
            for one in meanings(name, graph):
                assert one.targets <= exists and not one.targets & one.forbidden
                assert bool(one.targets) != (name in ('absent', 'unknown'))


def test_meanings_come_in_the_same_order_in_every_process() -> None:
    row = tuple(at(label, 'mug', color, 0.1 * label) for label, color in enumerate(['red', 'blue']))
    assert [one.words['color'] for one in meanings('not_color', row)] == ['blue', 'red']
