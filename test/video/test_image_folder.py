from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from instructseg_ros.video.source import ImageFolder, SourceError, open_source, read_from

MakeImages = Callable[[int], list[np.ndarray]]


def test_images_come_in_the_order_of_their_numbers(
    tmp_path: Path, write_folder: Callable[..., Path], make_images: MakeImages
) -> None:
    folder = write_folder(tmp_path / 'frames', make_images(12))
    (folder / 'notes.txt').write_text('taken on the table')
    source = open_source(folder)
    frames = list(source.read())
    assert source.count == len(frames) == 12
    assert [frame.info.name for frame in frames] == [f'frame{n}.png' for n in range(12)]
    for frame, image in zip(frames, make_images(12), strict=True):
        assert np.array_equal(frame.image, image)


def test_images_are_a_fifteenth_of_a_second_apart(
    tmp_path: Path, write_folder: Callable[..., Path], make_images: MakeImages
) -> None:
    stamps = [
        frame.info.stamp
        for frame in ImageFolder(write_folder(tmp_path / 'frames', make_images(31))).read()
    ]
    assert stamps[0] == 0 and stamps[15] == 10**9 and stamps[30] == 2 * 10**9
    assert all(abs(step - 10**9 / 15) <= 1 for step in np.diff(stamps))


def test_reading_resumes_at_any_image(
    tmp_path: Path, write_folder: Callable[..., Path], make_images: MakeImages
) -> None:
    source = ImageFolder(write_folder(tmp_path / 'frames', make_images(20)))
    for number, frame in enumerate(source.read()):
        names = [later.info.name for later in read_from(source, frame.info)]
        assert names == [f'frame{n}.png' for n in range(number, 20)]


def test_a_renamed_image_is_reported_as_a_changed_source(
    tmp_path: Path, write_folder: Callable[..., Path], make_images: MakeImages
) -> None:
    folder = write_folder(tmp_path / 'frames', make_images(4))
    places = [frame.info for frame in ImageFolder(folder).read()]
    (folder / 'frame0.png').unlink()
    with pytest.raises(SourceError, match=r'has changed.*--overwrite'):
        next(read_from(ImageFolder(folder), places[2]))


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=f'{tmp_path} holds neither a bag .* nor images'):
        open_source(tmp_path)


def test_images_whose_masks_would_have_one_name_are_refused(
    tmp_path: Path, write_folder: Callable[..., Path], make_images: MakeImages
) -> None:
    folder = write_folder(tmp_path / 'frames', make_images(2))
    (folder / 'frame1.jpg').write_bytes((folder / 'frame1.png').read_bytes())
    with pytest.raises(SourceError, match='2 images named frame1'):
        open_source(folder)


def test_a_damaged_image_is_left_out_and_reported(
    tmp_path: Path,
    write_folder: Callable[..., Path],
    make_images: MakeImages,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = write_folder(tmp_path / 'frames', make_images(3))
    (folder / 'frame1.png').write_bytes(b'no image')
    frames = list(open_source(folder).read())
    assert [frame.info.name for frame in frames] == ['frame0.png', 'frame2.png']
    assert 'frame1.png cannot be read as an image' in caplog.text
    assert [frame.info for frame in read_from(open_source(folder), frames[1].info)] == [
        frames[1].info
    ]


def test_a_folder_of_damaged_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / 'frame0.png').write_bytes(b'no image')
    with pytest.raises(SourceError, match=r'frame0\.png cannot be read as an image'):
        list(open_source(tmp_path).read())


def test_files_that_macos_adds_are_ignored(
    tmp_path: Path, write_folder: Callable[..., Path], make_images: MakeImages
) -> None:
    folder = write_folder(tmp_path / 'frames', make_images(3))
    for name in ('._frame0.png', '._frame1.png', '.DS_Store'):
        (folder / name).write_bytes(b'\0\5\x16\7Mac OS X')
    (folder / '__MACOSX').mkdir()
    source = open_source(folder)
    assert source.count == len(list(source.read())) == 3


def test_16_bit_and_turned_images_are_read_as_by_the_segment_command(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    gray = np.zeros((20, 40), np.uint16)
    gray[0] = 40_000
    Image.fromarray(gray).save(tmp_path / 'frame.png', exif=exif)
    [frame] = open_source(tmp_path).read()
    assert frame.image.shape == (40, 20, 3) and set(frame.image[:, -1].flatten()) == {156}
