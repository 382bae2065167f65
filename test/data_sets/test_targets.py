from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from instructseg_ros.data.pictures import PictureBytes, PictureFile
from instructseg_ros.data.synthetic import encode_rle
from instructseg_ros.data.targets import (
    CocoPolygons,
    MaskFile,
    Nothing,
    Polygons,
    RunLengths,
    Union,
)

SQUARE = (2.0, 2.0, 6.0, 2.0, 6.0, 6.0, 2.0, 6.0)


def test_polygons_have_their_outline() -> None:
    assert Polygons((9, 9), (SQUARE,)).mask().sum() == 25  # 2 to 6, both ends
    assert CocoPolygons((9, 9), (SQUARE,)).mask().sum() == 16


@pytest.mark.parametrize('ring', [(1.0, 2.0), (1.0, 2.0, 3.0, 4.0, 5.0), (float('nan'),) * 6])
def test_a_polygon_that_is_none_is_refused(ring: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match='at least three corners'):
        CocoPolygons((9, 9), (ring,)).mask()


@pytest.mark.parametrize(('ring', 'pixels'), [((), 0), ((1.9, 2.0), 1), ((1.0, 1.0, 3.0, 3.0), 3)])
def test_the_authors_polygons_may_be_points_and_lines(
    ring: tuple[float, ...], pixels: int
) -> None:
    assert Polygons((9, 9), (ring,)).mask().sum() == pixels
    assert Polygons((20, 20), (ring, tuple(x + 8 for x in SQUARE))).mask().sum() == pixels + 25


@pytest.mark.parametrize('ring', [(1.0, 2.0, 3.0), (float('nan'),) * 6, (1.0, float('inf'))])
def test_corners_that_are_none_are_refused_in_the_authors_polygons(
    ring: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match='x and y of each corner'):
        Polygons((9, 9), (ring,)).mask()


def test_run_lengths_come_as_text_or_as_counts() -> None:
    mask = np.zeros((4, 5), bool)
    mask[1:3, 2] = True
    np.testing.assert_array_equal(RunLengths.parse(encode_rle(mask)).mask(), mask)
    counts = {'size': [4, 5], 'counts': [9, 2, 9]}
    np.testing.assert_array_equal(RunLengths.parse(counts).mask(), mask)
    with pytest.raises(ValueError, match='do not fill 4 x 5'):
        RunLengths.parse(counts | {'counts': [9, 2]}).mask()
    with pytest.raises(ValueError, match='have a size and counts'):
        RunLengths.parse({'size': [4]})


def test_a_union_has_all_of_its_parts() -> None:
    both = Union((Nothing((9, 9)), Polygons((9, 9), (SQUARE,))))
    assert both.mask().sum() == 25


def test_a_mask_file_has_all_or_one_of_its_values(tmp_path: Path) -> None:
    values = np.array([[0, 1], [2, 2]], np.uint8)
    Image.fromarray(values).save(tmp_path / 'a.png')
    assert MaskFile(tmp_path / 'a.png').mask().sum() == 3
    assert MaskFile(tmp_path / 'a.png', 2).mask().sum() == 2
    (tmp_path / 'a.png').write_bytes(b'no picture')
    with pytest.raises(OSError, match=r'a\.png: not a readable mask'):
        MaskFile(tmp_path / 'a.png').mask()


def test_pictures_are_rgb_and_upright(tmp_path: Path) -> None:
    image = Image.new('L', (8, 4), 9)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    image.save(tmp_path / 'a.jpg', exif=exif)
    loaded = PictureFile(tmp_path / 'a.jpg').load()
    assert (loaded.mode, loaded.size) == ('RGB', (4, 8))
    content = (tmp_path / 'a.jpg').read_bytes()
    assert PictureBytes('a', content).load().size == (4, 8)
    with pytest.raises(OSError, match='b: not a readable picture'):
        PictureBytes('b', content[:50]).load()


def test_the_size_of_a_target_is_that_of_its_mask(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((9, 7), np.uint8)).save(tmp_path / 'mask.png')
    mask = np.zeros((9, 7), bool)
    targets = [
        Nothing((9, 7)), Polygons((9, 7), (SQUARE,)), CocoPolygons((9, 7), (SQUARE,)),
        RunLengths.parse(encode_rle(mask)), MaskFile(tmp_path / 'mask.png'),
        Union((Nothing((9, 7)), MaskFile(tmp_path / 'mask.png'))),
    ]  # fmt: skip
    for target in targets:
        assert target.size == target.mask().shape == (9, 7)


def test_the_size_of_a_mask_that_is_damaged_names_the_file(tmp_path: Path) -> None:
    (tmp_path / 'mask.png').write_bytes(b'no picture')
    with pytest.raises(OSError, match=r'mask\.png: not a readable mask'):
        _ = MaskFile(tmp_path / 'mask.png').size
