from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from instructseg_ros.data.reasonseg import PaintedPolygons, make_sample, read


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


def test_a_target_in_what_is_ignored_stays(tmp_path: Path) -> None:
    shapes = (('target', square(2, 2, 4)), ('Ignore', square(0, 0, 10)))
    assert PaintedPolygons((12, 12), shapes).mask().sum() == 16


def test_explanations_belong_to_the_training_split(tmp_path: Path) -> None:
    make_sample(tmp_path, 0)
    assert all(sample.explanation for sample in read(tmp_path, 'train').samples)
    assert not any(sample.explanation for sample in read(tmp_path, 'val').samples)


def test_flags_are_no_shapes_and_a_text_may_stand_alone(tmp_path: Path) -> None:
    make_sample(tmp_path, 0)
    file = tmp_path / 'val' / '000.json'
    annotation = json.loads(file.read_text()) | {'text': ' what is it? '}
    file.write_text(json.dumps(annotation))
    sample = read(tmp_path, 'val').samples[0]
    assert sample.instructions == ('what is it?',)
    [target] = sample.targets
    assert isinstance(target, PaintedPolygons)
    assert [label for label, _ in target.shapes] == ['target', 'ignore']
