from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from instructseg_ros.cli.main import main
from instructseg_ros.model.prediction import calibrated
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.tabletop.benchmark import ScoredAnswer, report
from instructseg_ros.tabletop.calibration import Calibration, calibrate


def answer(score: float, *, present: bool = True, empty: bool = False) -> ScoredAnswer:
    return ScoredAnswer(
        category='use', present=present, score=score, iou=0.0, empty=empty, new_words=False
    )


def absent(score: float, *, empty: bool = False) -> ScoredAnswer:
    return answer(score, present=False, empty=empty)


def test_a_target_is_found_from_between_what_is_there_and_what_is_not() -> None:
    answers = [answer(score) for score in (0.62, 0.7, 0.9)]
    answers += [absent(score) for score in (0.1, 0.3, 0.57)]
    assert 0.57 < calibrate(answers).found <= 0.62


def test_no_more_is_missed_than_may_be() -> None:
    present = [answer(score) for score in np.linspace(0.2, 0.9, 100)]
    thresholds = calibrate(present + [absent(0.95)] * 300)  # the higher, the more would be right
    assert np.mean([not one.found(thresholds.found) for one in present]) <= 0.025
    assert np.mean([not one.found(thresholds.release) for one in present]) <= 0.01


def test_the_most_honest_threshold_within_the_bound_is_chosen() -> None:
    answers = [answer(0.3)] + [answer(0.8)] * 99 + [absent(0.5)] * 50 + [absent(0.2)] * 50
    assert 0.5 < calibrate(answers).found <= 0.8


def test_a_wrong_mask_with_a_low_score_is_not_missed() -> None:
    right = [dataclasses.replace(answer(score), iou=0.8) for score in np.linspace(0.85, 0.95, 50)]
    wrong, missing = [answer(0.4)] * 50, [absent(0.5)] * 50
    it = calibrate([*right, *wrong, *missing])
    assert it.found > calibrated(np.array(0.5), it.scale, it.offset)


def test_what_was_found_is_let_go_later_but_not_much_later() -> None:
    sure = [answer(0.9)] * 99 + [absent(0.5)] * 99
    steady = calibrate([answer(0.4), *sure])
    assert steady.release == steady.found
    unsure = calibrate([answer(0.4)] * 2 + sure)
    assert unsure.release == pytest.approx(max(0.4, unsure.found / 2), abs=0.011)
    hopeless = calibrate([answer(0.05)] * 2 + sure)
    assert hopeless.release == pytest.approx(hopeless.found / 2)


def test_empty_masks_are_never_found_whatever_their_score() -> None:
    answers = [answer(0.9)] * 20 + [absent(0.99, empty=True)] * 20
    figures = report(answers, calibrate(answers).found)
    assert figures['absent']['right'] == 1 and figures['present_missed'] == 0


def test_where_every_mask_is_empty_there_are_still_thresholds() -> None:
    thresholds = calibrate([answer(0.5, empty=True), absent(0.5, empty=True)])
    assert 0 < thresholds.release <= thresholds.found < 1


def test_scores_become_the_share_of_right_answers() -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.05, 0.99, 4000)
    chance = 1 / (1 + np.exp(-(0.5 * np.log(scores / (1 - scores)) - 1)))
    answers = [
        dataclasses.replace(answer(score), iou=float(rng.random() < share))
        for score, share in zip(scores, chance, strict=True)
    ]
    found = calibrate([*answers, absent(0.01)])
    assert found.scale == pytest.approx(0.5, abs=0.08)
    assert found.offset == pytest.approx(-1, abs=0.12)


@pytest.mark.parametrize('answers', [[], [answer(0.5)], [absent(0.5)]])
def test_calibration_needs_present_and_absent_targets(answers: list[ScoredAnswer]) -> None:
    with pytest.raises(ValueError, match='both present and absent targets'):
        calibrate(answers)


def test_the_command_stores_the_thresholds_in_the_models_folder(
    tiny_model_dir: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_model_dir, tmp_path / 'model')
    before = json.loads((folder / 'config.json').read_text())
    assert main(['calibrate', '--model', str(folder), '--scenes', '6']) == 0
    after = json.loads((folder / 'config.json').read_text())
    changed = {name for name in after if before.get(name) != after[name]}
    settings = {'score_threshold', 'release_threshold', 'score_scale', 'score_offset'}
    assert changed <= settings and changed
    segmenter = Segmenter.from_pretrained(str(folder))
    assert segmenter.threshold == after['score_threshold']
    assert segmenter.release_threshold == pytest.approx(after['release_threshold'])


def test_thresholds_replace_those_that_were_there(tmp_path: Path) -> None:
    (tmp_path / 'config.json').write_text('{"score_threshold": 0.5, "pointer": true}')
    file = Calibration(found=0.4, release=0.3).write(tmp_path)
    assert json.loads(file.read_text()) == {
        'pointer': True,
        'release_threshold': 0.3,
        'score_offset': 0.0,
        'score_scale': 1.0,
        'score_threshold': 0.4,
    }
    assert list(tmp_path.iterdir()) == [file]
