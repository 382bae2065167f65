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
@pytest.mark.parametrize(('mask', 'counts'), [
    (np.zeros((480, 640), bool), 'PP\\9'),
    (np.ones((3, 2), bool), '06'),
    (blob(), '01:2H0009'),
    (np.eye(4, dtype=bool), '01400000'),
])  # fmt: skip
def test_masks_are_encoded_as_pycocotools_does(mask: np.ndarray, counts: str) -> None:
    assert encode_mask(mask) == {'size': list(mask.shape), 'counts': counts}


def random_masks() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    shapes = random.integers(1, 70, (60, 2))
    return [random.random(shape) < random.random() for shape in shapes]


def test_what_is_encoded_is_decoded_again() -> None:
    for mask in [*random_masks(), blob(), np.ones((2000, 1500), bool)]:
        assert np.array_equal(decode_mask(encode_mask(mask)), mask)


def test_pycocotools_reads_what_is_encoded() -> None:
    coco = pytest.importorskip('pycocotools.mask')
    for mask in random_masks():
        encoded = encode_mask(mask)
        theirs = coco.encode(np.asfortranarray(mask, np.uint8))
        assert encoded['counts'] == theirs['counts'].decode()
        assert np.array_equal(coco.decode(encoded), mask)


@pytest.mark.parametrize('counts', ['', '05', '07', '0', 'P', '0600', 'oooooooooo0', 'é'])
def test_counts_that_are_not_of_the_size_are_refused(counts: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        decode_mask({'size': [3, 2], 'counts': counts})
