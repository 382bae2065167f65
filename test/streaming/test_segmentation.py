from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from instructseg_ros.streaming.instruction import Instruction
from instructseg_ros.streaming.segmentation import Segmentation, State

MUG = Instruction(text='the mug')


def mask(*, rows: slice, columns: slice) -> np.ndarray:
    pixels = np.zeros((10, 20), bool)
    pixels[rows, columns] = True
    return pixels


def test_the_region_is_the_box_around_the_mask() -> None:
    result = Segmentation(
        instruction=MUG,
        state=State.FOUND,
        score=0.9,
        mask=mask(rows=slice(2, 5), columns=slice(7, 20)),
    )
    assert result.region == (7, 2, 13, 3)
    assert result.pixels == 39


def test_what_is_not_found_has_no_region() -> None:
    result = Segmentation(
        instruction=MUG,
        state=State.NOT_FOUND,
        reason='too faint',
        score=0.3,
        mask=mask(rows=slice(2, 5), columns=slice(7, 20)),
    )
    assert result.region == (0, 0, 0, 0)
    assert result.pixels == 0


@pytest.mark.parametrize(
    ('fields', 'complaint'),
    [
        ({'state': State.FOUND}, 'FOUND needs a mask'),
        ({'state': State.FOUND, 'mask': np.zeros((2, 2), bool)}, 'at least one pixel'),
        ({'state': State.FOUND, 'mask': np.ones((2, 2), np.uint8)}, r'\(H, W\) bool'),
        ({'state': State.FOUND, 'mask': np.ones((2, 2, 1), bool)}, r'\(H, W\) bool'),
        ({'state': State.FAILED}, 'FAILED needs a reason'),
        ({'state': State.FAILED, 'reason': 'x', 'score': 1.5}, 'score must be in 0..1'),
        ({'state': State.FAILED, 'reason': 'x', 'score': float('nan')}, 'score must be in 0..1'),
    ],
)
def test_a_result_that_contradicts_itself_is_refused(
    fields: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        Segmentation(instruction=MUG, **fields)


def test_a_result_prints_shortly_with_its_name_and_no_array() -> None:
    pixels = mask(rows=slice(2, 5), columns=slice(7, 20))
    found = Segmentation(
        instruction=MUG,
        state=State.FOUND,
        score=0.91234,
        mask=pixels,
        image=np.zeros((10, 20, 3), np.uint8),
        probability=pixels * 0.9,
        track_id=3,
    )
    assert repr(found) == (
        "Segmentation('the mug', FOUND, score=0.912, 39 of 20x10 pixels, track_id=3)"
    )
    missed = Segmentation(instruction=MUG, state=State.EXPIRED, reason='over', final=True)
    assert repr(missed) == "Segmentation('the mug', EXPIRED, score=0, reason='over', final=True)"
