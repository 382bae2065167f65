from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from benchmark_samples import make_sample
from PIL import Image

from instructseg_ros.research.data.reading import DataError
from instructseg_ros.research.evaluation.metrics import Overlap
from instructseg_ros.research.published import reasonseg, refcoco
from instructseg_ros.research.published.reasonseg import score_reasonseg
from instructseg_ros.research.published.refcoco import score_refcoco
from instructseg_ros.streaming.image_files import write_mask


def cells(*chosen: int) -> np.ndarray:
    mask = np.zeros(10, bool)
    mask[list(chosen)] = True
    return mask[None]


def test_ciou_covers_all_pixels_and_giou_all_masks() -> None:
    overlap = Overlap()
    overlap.add(cells(0, 1, 2, 3), cells(2, 3, 4, 5))  # 2 of 6
    overlap.add(cells(0), cells(0))  # 1 of 1
    overlap.add(cells(), cells())  # right that there is nothing
    figures = overlap.figures()
    assert figures['cIoU'] == pytest.approx(3 / 7)
    assert figures['gIoU'] == pytest.approx((2 / 6 + 1 + 1) / 3, abs=1e-5)
    assert figures['P@0.5'] == figures['P@0.9'] == pytest.approx(2 / 3)


def test_pixels_that_do_not_count_make_no_difference() -> None:
    overlap = Overlap()
    overlap.add(cells(0, 9), cells(0, 1), counted=~cells(9, 1))
    assert overlap.figures()['cIoU'] == 1


def test_both_protocols_of_refcoco_are_scored_where_they_have_files(tmp_path: Path) -> None:
    make_sample('refcoco', tmp_path)
    predictions = tmp_path / 'predictions'
    samples = refcoco.read('refcoco', tmp_path, 'val').samples
    for sample in samples:
        write_mask(predictions / f'{sample.key}.png', sample.targets[0].mask())
    figures = score_refcoco('refcoco', tmp_path, predictions, split='val')
    assert figures['joined']['cIoU'] == 1
    assert 'per_sentence' not in figures
    write_mask(predictions / f'{samples[0].key}_1.png', samples[0].targets[0].mask())
    figures = score_refcoco('refcoco', tmp_path, predictions, split='val')
    assert len(figures['per_sentence']['missing']) == 2 * len(samples) - 1
    assert figures['per_sentence']['P@0.5'] == pytest.approx(1 / (2 * len(samples)))


def test_a_prediction_of_another_size_is_reported(tmp_path: Path) -> None:
    make_sample('refcoco', tmp_path)
    Image.new('L', (3, 3)).save(tmp_path / '0.png')
    with pytest.raises(ValueError, match=r'0\.png has \(3, 3\) pixels'):
        score_refcoco('refcoco', tmp_path, tmp_path, split='val')
    (tmp_path / '0.png').write_bytes(b'none')
    with pytest.raises(ValueError, match=r'0\.png cannot be read as an image'):
        score_refcoco('refcoco', tmp_path, tmp_path, split='val')


def test_a_folder_without_predictions_is_an_error(tmp_path: Path) -> None:
    make_sample('refcoco', tmp_path)
    make_sample('reasonseg', tmp_path)
    with pytest.raises(DataError, match='has no KEY'):
        score_refcoco('refcoco', tmp_path, tmp_path / 'none', split='val')
    with pytest.raises(DataError, match='has no KEY'):
        score_reasonseg(tmp_path, tmp_path / 'none', split='val')


def test_ignored_regions_are_background_or_do_not_count(tmp_path: Path) -> None:
    make_sample('reasonseg', tmp_path)
    for sample in reasonseg.read(tmp_path, 'val').samples:
        target = sample.targets[0]
        write_mask(tmp_path / 'p' / f'{sample.key}.png', target.mask() | target.ignored())
    figures = score_reasonseg(tmp_path, tmp_path / 'p', split='val')
    assert figures['cIoU'] < 1
    assert figures['ignoring']['cIoU'] == 1


def test_one_damaged_target_does_not_fail_the_benchmark(tmp_path: Path) -> None:
    make_sample('refcoco', tmp_path)
    file = tmp_path / 'refcoco' / 'refcoco_val.json'
    items = json.loads(file.read_text())
    items[0]['anns'][0]['segmentation'] = [[1, 2, 3]]
    items[1]['anns'][0]['segmentation'].append([4, 4, 5, 5])
    file.write_text(json.dumps(items))
    for sample in refcoco.read('refcoco', tmp_path, 'val').samples[1:]:
        write_mask(tmp_path / 'p' / f'{sample.key}.png', sample.targets[0].mask())
    figures = score_refcoco('refcoco', tmp_path, tmp_path / 'p', split='val')
    assert (figures['joined']['cIoU'], figures['joined']['n']) == (1, len(items) - 1)
    assert figures['problems'] == [
        '0: a polygon must have two numbers, x and y, for each corner: (1.0, 2.0, 3.0)'
    ]
