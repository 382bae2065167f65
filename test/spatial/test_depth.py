from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from instructseg_ros.spatial.depth import (
    ConversionError,
    FieldOfViewError,
    depth_in_metres,
    mask_depth,
)

MILLIMETRES = np.array([[0, 500, 1000], [1500, 65535, 1]], np.uint16)
METRES = np.array([[0.0, -1.0, np.inf], [np.nan, 0.5, 2.0]], np.float32)


def message(
    pixels: np.ndarray, encoding: str, *, padding: int = 0, big: bool = False
) -> SimpleNamespace:
    written = pixels.astype(pixels.dtype.newbyteorder('>' if big else '<'))
    rows = [row.tobytes() + b'\xff' * padding for row in written]
    return SimpleNamespace(
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=int(big),
        step=len(rows[0]),
        data=b''.join(rows),
    )


@pytest.mark.parametrize('encoding', ['16UC1', 'mono16'])
@pytest.mark.parametrize('padding', [0, 5])
@pytest.mark.parametrize('big', [False, True])
def test_millimetres_become_metres_and_0_means_no_depth(
    encoding: str, padding: int, big: bool
) -> None:
    metres = depth_in_metres(message(MILLIMETRES, encoding, padding=padding, big=big))
    assert metres.dtype == np.float32
    assert np.allclose(metres, [[np.nan, 0.5, 1.0], [1.5, 65.535, 0.001]], equal_nan=True)


@pytest.mark.parametrize('padding', [0, 5])
@pytest.mark.parametrize('big', [False, True])
def test_metres_are_kept_and_impossible_distances_mean_no_depth(padding: int, big: bool) -> None:
    metres = depth_in_metres(message(METRES, '32FC1', padding=padding, big=big))
    assert metres.dtype == np.float32 and metres.dtype.isnative
    assert np.allclose(metres, [[np.nan] * 3, [np.nan, 0.5, 2.0]], equal_nan=True)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'encoding': 'rgb8'}, '32FC1'),
        ({'width': 0}, 'empty'),
        ({'step': 5}, 'step'),
        ({'data': b'12345'}, 'part of an image'),
    ],
)
def test_an_unreadable_depth_message_is_refused_with_a_remedy(change: dict, words: str) -> None:
    depth = message(MILLIMETRES, '16UC1')
    for name, value in change.items():
        setattr(depth, name, value)
    with pytest.raises(ConversionError, match=words):
        depth_in_metres(depth)


@pytest.mark.parametrize('big', [False, True])
def test_masked_depth_keeps_its_type_and_has_none_outside_the_mask(big: bool) -> None:
    mask = np.zeros((2, 3), bool)
    mask[1, 1] = True
    short = mask_depth(message(MILLIMETRES, '16UC1', padding=3, big=big), mask)
    assert short.dtype == np.uint16 and short.tolist() == [[0, 0, 0], [0, 65535, 0]]
    long = mask_depth(message(METRES, '32FC1', big=big), mask)
    assert long.dtype == np.float32 and long[1, 1] == 0.5 and np.isnan(long).sum() == 5


def test_a_mask_of_another_resolution_covers_the_same_field_of_view() -> None:
    depth = message(np.full((2, 4), 7, np.uint16), '16UC1')
    mask = np.zeros((6, 12), bool)
    mask[:, :6] = True
    assert mask_depth(depth, mask).tolist() == [[7, 7, 0, 0]] * 2
    assert mask_depth(depth, np.array([[False, True]])).tolist() == [[0, 0, 7, 7]] * 2


def test_a_mask_of_another_aspect_ratio_is_refused() -> None:
    depth = message(np.full((4, 8), 7, np.uint16), '16UC1')
    with pytest.raises(FieldOfViewError, match='8 x 4 pixels and the image has 8 x 6'):
        mask_depth(depth, np.ones((6, 8), bool))
