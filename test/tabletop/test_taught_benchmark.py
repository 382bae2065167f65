from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from instruction_scenes import random_scene, scene_object

from instructseg_ros.model.model_files import TAUGHT
from instructseg_ros.model.prediction import Prediction
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.research.evaluation.runner import Processes
from instructseg_ros.tabletop.instructions import object_nouns, vocabulary
from instructseg_ros.tabletop.instructions.superlative import SUPERLATIVES
from instructseg_ros.tabletop.instructions.wording import NOUNS, NOVEL_NOUNS, Writer
from instructseg_ros.tabletop.taught_benchmark import (
    TAUGHT_SEED,
    TaughtAnswer,
    carried_seeds,
    evaluate_forgetting,
    evaluate_taught,
    report,
    table,
    taught_categories,
    taught_frames,
    taught_scene,
)
from instructseg_ros.tabletop.taught_cases import GOALS, TaughtCase, taught_cases
from instructseg_ros.tabletop.world.catalogue import COLORS, NOVEL_CATEGORIES, OBJECT_CATEGORIES
from instructseg_ros.tabletop.world.scene_graph import SceneGraph
from instructseg_ros.tabletop.world.simulator import Observation, Tabletop

SIZE = (160, 120)
ABSENT = ('absent', 'absent color')
STAR = scene_object(1, 'star', 'red', position=(-0.2, 0.2, 0.7), extent=0.1)
OTHER = scene_object(2, 'star', 'blue', position=(0.2, 0.2, 1.1), extent=0.2)
BOWL = scene_object(3, 'bowl', 'red', position=(0.0, 0.2, 0.9))
MUG = scene_object(4, 'mug', 'green', position=(0.1, 0.2, 0.8))


def cases(*objects: Any, seed: int = 0, groups: Sequence[str] = tuple(GOALS)) -> list[TaughtCase]:
    return taught_cases(objects, 'star', np.random.default_rng(seed), groups)


def asked(group: str, *objects: Any) -> dict[str, set[int]]:
    """Return the targets of all texts that some random states give."""
    drawn = [case for seed in range(20) for case in cases(*objects, seed=seed, groups=[group])]
    return {case.text: set(case.targets) for case in drawn}


def with_stars(seed: int) -> SceneGraph:
    """A scene made by hand in which every third object is a star."""
    graph = random_scene(seed)
    return tuple(
        replace(obj, category='star') if obj.label % 3 == 0 and not obj.on else obj for obj in graph
    )


def test_every_novel_category_has_a_noun_outside_of_the_vocabulary() -> None:
    assert set(NOVEL_NOUNS) == set(NOVEL_CATEGORIES)
    assert not set(NOVEL_NOUNS) & {*NOUNS, *vocabulary(), *object_nouns()}


def test_a_name_alone_means_the_only_object_in_view() -> None:
    assert asked('named', STAR, BOWL) == {'the star': {1}}
    assert asked('named', STAR, OTHER, BOWL) == {}
    assert asked('named', BOWL) == {}


def test_a_color_is_asked_where_it_distinguishes() -> None:
    assert asked('color', STAR, OTHER) == {'the red star': {1}, 'the blue star': {2}}
    assert asked('color', STAR, BOWL) == {'the red star': {1}}
    assert asked('color', STAR, MUG) == {}
    assert asked('color', STAR, replace(OTHER, color='red')) == {}


def test_superlatives_need_several_objects_and_a_clear_first() -> None:
    assert asked('superlative', STAR, OTHER, BOWL) == {
        'the leftmost star': {1},
        'the nearest star': {1},
        'the smallest star': {1},
        'the rightmost star': {2},
        'the farthest star': {2},
        'the largest star': {2},
    }
    assert asked('superlative', STAR, BOWL) == {}
    assert asked('superlative', STAR, replace(STAR, label=2)) == {}


def test_relations_distinguish_objects_by_ordinary_anchors() -> None:
    stapler = scene_object(5, 'stapler', position=(0.0, 0.2, 0.9))
    texts = asked('relation', STAR, OTHER, BOWL, stapler)
    assert {text: texts[text] for text in sorted(texts)} == {
        'the star behind the bowl': {2},
        'the star in front of the bowl': {1},
        'the star left of the bowl': {1},
        'the star right of the bowl': {2},
    }
    assert asked('relation', STAR, BOWL) == {}


def test_anchors_are_named_by_their_color_where_there_are_several() -> None:
    twin = replace(BOWL, label=5, color='green')
    assert 'the star left of the red bowl' in asked('relation', STAR, OTHER, BOWL, twin)
    assert asked('relation', STAR, OTHER, BOWL, replace(BOWL, label=5)) == {}


def test_an_object_in_a_bowl_or_on_a_plate_is_asked_for() -> None:
    plate = scene_object(5, 'plate')
    inside, on = replace(STAR, inside=3), replace(OTHER, on=5)
    assert asked('in or on', inside, BOWL, MUG) == {'the star in the bowl': {1}}
    assert asked('in or on', inside, on, BOWL, plate) == {
        'the star in the bowl': {1},
        'the star on the plate': {2},
    }
    assert asked('in or on', STAR, BOWL) == {}


def test_the_plural_means_all_of_several_objects() -> None:
    assert asked('plural', STAR, OTHER, BOWL) == {'all the stars': {1, 2}}
    assert asked('plural', STAR, BOWL) == {}


def test_absent_objects_and_colors_have_no_target() -> None:
    assert asked('absent', BOWL, MUG) == {'the star': set()}
    assert asked('absent', STAR) == {}
    assert asked('absent color', STAR, BOWL, MUG) == {'the green star': set()}
    elsewhere = asked('absent color', STAR)
    assert elsewhere and {f'the {color} star' for color in COLORS if color != 'red'} >= {*elsewhere}
    assert asked('absent color', BOWL) == {}


@pytest.mark.parametrize('seed', range(40))
def test_cases_of_strewn_scenes_agree_with_the_scene_graph(seed: int) -> None:
    graph = with_stars(seed)
    stars = [obj for obj in graph if obj.category == 'star']
    found = cases(*graph, seed=seed)
    assert {'plural', 'relation'}.isdisjoint(case.group for case in found) or len(stars) > 1
    assert any(case.group == 'absent' for case in found) is not bool(stars)
    for case in found:
        assert bool(case.targets) is (case.group not in ABSENT)
        assert case.targets <= {star.label for star in stars}
        assert len(case.targets) <= 1 or case.group == 'plural'
        mine = [star for star in stars if star.label in case.targets]
        if case.group == 'color':
            assert [star for star in stars if star.color == case.detail] == mine
        if case.group == 'superlative':
            assert [max(stars, key=SUPERLATIVES[case.detail].measure)] == mine


@pytest.mark.parametrize('seed', range(40))
def test_trained_wordings_name_the_taught_object(seed: int) -> None:
    graph = with_stars(seed)
    writer = Writer(graph, np.random.default_rng(seed), held_out=False)
    for case in cases(*graph, seed=seed):
        assert 'star' in case.write(writer=writer).text.lower()


def test_the_same_random_state_gives_the_same_cases() -> None:
    graph = with_stars(7)
    drawn = [[case.text for case in cases(*graph, seed=3)] for _ in range(2)]
    assert drawn[0] == drawn[1] and drawn[0]


def test_scenes_contain_novel_objects_but_for_one_in_five() -> None:
    scenes = [taught_scene(seed) for seed in range(TAUGHT_SEED, TAUGHT_SEED + 25)]
    novel = [
        any(obj.entry.category in NOVEL_CATEGORIES for obj in scene.objects) for scene in scenes
    ]
    assert not any(novel[4::5]) and sum(novel) >= 15


def test_extra_scenes_have_a_taught_object_on_or_in_another() -> None:
    seeds = carried_seeds(['star'], 10)
    assert 2 <= len(seeds) <= 4 and min(seeds) >= TAUGHT_SEED + 10
    carried = [
        {
            'on' if obj.inside is None else 'inside'
            for obj in taught_scene(seed).objects
            if obj.entry.category == 'star' and (obj.on or obj.inside)
        }
        for seed in seeds
    ]
    assert all(carried) and set.union(*carried) == {'on', 'inside'}


def test_a_model_that_was_taught_no_simulated_object_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='was taught nothing'):
        taught_categories(tmp_path)
    (tmp_path / TAUGHT).write_text(json.dumps([{'name': 'date'}, {'name': 'fig'}]))
    with pytest.raises(ValueError, match=r'was taught date, fig.*instructseg evaluate examples'):
        taught_categories(tmp_path)
    (tmp_path / TAUGHT).write_text(json.dumps([{'name': 'date'}, {'name': 'star'}]))
    assert taught_categories(tmp_path) == ['star']


def answer(group: str, iou: float | None = None, **others: Any) -> TaughtAnswer:
    values: dict[str, Any] = {
        'scene': 0,
        'category': 'star',
        'detail': '',
        'instruction': 'the star',
        'is_plain': True,
        'found': bool(iou),
        'score': 0.5,
    }
    return TaughtAnswer(group=group, iou=iou, **values | others)


def test_groups_wordings_and_categories_are_counted_apart() -> None:
    answers = [
        answer('named', 0.8),
        answer('named', 0.0),
        answer('named', 0.6, is_plain=False),
        answer('named', 1.0, category='stapler'),
        answer('absent'),
        answer('absent', found=True),
    ]
    figures = report(answers, ['star', 'stapler'], is_plain=True)
    assert figures['star']['named'] == {'iou': 0.4, 'missed': 0.5, 'n': 2}
    assert figures['stapler']['named'] == {'iou': 1.0, 'missed': 0.0, 'n': 1}
    assert figures['star']['absent'] == {'right': 0.5, 'n': 2}
    assert report(answers, ['star'], is_plain=False)['star']['named']['n'] == 1


class StubSegmenter:
    """Answers with masks from a table of (image, text), or finds nothing."""

    name, threshold, reference_frames, reference_stride = 'stub', 0.5, 1, 0.2

    def __init__(self, masks: dict[tuple[bytes, str], np.ndarray]) -> None:
        self.masks = masks

    def aligned(self, earlier: Sequence[np.ndarray], image: np.ndarray) -> list[np.ndarray]:
        assert len(earlier) == self.reference_frames
        return [*earlier]

    def encode(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [*images]

    def segment_all(
        self, image: np.ndarray, texts: Sequence[str], references: Sequence[np.ndarray]
    ) -> Iterator[Prediction]:
        for text in texts:
            mask = self.masks.get((image.tobytes(), text), np.zeros(image.shape[:2], bool))
            found = bool(mask.any())
            yield Prediction(
                mask=mask, probability=mask.astype(np.float32), score=float(found), found=found
            )


@pytest.fixture(scope='module')
def truth(shared_tabletop: object) -> dict[tuple[bytes, str], np.ndarray]:
    masks = {}
    seeds = range(TAUGHT_SEED, TAUGHT_SEED + 5)
    with Tabletop(width=SIZE[0], height=SIZE[1]) as tabletop:
        for frame in taught_frames(tabletop, ['star'], seeds, times=[0.0, 0.2]):
            assert frame.observation.labels is not None
            for case in frame.cases:
                mask = np.isin(frame.observation.labels, list(case.targets))
                masks[frame.observation.rgb.tobytes(), case.text] = mask
    return masks


def evaluate(masks: dict[tuple[bytes, str], np.ndarray], **others: Any) -> dict[str, Any]:
    segmenter = cast(Segmenter, StubSegmenter(masks))
    figures = evaluate_taught(
        segmenter, ['star'], scenes=5, processes=Processes(), size=SIZE, **others
    )
    return cast('dict[str, Any]', json.loads(json.dumps(figures)))


def ordinary(figures: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in figures['rows'] if row['scene'] < TAUGHT_SEED + 5]


def test_the_truth_is_a_perfect_answer(truth: dict[tuple[bytes, str], np.ndarray]) -> None:
    figures = evaluate(truth)
    rows = ordinary(figures)
    assert len(rows) == len(truth)
    for row in rows:
        assert row['iou'] == (None if row['group'] in ABSENT else 1.0)
        assert row['found'] is (row['group'] not in ABSENT)
    for group, cell in figures['plain']['star'].items():
        if cell['n'] and group != 'in or on':
            assert cell['right' if group in ABSENT else 'iou'] == 1.0


def test_finding_nothing_is_right_for_absent_objects_only(
    truth: dict[tuple[bytes, str], np.ndarray],
) -> None:
    figures = evaluate({}, all_wordings=True)
    for part in ('plain', 'trained'):
        for group, cell in figures[part]['star'].items():
            expected = {'right': 1.0} if group in ABSENT else {'iou': 0.0, 'missed': 1.0}
            assert not cell['n'] or cell == {**expected, 'n': cell['n']}
    plain = [row for row in figures['rows'] if row['is_plain']]
    assert 2 * len(plain) == len(figures['rows'])


def test_reference_frames_differ_from_the_frame_only_by_motion(tabletop: Tabletop) -> None:
    [frame] = taught_frames(tabletop, ['star'], [TAUGHT_SEED], times=[0.0, 0.0])
    [earlier] = frame.earlier
    assert (earlier == frame.observation.rgb).all()


class DimCamera:
    """A camera that renders stars, but does not describe them."""

    def __init__(self, tabletop: Tabletop) -> None:
        self.show, self._observe = tabletop.show, tabletop.observe

    def observe(self, time: float, *, truth: bool = True) -> Observation:
        frame = self._observe(time, truth=truth)
        return replace(frame, graph=tuple(obj for obj in frame.graph if obj.category != 'star'))


def test_hardly_visible_objects_are_neither_present_nor_absent(tabletop: Tabletop) -> None:
    scenes = range(TAUGHT_SEED, TAUGHT_SEED + 5)
    has_star = {
        seed: any(obj.entry.category == 'star' for obj in taught_scene(seed).objects)
        for seed in scenes
    }
    dim = cast(Tabletop, DimCamera(tabletop))
    asked = {frame.scene for frame in taught_frames(dim, ['star'], scenes)}
    assert asked == {seed for seed, there in has_star.items() if not there}
    assert 0 < len(asked) < 5


def test_the_table_marks_figures_below_their_goal() -> None:
    answers = [answer('named', 0.79), answer('color', 0.7), answer('absent')]
    figures: dict[str, Any] = {'plain': report(answers, ['star'], is_plain=True)}
    lines = {line[:26].strip(): line for line in table(figures).splitlines()}
    assert '0.790*' in lines['named'] and '0.80' in lines['named']
    assert '*' not in lines['color'] + lines['absent'] + lines['relation']
    cell = {'before': 0.8, 'after': 0.78, 'loss': 0.02, 'n': 9}
    figures['forgetting'] = {'categories': {'mug': cell}, 'largest_loss': 0.02}
    assert 'largest loss: 0.0200*' in table(figures)


class Found(StubSegmenter):
    """Answers every text with the same part of the image, unless it is not sure enough."""

    def __init__(self, region: Callable[[np.ndarray], np.ndarray], *, sure: bool = True) -> None:
        super().__init__({})
        self.region, self.sure = region, sure

    def segment_all(
        self, image: np.ndarray, texts: Sequence[str], references: Sequence[np.ndarray]
    ) -> Iterator[Prediction]:
        mask = self.region(image)
        for _ in texts:
            yield Prediction(
                mask=mask, probability=mask.astype(np.float32), score=0.4, found=self.sure
            )


def test_forgetting_is_the_loss_of_iou_with_equal_instructions(shared_tabletop: object) -> None:
    everything = cast(Segmenter, Found(lambda image: np.ones(image.shape[:2], bool)))
    nothing = cast(Segmenter, Found(lambda image: np.ones(image.shape[:2], bool), sure=False))

    def compare(before: Segmenter, after: Segmenter) -> dict[str, Any]:
        return evaluate_forgetting(before, after, scenes=3, processes=Processes(), size=SIZE)

    same = compare(everything, everything)
    assert same['largest_loss'] == 0.0
    assert 3 <= len(same['rows']) <= 18
    assert list(same['categories']) == list(OBJECT_CATEGORIES)
    assert all(0 < row['before'] == row['after'] for row in same['rows'])
    worse, better = compare(everything, nothing), compare(nothing, everything)
    assert worse['largest_loss'] == max(cell['before'] for cell in worse['categories'].values()) > 0
    assert better['largest_loss'] < 0.0
    assert [row['instruction'] for row in worse['rows']] == [
        row['instruction'] for row in better['rows']
    ]
