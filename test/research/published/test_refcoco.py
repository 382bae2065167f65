from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from benchmark_samples import make_sample

from instructseg_ros.research.data.reading import DataError
from instructseg_ros.research.published.refcoco import read

CASES = Path(__file__).resolve().parents[2] / 'data' / 'refcoco_two_corners'


def test_both_forms_of_the_annotations_are_equal(tmp_path: Path) -> None:
    make_sample('refcocog', tmp_path)
    theirs = read('refcocog', tmp_path, 'val').samples
    for file in (tmp_path / 'refcocog').glob('refcocog_*.json'):
        file.unlink()
    published = read('refcocog', tmp_path, 'val').samples
    assert len(theirs) == len(published) > 0
    for mine, other in zip(theirs, published, strict=True):
        assert (mine.instructions, mine.frames, mine.joined) == (
            other.instructions,
            other.frames,
            True,
        )
        np.testing.assert_array_equal(mine.targets[0].mask(), other.targets[0].mask())


def test_refs_may_have_been_converted_to_json(tmp_path: Path) -> None:
    make_sample('refcoco', tmp_path)
    folder = tmp_path / 'refcoco'
    expected = read('refcoco', tmp_path, 'testA').samples
    for file in folder.glob('refcoco_*.json'):
        file.unlink()
    refs = folder / 'refs(unc).p'
    (folder / 'refs.json').write_text(json.dumps(pickle.loads(refs.read_bytes())))
    refs.unlink()
    found = read('refcoco', tmp_path, 'testA').samples
    assert [s.instructions for s in found] == [s.instructions for s in expected]


def test_a_broken_entry_is_reported_and_left_out(tmp_path: Path) -> None:
    make_sample('refcoco', tmp_path)
    file = tmp_path / 'refcoco' / 'refcoco_val.json'
    items = json.loads(file.read_text())
    del items[0]['image_info']['height']
    items[1]['instruction'] = []
    file.write_text(json.dumps(items))
    reading = read('refcoco', tmp_path, 'val')
    assert len(reading.samples) == len(items) - 2
    assert [str(problem).removeprefix(str(file)) for problem in reading.problems] == [
        " entry 0: 'height' is missing",
        ' entry 1: there is no sentence',
    ]


def test_a_degenerate_ring_is_filled_without_a_problem() -> None:
    reading = read('refcoco', CASES, 'val')
    assert reading.problems == []
    whole, with_line = (sample.targets[0].mask() for sample in reading.samples)
    assert whole.sum() == 26 * 26
    assert np.argwhere(with_line & ~whole).tolist() == [[40, 40], [41, 41]]


def test_missing_images_or_sentences_are_an_error_with_their_place(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='train2014 images'):
        read('refcoco', tmp_path, 'val')
    make_sample('refcoco', tmp_path)
    with pytest.raises(DataError, match=r'neither refcoco\+/refcoco\+_val'):
        read('refcoco+', tmp_path, 'val')
