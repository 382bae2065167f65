from __future__ import annotations

import numpy as np

from instructseg_ros.teaching.examples import Example, LabelledObject
from instructseg_ros.teaching.sentences import Sentences, grouped, sentences

RED, BLUE, GREEN = (200, 20, 20), (20, 20, 200), (20, 160, 40)
Box = tuple[int, int, int, int]  # left, top, right, bottom


def _example(*objects: tuple[str, tuple[int, int, int], Box]) -> Example:
    """A gray picture of 200x100 pixels with colored rectangles."""
    image = np.full((100, 200, 3), 128, np.uint8)
    labelled = []
    for name, color, (left, top, right, bottom) in objects:
        mask = np.zeros((100, 200), bool)
        mask[top:bottom, left:right] = True
        image[mask] = color
        labelled.append(LabelledObject(name=name, mask=mask))
    return Example(image=image, objects=tuple(labelled), source='drawn')


def _written(example: Example, name: str = 'stapler', *others: str, seed: int = 0) -> Sentences:
    return sentences(example, name, others=others, rng=np.random.default_rng(seed))


def _same(mask: np.ndarray | None, other: np.ndarray) -> bool:
    return mask is not None and np.array_equal(mask, other)


ONE = _example(('stapler', RED, (10, 10, 50, 40)))
TWO = _example(('stapler', RED, (10, 10, 50, 40)), ('stapler', BLUE, (120, 10, 150, 30)))


def test_a_single_object_is_meant_by_its_noun_in_singular_and_plural_and_with_its_color() -> None:
    written = _written(ONE)
    mask = ONE.objects[0].mask
    present = {text for text, target in written.items() if target is not None}
    assert present == {'the stapler', 'all the staplers', 'the red stapler'}
    assert all(_same(written[text], mask) for text in present)


def test_among_several_objects_each_is_told_apart_by_place_size_and_color() -> None:
    written = _written(TWO)
    first, second = (one.mask for one in TWO.objects)
    assert 'the stapler' not in written
    assert _same(written['all the staplers'], first | second)
    for text in ('the leftmost stapler', 'the largest stapler', 'the red stapler'):
        assert _same(written[text], first), text
    for text in ('the rightmost stapler', 'the smallest stapler', 'the blue stapler'):
        assert _same(written[text], second), text


def test_neither_size_nor_place_nor_color_is_named_where_it_is_unclear() -> None:
    above = ('stapler', RED, (10, 10, 50, 40))
    below = ('stapler', RED, (12, 50, 52, 85))  # 1.17 times as large, 2 pixels farther right
    written = _written(_example(above, below))
    assert [text for text, mask in written.items() if mask is not None] == ['all the staplers']


def test_absent_are_other_nouns_and_a_color_that_no_object_of_the_noun_has() -> None:
    example = _example(('stapler', RED, (10, 10, 50, 40)), ('brush', GREEN, (90, 10, 120, 40)))
    written = _written(example, 'stapler', 'stapler', 'brush', 'wrench')
    absent = [text for text, mask in written.items() if mask is None]
    assert 'the wrench' in absent and 'the brush' not in written
    [color] = [text.split()[1] for text in absent if text.endswith('stapler')]
    assert color not in ('red', 'stapler')


def test_a_noun_that_is_not_in_the_picture_has_no_target() -> None:
    assert _written(ONE, 'box') == {'the box': None, 'all the boxes': None}


def test_the_same_random_numbers_give_the_same_sentences() -> None:
    texts = {seed: list(_written(TWO, seed=seed)) for seed in range(6)}
    assert texts[3] == list(_written(TWO, seed=3))
    assert len({tuple(each) for each in texts.values()}) > 1  # other absent colors


def test_sentences_with_the_same_mask_are_grouped() -> None:
    groups = grouped(_written(ONE, 'stapler', 'wrench'))
    assert len(groups) == 2
    present = next(texts for mask, texts in groups if mask is not None)
    absent = next(texts for mask, texts in groups if mask is None)
    assert len(present) == 3 and 'the wrench' in absent
