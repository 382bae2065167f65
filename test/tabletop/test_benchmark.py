from __future__ import annotations

import json
from pathlib import Path

import pytest

from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.research.evaluation.runner import Processes
from instructseg_ros.tabletop.benchmark import (
    CALIBRATION_SEED,
    EVALUATION_SEED,
    TRAINING_SEED,
    ScoredAnswer,
    evaluate_tabletop,
    report,
    run_scenes,
    table,
)
from instructseg_ros.tabletop.instructions import INSTRUCTION_CATEGORIES


def answer(
    score: float,
    iou: float = 0.0,
    *,
    category: str = 'use',
    present: bool = True,
    empty: bool = False,
    new_words: bool = False,
) -> ScoredAnswer:
    return ScoredAnswer(
        category=category, present=present, score=score, iou=iou, empty=empty, new_words=new_words
    )


def absent(score: float, *, empty: bool = False) -> ScoredAnswer:
    return answer(score, present=False, empty=empty)


def test_a_target_is_found_from_the_threshold_on_if_its_mask_is_not_empty() -> None:
    assert answer(0.5).found(0.5)
    assert not answer(0.499).found(0.5)
    assert not answer(0.9, empty=True).found(0.5)


def test_a_target_that_is_not_answered_counts_as_no_overlap() -> None:
    answers = [answer(0.9, 0.8), answer(0.1, 0.9), answer(0.9, 0.6, empty=True)]
    figures = report(answers, 0.5)
    assert figures['categories']['use'] == {
        'iou': pytest.approx(0.8 / 3),
        'above_half': pytest.approx(1 / 3),
        'n': 3,
    }
    assert figures['present_missed'] == pytest.approx(2 / 3)
    assert figures['mean_iou'] == pytest.approx(0.8 / 3)


def test_an_overlap_of_a_half_is_not_above_a_half() -> None:
    figures = report([answer(0.9, 0.5), answer(0.9, 0.51)], 0.5)
    assert figures['categories']['use']['above_half'] == 0.5


def test_absent_targets_are_right_where_nothing_is_found() -> None:
    answers = [absent(0.1), absent(0.9), absent(0.9, empty=True), absent(0.4), answer(0.9, 0.9)]
    figures = report(answers, 0.5)
    assert figures['absent'] == {'right': 0.75, 'n': 4}
    assert figures['categories']['use']['n'] == 1  # absent targets have no overlap to count


def test_categories_are_counted_apart() -> None:
    answers = [answer(0.9, 0.25, category='plural'), answer(0.9, 1.0, category='motion')]
    categories = report(answers, 0.5)['categories']
    assert set(categories) == set(INSTRUCTION_CATEGORIES)
    assert categories['plural'] == {'iou': 0.25, 'above_half': 0, 'n': 1}
    assert categories['motion'] == {'iou': 1, 'above_half': 1, 'n': 1}
    assert categories['relation'] == {'iou': 0, 'above_half': 0, 'n': 0}


def test_answers_to_new_words_are_counted_apart() -> None:
    answers = [answer(0.9, 0.75), answer(0.9, 0.25, new_words=True), absent(0.9)]
    figures = report(answers, 0.5)
    assert figures['known_words'] == {'iou': 0.75, 'above_half': 1, 'n': 1}
    assert figures['new_words'] == {'iou': 0.25, 'above_half': 0, 'n': 1}


def test_no_answers_are_no_figures() -> None:
    figures = report([], 0.5)
    assert figures['absent'] == {'right': 0, 'n': 0}
    assert figures['present_missed'] == 0 and figures['mean_iou'] == 0


def test_scenes_of_evaluation_calibration_and_training_are_apart() -> None:
    assert EVALUATION_SEED + 300 < CALIBRATION_SEED
    assert CALIBRATION_SEED + 150 < TRAINING_SEED


@pytest.fixture(scope='module')
def segmenter(tiny_model_dir: Path) -> Segmenter:
    return Segmenter.from_pretrained(str(tiny_model_dir), device='cpu')


def test_a_scene_is_asked_about_everything_it_can_answer(segmenter: Segmenter) -> None:
    answers = run_scenes(segmenter, [3], size=(160, 120))
    assert 11 <= len(answers) <= 2 * len(INSTRUCTION_CATEGORIES)
    assert {one.category for one in answers} <= set(INSTRUCTION_CATEGORIES)
    assert all(0 <= one.iou <= 1 and 0 <= one.score <= 1 for one in answers)
    assert run_scenes(segmenter, [3], size=(160, 120)) == answers
    assert run_scenes(segmenter, [3], held_out=True, size=(160, 120)) != answers


def test_the_figures_have_the_promised_shape(segmenter: Segmenter) -> None:
    figures = json.loads(json.dumps(evaluate_tabletop(segmenter, scenes=1, processes=Processes())))
    for part in (figures, figures['seen_wording'], figures['held_out_wording']):
        assert list(part['categories']) == list(INSTRUCTION_CATEGORIES)
        assert all(set(cell) == {'iou', 'above_half', 'n'} for cell in part['categories'].values())
        assert set(part['absent']) == {'right', 'n'}
        assert 0 <= part['present_missed'] <= 1
    assert figures['model'] == segmenter.name and figures['scenes'] == 1
    assert figures['categories'] == figures['seen_wording']['categories']
    lines = table(figures).splitlines()
    rows = [*INSTRUCTION_CATEGORIES, 'known', 'new', 'absent', 'present']
    assert [line.split()[0] for line in lines[2:]] == rows
    assert all(line.count('.') == 6 for line in lines[2 : 2 + len(INSTRUCTION_CATEGORIES)])
