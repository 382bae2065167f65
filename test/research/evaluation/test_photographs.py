from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from instructseg_ros.research.evaluation.photographs import (
    NounAnswer,
    filled_box,
    read_photographs,
    report,
    table,
)


def answer(**values: object) -> NounAnswer:
    defaults = {
        'noun': 'dog',
        'present': True,
        'share': 0.1,
        'found': True,
        'score': 0.9,
        'iou': 0.8,
        'centred': True,
    }
    return NounAnswer(**{**defaults, **values})


def write(folder: Path, entries: object) -> Path:
    Image.new('RGB', (20, 10)).save(folder / 'a.png')
    (folder / 'labels.json').write_text(json.dumps(entries))
    return folder


def test_pictures_are_read_with_boxes_and_masks(tmp_path: Path) -> None:
    present = [{'noun': 'dog', 'boxes': [[1, 2, 3.6, 4]]}, {'noun': 'cat', 'mask': 'cat.png'}]
    folder = write(tmp_path, [{'file': 'a.png', 'present': present, 'absent': ['zebra']}])
    [picture] = read_photographs(folder)
    assert picture.present == {'dog': ((1, 2, 4, 4),), 'cat': folder / 'cat.png'}
    assert picture.absent == ('zebra',)


@pytest.mark.parametrize(
    ('entries', 'reason'),
    [
        ([{'present': []}], 'entry 0 of'),
        ([{'file': 'a.png'}, {'file': 'b.png'}], r'entry 1 of .*b\.png does not exist'),
        ([{'file': 'a.png', 'present': [{'noun': 'dog'}]}], 'noun with boxes or mask'),
        ([{'file': 'a.png', 'present': [{'noun': 'dog', 'boxes': [[1, 2]]}]}], 'is wrong'),
    ],
)
def test_a_wrong_entry_is_named(tmp_path: Path, entries: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        read_photographs(write(tmp_path, entries))


def test_a_folder_without_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r'no labels\.json: see docs/your_data\.md'):
        read_photographs(tmp_path)


def test_the_shares_of_present_and_absent_nouns_are_reported() -> None:
    missed = answer(found=False, iou=0.0, centred=False)
    absent = [answer(present=False, found=found, iou=0.0) for found in (True, False)]
    figures = report([answer(), missed, answer(share=0.01), *absent])
    assert (figures['present'], figures['absent']) == (2, 2)  # a tiny target does not count
    assert figures['found'] == figures['IoU>=0.5'] == figures['centred'] == 0.5
    assert figures['IoU'] == pytest.approx(0.4)
    assert figures['absent_found'] == 0.5
    assert 'absent nouns found: 0.500 of 2' in table(figures)


def test_a_bounding_box_encloses_the_whole_mask() -> None:
    mask = np.zeros((6, 8), dtype=bool)
    mask[1, 2] = mask[4, 6] = True
    box = filled_box(mask)
    assert box[1:5, 2:7].all() and box.sum() == 4 * 5
    assert not filled_box(np.zeros((3, 3), dtype=bool)).any()
