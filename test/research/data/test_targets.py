from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from instructseg_ros.research.data.sample import ImageBytes, ImageFile
from instructseg_ros.research.data.targets import (
    CocoPolygons,
    EmptyMask,
    MaskFile,
    Polygons,
    RunLengths,
    Union,
)
from instructseg_ros.streaming.image_files import ImageError
from instructseg_ros.video.rle import encode_mask

SQUARE = (2.0, 2.0, 6.0, 2.0, 6.0, 6.0, 2.0, 6.0)


def test_polygons_have_their_outline() -> None:
    assert Polygons((9, 9), (SQUARE,)).mask().sum() == 25  # 2 to 6, both ends
    assert CocoPolygons((9, 9), (SQUARE,)).mask().sum() == 16


@pytest.mark.parametrize('ring', [(1.0, 2.0), (1.0, 2.0, 3.0, 4.0, 5.0), (float('nan'),) * 6])
def test_a_degenerate_polygon_is_refused(ring: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match='at least three corners'):
        CocoPolygons((9, 9), (ring,)).mask()


@pytest.mark.parametrize(('ring', 'pixels'), [((), 0), ((1.9, 2.0), 1), ((1.0, 1.0, 3.0, 3.0), 3)])
def test_the_authors_polygons_may_be_points_and_lines(ring: tuple[float, ...], pixels: int) -> None:
    assert Polygons((9, 9), (ring,)).mask().sum() == pixels
    assert Polygons((20, 20), (ring, tuple(x + 8 for x in SQUARE))).mask().sum() == pixels + 25


@pytest.mark.parametrize('ring', [(1.0, 2.0, 3.0), (float('nan'),) * 6, (1.0, float('inf'))])
def test_invalid_corners_are_refused_in_the_authors_polygons(ring: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match='x and y, for each corner'):
        Polygons((9, 9), (ring,)).mask()


def test_run_lengths_are_text_or_counts() -> None:
    mask = np.zeros((4, 5), bool)
    mask[1:3, 2] = True
    np.testing.assert_array_equal(RunLengths.parse(encode_mask(mask)).mask(), mask)
    counts = {'size': [4, 5], 'counts': [9, 2, 9]}
    np.testing.assert_array_equal(RunLengths.parse(counts).mask(), mask)
    with pytest.raises(ValueError, match='must have a size and counts'):
        RunLengths.parse({'size': [4]})


@pytest.mark.parametrize(
    'counts',
    [
        [9, 2],
        [9, 2, 10],
        [9, -2, 13],
        ['9', '2', '9'],
        [9.5, 1.5, 9],
        [None],
        [10**30, 2],
        [[9], [2]],
        '9',
        'no counts',
        '92',
        'é',
    ],
)
def test_counts_that_do_not_fill_the_size_are_refused_instead_of_random_pixels(
    counts: object,
) -> None:
    runs = RunLengths.parse({'size': [4, 5], 'counts': counts})
    with pytest.raises(ValueError, match='run lengths'):
        runs.mask()


@pytest.mark.parametrize('size', [(10**6, 10**6), (-4, 5), ('4', '5'), (4.5, 5)])
def test_every_target_refuses_an_impossible_size(size: tuple[int, int]) -> None:
    for make in (
        lambda: RunLengths.parse({'size': list(size), 'counts': '0'}),
        lambda: EmptyMask(size),
        lambda: Polygons(size, (SQUARE,)),
        lambda: CocoPolygons(size, (SQUARE,)),
    ):
        with pytest.raises(ValueError, match=r'more than an image has|whole numbers'):
            make()


def test_a_very_distant_corner_does_not_crash_the_process() -> None:
    with pytest.raises(ValueError, match='corners are x, y in pixels of the image'):
        CocoPolygons((9, 9), ((0.0, 0.0, 1e9, 0.0, 1e9, 1e9),)).mask()


def test_a_union_has_all_of_its_parts() -> None:
    both = Union((EmptyMask((9, 9)), Polygons((9, 9), (SQUARE,))))
    assert both.mask().sum() == 25


def test_a_mask_file_has_all_or_one_of_its_values(tmp_path: Path) -> None:
    values = np.array([[0, 1], [2, 2]], np.uint8)
    Image.fromarray(values).save(tmp_path / 'a.png')
    assert MaskFile(tmp_path / 'a.png').mask().sum() == 3
    assert MaskFile(tmp_path / 'a.png', 2).mask().sum() == 2
    (tmp_path / 'a.png').write_bytes(b'no picture')
    with pytest.raises(ValueError, match=r'a\.png cannot be read as an image'):
        MaskFile(tmp_path / 'a.png').mask()


def test_16_bit_gray_is_not_clipped_to_white(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 40_000]], np.uint16)).save(tmp_path / 'grey.png')
    loaded = np.array(ImageFile(tmp_path / 'grey.png').load())
    assert loaded[0].tolist() == [[0] * 3, [156] * 3]


def test_a_mask_file_may_have_16_bits(tmp_path: Path) -> None:
    Image.fromarray(np.array([[255, 300, 40_000]], np.uint16)).save(tmp_path / 'a.png')
    assert MaskFile(tmp_path / 'a.png', 300).mask().tolist() == [[False, True, False]]


def test_images_are_rgb_and_upright(tmp_path: Path) -> None:
    image = Image.new('L', (8, 4), 9)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    image.save(tmp_path / 'a.jpg', exif=exif)
    loaded = ImageFile(tmp_path / 'a.jpg').load()
    assert (loaded.mode, loaded.size) == ('RGB', (4, 8))
    content = (tmp_path / 'a.jpg').read_bytes()
    assert ImageBytes('a', content).load().size == (4, 8)
    with pytest.raises(ValueError, match='b cannot be read as an image'):
        ImageBytes('b', content[:50]).load()


def test_the_size_of_a_target_is_that_of_its_mask(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((9, 7), np.uint8)).save(tmp_path / 'mask.png')
    mask = np.zeros((9, 7), bool)
    targets = [
        EmptyMask((9, 7)),
        Polygons((9, 7), (SQUARE,)),
        CocoPolygons((9, 7), (SQUARE,)),
        RunLengths.parse(encode_mask(mask)),
        MaskFile(tmp_path / 'mask.png'),
        Union((EmptyMask((9, 7)), MaskFile(tmp_path / 'mask.png'))),
    ]
    for target in targets:
        assert target.size == target.mask().shape == (9, 7)


def test_the_size_of_a_mask_that_is_damaged_names_the_file(tmp_path: Path) -> None:
    (tmp_path / 'mask.png').write_bytes(b'no picture')
    with pytest.raises(ImageError, match=r'mask\.png cannot be read as an image'):
        _ = MaskFile(tmp_path / 'mask.png').size
