from __future__ import annotations

import numpy as np
import pytest

from instructseg_ros.video.rle import decode_mask, encode_mask


def blob() -> np.ndarray:
    mask = np.zeros((5, 7), bool)
    mask[1:4, 2:5] = True
    mask[0, 0] = True
    return mask


# As pycocotools 2.0.11 encodes them.
@pytest.mark.parametrize(
    ('mask', 'counts'),
    [
        (np.zeros((480, 640), bool), 'PP\\9'),
        (np.ones((3, 2), bool), '06'),
        (blob(), '01:2H0009'),
        (np.eye(4, dtype=bool), '01400000'),
    ],
)
def test_masks_are_encoded_as_pycocotools_does(mask: np.ndarray, counts: str) -> None:
    assert encode_mask(mask) == {'size': list(mask.shape), 'counts': counts}


def random_masks() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    shapes = random.integers(1, 70, (60, 2))
    return [random.random(shape) < random.random() for shape in shapes]


def test_masks_survive_encoding_and_decoding() -> None:
    for mask in [*random_masks(), blob(), np.ones((2000, 1500), bool)]:
        assert np.array_equal(decode_mask(encode_mask(mask)), mask)


@pytest.mark.parametrize('counts', ['', '05', '07', '0', 'P', '0600', 'oooooooooo0', 'é'])
def test_counts_that_do_not_fill_the_size_are_refused(counts: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        decode_mask({'size': [3, 2], 'counts': counts})


def test_counts_may_be_a_list() -> None:
    counts = [0, 1, 10, 3, 2, 3, 2, 3, 11]
    assert np.array_equal(decode_mask({'size': [5, 7], 'counts': counts}), blob())


@pytest.mark.parametrize(
    'counts',
    [
        [],
        [5],
        [7],
        [6, 1],
        [-1, 7],
        ['3', '3'],
        [3.5, 2.5],
        [True, '5'],
        [[3], [3]],
        [2**64, 6],
        None,
        6,
    ],
)
def test_lists_that_do_not_fill_the_size_are_refused(counts: object) -> None:
    with pytest.raises(ValueError, match='run lengths'):
        decode_mask({'size': [3, 2], 'counts': counts})


@pytest.mark.parametrize(
    'size', [None, '32', [3], [3, 2, 1], [-3, -2], [3.0, 2], [True, 6], [10**6] * 2]
)
def test_a_malformed_size_is_refused(size: object) -> None:
    with pytest.raises(ValueError, match=r'size is|height and width|more than an image has'):
        decode_mask({'size': size, 'counts': '6'})


def test_huge_counts_whose_sum_overflows_are_refused() -> None:
    with pytest.raises(ValueError, match='longer than an image'):
        decode_mask({'size': [1, 1], 'counts': 'oooooo0' * 60})
