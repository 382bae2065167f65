from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from benchmark_samples import make_sample

from instructseg_ros.research.published.reasonseg import PaintedPolygons, read

CASES = Path(__file__).resolve().parents[2] / 'data' / 'reasonseg'


def square(x: int, y: int, side: int) -> tuple[float, ...]:
    return (x, y, x + side - 1, y, x + side - 1, y + side - 1, x, y + side - 1)


def test_small_shapes_are_painted_over_large_ones() -> None:
    shapes = (('ignore', square(2, 2, 4)), ('target', square(0, 0, 10)))
    painted = PaintedPolygons((12, 12), shapes)
    expected = np.zeros((12, 12), bool)
    expected[:10, :10] = True
    expected[2:6, 2:6] = False
    np.testing.assert_array_equal(painted.mask(), expected)
    assert painted.ignored().sum() == 16


def test_the_first_of_equally_large_shapes_is_on_top_as_the_authors_paint_them() -> None:
    target, ignored = ('target', square(2, 2, 4)), ('ignore', square(2, 2, 4))
    assert PaintedPolygons((12, 12), (target, ignored)).mask().sum() == 16
    assert PaintedPolygons((12, 12), (ignored, target)).mask().sum() == 0


def test_degenerate_shapes_are_filled_as_they_are() -> None:
    shapes = (('target', (2.0, 2.0)), ('target', (5.0, 5.0, 8.0, 5.0)), ('target', ()))
    assert PaintedPolygons((12, 12), shapes).mask().sum() == 1 + 4


def test_files_in_cp1252_and_flags_in_any_case_are_read_as_the_authors_read_them() -> None:
    reading = read(CASES, 'val')
    assert reading.problems == []
    samples = {sample.key: sample for sample in reading.samples}
    assert samples['cp1252'].instructions == ('the person\u2019s \u201chat\u201d',)
    pixels = {key: int(sample.targets[0].mask().sum()) for key, sample in samples.items()}
    assert pixels == {'Flag': 256, 'cp1252': 676, 'plain': 676, 'tie': 256}


def test_a_file_that_is_not_text_is_reported(tmp_path: Path) -> None:
    make_sample('reasonseg', tmp_path)
    (tmp_path / 'val' / '000.json').write_bytes(b'\x81\xff')
    (tmp_path / 'val' / '001.json').unlink()
    first, second = read(tmp_path, 'val').problems
    assert '000.json' in first.where and 'charmap' in first.what
    assert second.what.endswith('001.json is missing')


def test_a_target_inside_an_ignored_region_stays(tmp_path: Path) -> None:
    shapes = (('target', square(2, 2, 4)), ('Ignore', square(0, 0, 10)))
    assert PaintedPolygons((12, 12), shapes).mask().sum() == 16


def test_explanations_belong_to_the_training_split(tmp_path: Path) -> None:
    make_sample('reasonseg', tmp_path)
    assert all(sample.explanation for sample in read(tmp_path, 'train').samples)
    assert not any(sample.explanation for sample in read(tmp_path, 'val').samples)


def test_flags_are_not_shapes_and_a_text_may_be_a_single_string(tmp_path: Path) -> None:
    make_sample('reasonseg', tmp_path)
    file = tmp_path / 'val' / '000.json'
    annotation = json.loads(file.read_text()) | {'text': ' what is it? '}
    file.write_text(json.dumps(annotation))
    sample = read(tmp_path, 'val').samples[0]
    assert sample.instructions == ('what is it?',)
    [target] = sample.targets
    assert isinstance(target, PaintedPolygons)
    assert [label for label, _ in target.shapes] == ['target', 'ignore']
