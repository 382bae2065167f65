from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from instructseg_ros.teaching.examples import (
    MAX_SIDE,
    Example,
    LabelledObject,
    load_examples,
    names_of,
    save_examples,
)


def example(height: int = 60, width: int = 80) -> Example:
    rng = np.random.default_rng(0)
    masks = np.zeros((2, height, width), bool)
    masks[0, 10:30, 10:30], masks[1, 10:30, 40:70] = True, True
    return Example(
        image=rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        objects=(
            LabelledObject(name='star', mask=masks[0]),
            LabelledObject(name='paper clip', mask=masks[1]),
        ),
        source='a.jpg',
        alone=False,
    )


def test_saved_examples_are_read_pixel_by_pixel(tmp_path: Path) -> None:
    save_examples([example()], tmp_path / 'examples')
    [loaded] = load_examples(tmp_path / 'examples')
    assert np.array_equal(loaded.image, example().image)
    assert (loaded.source, loaded.alone) == ('a.jpg', False)
    for mine, theirs in zip(loaded.objects, example().objects, strict=True):
        assert mine.name == theirs.name
        assert np.array_equal(mine.mask, theirs.mask)


def test_large_pictures_are_stored_smaller(tmp_path: Path) -> None:
    save_examples([example(600, 2 * MAX_SIDE)], tmp_path / 'examples')
    [loaded] = load_examples(tmp_path / 'examples')
    assert loaded.image.shape == (300, MAX_SIDE, 3)
    assert loaded.objects[0].mask.shape == (300, MAX_SIDE)


def test_a_folder_of_examples_is_not_overwritten(tmp_path: Path) -> None:
    save_examples([example()], tmp_path / 'examples')
    with pytest.raises(FileExistsError):
        save_examples([example()], tmp_path / 'examples')


def test_a_model_that_was_taught_nothing_has_no_examples(tmp_path: Path) -> None:
    assert load_examples(tmp_path / 'examples') == []


def test_names_are_sorted_and_unique() -> None:
    assert names_of([example(), example()]) == ['paper clip', 'star']


def test_the_union_joins_all_objects_of_a_name() -> None:
    assert example().union('star').sum() == 400
    assert example().union('spoon').sum() == 0
