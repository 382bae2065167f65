from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from instructseg_ros.streaming.instruction import Instruction
from instructseg_ros.streaming.segmentation import Segmentation, State
from instructseg_ros.tabletop.demo_report import (
    ABSENT,
    COLUMNS,
    Answer,
    DemoReport,
    contact_sheet,
    save_video,
)

IMAGE = np.zeros((10, 10, 3), np.uint8)


def mask(columns: int) -> np.ndarray:
    pixels = np.zeros((10, 10), bool)
    pixels[:, :columns] = True
    return pixels


def answer(category: str, *, found: int | None, truth: int = 0) -> Answer:
    """An answer whose mask and truth are so many columns wide; found None: NOT_FOUND."""
    outcome: dict[str, Any] = {'state': State.NOT_FOUND, 'reason': 'none', 'score': 0.1}
    if found is not None:
        outcome = {'state': State.FOUND, 'mask': mask(found), 'score': 0.9}
    result = Segmentation(instruction=Instruction(text='the mug'), **outcome)
    return Answer(
        text='the mug',
        category=category,
        image=IMAGE,
        truth=mask(truth),
        result=result,
        latency=0.1234,
    )


def report(*answers: Answer) -> DemoReport:
    return DemoReport(answers=answers, fps=14.5, ages=[0.1, 0.12, 0.2])


def test_a_missed_target_counts_zero_and_an_absent_one_does_not_count() -> None:
    figures = report(
        answer('attribute', found=5, truth=5),
        answer('use', found=None, truth=5),
        answer(ABSENT, found=None),
    )
    assert figures.mean_iou == 0.5


def test_masks_that_overlap_the_truth_pass() -> None:
    assert report(answer('attribute', found=5, truth=6)).shortcomings() == []


def test_masks_that_miss_the_truth_fail() -> None:
    (complaint,) = report(answer('attribute', found=2, truth=6)).shortcomings()
    assert 'mean IoU of the found targets is 0.33' in complaint


def test_finding_nothing_fails() -> None:
    assert report(answer('attribute', found=None, truth=5)).shortcomings() == [
        'no target was found'
    ]


def test_an_instruction_without_an_answer_fails() -> None:
    silent = Answer(text='the bowl', category='use')
    assert silent.to_json() == {
        'instruction': 'the bowl',
        'category': 'use',
        'state': 'UNKNOWN',
        'score': 0.0,
        'iou': 0.0,
        'latency_ms': None,
    }
    complaints = report(answer('attribute', found=5, truth=5), silent).shortcomings()
    assert complaints == ['neither FOUND nor NOT_FOUND was reported for "the bowl"']


def test_the_json_has_the_documented_fields() -> None:
    figures = json.loads(json.dumps(report(answer('use', found=5, truth=5)).to_json()))
    assert figures == {
        'instructions': [
            {
                'instruction': 'the mug',
                'category': 'use',
                'state': 'FOUND',
                'score': 0.9,
                'iou': 1.0,
                'latency_ms': 123.4,
            }
        ],
        'mean_iou': 1.0,
        'fps': 14.5,
        'age_p50_ms': 120.0,
        'age_p95_ms': 192.0,
    }


def test_the_table_ends_with_the_verdict() -> None:
    assert report(answer('use', found=5, truth=5)).to_table().endswith('PASSED')
    assert report(answer('use', found=None, truth=5)).to_table().endswith('FAILED')


def found() -> Answer:
    mask = np.zeros((48, 64), bool)
    mask[10:20, 10:30] = True
    result = Segmentation(
        instruction=Instruction(text='the mug'), state=State.FOUND, score=0.9, mask=mask
    )
    image = np.full((48, 64, 3), 120, np.uint8)
    return Answer(
        text='the mug', category='use', image=image, truth=mask, result=result, latency=0.1
    )


def test_the_sheet_grows_by_rows_and_takes_answers_that_never_came() -> None:
    heights = [
        contact_sheet([found(), Answer(text='the bowl', category='use')] * pairs).height
        for pairs in (1, COLUMNS)
    ]
    assert heights[0] < heights[1] < 2 * heights[0]


def test_the_video_has_an_image_for_every_frame(tmp_path: Path) -> None:
    frames = [np.full((48, 64, 3), level, np.uint8) for level in (0, 100, 200)]
    save_video(frames, tmp_path / 'video.gif', seconds_per_frame=0.25)
    with Image.open(tmp_path / 'video.gif') as video:
        assert video.n_frames == 3
        assert video.info['duration'] == 250
