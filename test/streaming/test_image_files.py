from __future__ import annotations

import io
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from instructseg_ros.streaming import image_files
from instructseg_ros.streaming.image_files import (
    ImageError,
    read_labels,
    read_mask,
    read_rgb,
    read_size,
    write_mask,
)

BLOB = np.array([[0, 255, 255], [0, 0, 255]], np.uint8)


def image(size: tuple[int, int] = (20, 40)) -> np.ndarray:
    """(H, W, 3), the left half red and the right half blue."""
    height, width = size
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = 255
    pixels[:, width // 2 :, 2] = 255
    return pixels


def read_image(file: Path) -> np.ndarray:
    return np.array(read_rgb(file))


def unreadable(file: Path) -> str:
    with pytest.raises(ImageError, match='cannot be read as an image') as refusal:
        read_image(file)
    return str(refusal.value)


@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'L', 'P', '1', 'CMYK'])
def test_images_of_every_kind_are_read_as_rgb(tmp_path: Path, mode: str) -> None:
    file = tmp_path / 'image.tiff'
    Image.fromarray(image()).convert(mode).save(file)
    read = read_image(file)
    assert read.shape == (20, 40, 3) and read.dtype == np.uint8
    if mode not in ('L', '1'):
        assert np.array_equal(read, image())


def test_an_image_is_turned_by_its_exif_orientation(tmp_path: Path) -> None:
    file = tmp_path / 'upright.jpg'
    exif = Image.Exif()
    exif[0x0112] = 6  # held upright: what is left in the file is up
    Image.fromarray(image()).save(file, exif=exif, quality=95)
    read = read_image(file).astype(int)
    assert read.shape == (40, 20, 3)
    expected = np.rot90(image(), k=-1).astype(int)
    assert np.abs(read - expected)[[0, -1]].max() < 20


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r'none\.png'):
        read_image(tmp_path / 'none.png')


@pytest.mark.parametrize('content', [b'', b'not a image', b'\x89PNG\r\n\x1a\n'])
def test_a_file_that_is_no_image_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / 'odd.png'
    file.write_bytes(content)
    assert str(file) in unreadable(file)


@pytest.mark.parametrize('suffix', ['png', 'jpg', 'bmp', 'webp'])
def test_a_truncated_image_is_named(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f'half.{suffix}'
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(noise).save(file)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert str(file) in unreadable(file)


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    file = tmp_path / 'damaged.png'
    written = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(noise).save(written, 'PNG')
    content = bytearray(written.getvalue())
    start = content.index(b'IDAT')
    content[start - 4 : start] = (10).to_bytes(4, 'big')  # a length, and what is then read as next
    content[start + 14 : start + 30] = bytes(16)
    file.write_bytes(content)
    assert str(file) in unreadable(file)


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    assert str(tmp_path) in unreadable(tmp_path)


def test_an_image_that_would_fill_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / 'bomb.png'
    Image.fromarray(image()).save(file)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)
    message = unreadable(file)
    assert str(file) in message and '800 pixels' in message


def test_16_bit_gray_is_read_as_8_bit(tmp_path: Path) -> None:
    gray = np.array([[0, 256, 65535]], np.uint16)
    Image.fromarray(gray).save(tmp_path / 'gray.png')
    assert read_image(tmp_path / 'gray.png')[0].tolist() == [[0] * 3, [1] * 3, [255] * 3]


@pytest.mark.parametrize('suffix', ['png', 'tif', 'pgm'])
def test_16_bit_images_are_scaled_by_the_bits_in_use_in_every_format(
    tmp_path: Path, suffix: str
) -> None:
    for scale in (1, 16):  # 16 bits, and 12 in the low ones
        gray = np.array([[0, 256, 40_000, 65_535]], np.uint16) // scale
        Image.fromarray(gray).save(tmp_path / f'gray.{suffix}')
        assert read_image(tmp_path / f'gray.{suffix}')[0, :, 0].tolist() == [0, 1, 156, 255]


@pytest.mark.parametrize(
    ('kind', 'reason'),
    [
        (np.float32, 'floating-point numbers: save it with whole numbers'),
        (np.int32, 'its pixels have 32 bits: save it with 8 or 16'),
    ],
)
def test_pixels_that_do_not_fit_8_bits_are_refused(tmp_path: Path, kind: type, reason: str) -> None:
    Image.fromarray(np.array([[0, 1, 70_000]], kind)).save(tmp_path / 'odd.tif')
    assert reason in unreadable(tmp_path / 'odd.tif')


@pytest.mark.filterwarnings('ignore:Corrupt EXIF data')
def test_damaged_exif_data_are_ignored(tmp_path: Path) -> None:
    file = tmp_path / 'photo.jpg'
    Image.fromarray(image()).save(file, exif=b'Exif\0\0MM\0*\0\0\0\x08\xff\xff')
    assert read_image(file).shape == (20, 40, 3)


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'tif', 'webp'])
@pytest.mark.parametrize('orientation', range(1, 9))
def test_the_size_is_known_from_the_header(tmp_path: Path, suffix: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / f'photo.{suffix}'
    Image.fromarray(image()).save(file, exif=exif)
    assert read_size(file) == read_image(file).shape[:2] == read_mask(file).shape
    assert read_size(file) == ((20, 40) if orientation < 5 else (40, 20))


def test_the_size_of_a_damaged_file_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / 'a.png').write_bytes(b'no image')
    with pytest.raises(ImageError, match='its format is not one of'):
        read_size(tmp_path / 'a.png')
    with pytest.raises(FileNotFoundError, match=r'b\.png'):
        read_size(tmp_path / 'b.png')


def test_only_the_first_image_of_a_file_is_read(tmp_path: Path) -> None:
    for name in ('phone.jpg', 'pages.tif', 'film.gif'):
        first, second = Image.fromarray(image()), Image.new('RGB', (40, 20))
        kind = 'MPO' if name == 'phone.jpg' else None
        first.save(tmp_path / name, kind, save_all=True, append_images=[second])
        assert np.abs(read_image(tmp_path / name)[:, 0].astype(int) - (255, 0, 0)).max() < 30


def test_16_bit_images_are_turned_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    gray = np.zeros((20, 40), np.uint16)
    gray[0] = 65_535  # up in the file, right when it is turned
    Image.fromarray(gray).save(tmp_path / 'gray.png', exif=exif)
    read = read_image(tmp_path / 'gray.png')
    assert read.shape == (40, 20, 3) and read[:, -1].min() == 255 and read[:, 0].max() == 0


def test_bytes_are_read_like_a_file_and_named_in_errors() -> None:
    written = io.BytesIO()
    Image.fromarray(image()).save(written, 'PNG')
    assert np.array_equal(read_rgb(written.getvalue(), 'question 3'), image())
    with pytest.raises(ImageError, match='question 3 cannot be read as an image'):
        read_rgb(written.getvalue()[:60], 'question 3')


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        (b'', 'it is empty'),
        (b'version https://git-lfs.github.com/spec/v1\noid sha256:4', 'run `git lfs pull`'),
        (b'\0\0\0\x18ftypheic', 'PNG, PPM, TIFF, WEBP: save it as PNG or JPEG'),
    ],
)
def test_a_file_of_another_kind_is_refused_with_the_remedy(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / 'photo.jpg').write_bytes(content)
    assert reason in unreadable(tmp_path / 'photo.jpg')
    if content:
        with pytest.raises(ImageError, match='b cannot be read'):
            read_rgb(content, 'b')


def test_no_program_is_started_for_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*arguments: object, **options: object) -> None:
        raise AssertionError(arguments)

    monkeypatch.setattr(subprocess, 'Popen', start)
    Image.fromarray(image()).save(tmp_path / 'drawing.jpg', 'EPS')
    assert 'its format is not one of' in unreadable(tmp_path / 'drawing.jpg')


def test_a_decompression_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    head = b'IHDR' + struct.pack('>IIBBBBB', 100_000, 100_000, 8, 0, 0, 0, 0)
    (tmp_path / 'bomb.png').write_bytes(
        b'\x89PNG\r\n\x1a\n\0\0\0\x0d'
        + head
        + struct.pack('>I', zlib.crc32(head))
        + b'\0\0\0\0IDAT'
    )
    assert '10000000000 pixels' in unreadable(tmp_path / 'bomb.png')


def test_huge_images_are_refused_even_without_the_limit_of_pillow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(image()).save(tmp_path / 'bomb.png')
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', None)
    monkeypatch.setattr(image_files, 'MAX_PIXELS', 100)
    assert '40 x 20 pixels are more than 100' in unreadable(tmp_path / 'bomb.png')


@pytest.mark.parametrize('mode', ['1', 'L', 'P', 'I;16', 'RGB', 'LA', 'RGBA'])
def test_a_mask_of_any_mode_is_true_where_it_is_not_black(tmp_path: Path, mode: str) -> None:
    Image.fromarray(BLOB).convert(mode).save(tmp_path / 'mask.png')
    assert np.array_equal(read_mask(tmp_path / 'mask.png'), BLOB > 0)


def test_a_mask_with_an_id_in_one_channel_is_not_empty(tmp_path: Path) -> None:
    colors = np.zeros((2, 3, 3), np.uint8)
    colors[..., 2] = BLOB > 0  # blue of 1, which is gray of 0
    Image.fromarray(colors).save(tmp_path / 'mask.png')
    assert np.array_equal(read_mask(tmp_path / 'mask.png'), BLOB > 0)
    with pytest.raises(ImageError, match=r'mask\.png has colors .* save it as a gray PNG'):
        read_labels(tmp_path / 'mask.png')


@pytest.mark.parametrize('color', [0, 255])
def test_a_mask_in_transparency_alone_is_refused(tmp_path: Path, color: int) -> None:
    mask = np.full((2, 3, 4), color, np.uint8)
    mask[..., 3] = BLOB
    Image.fromarray(mask).save(tmp_path / 'mask.png')
    for read in (read_mask, read_labels):
        with pytest.raises(ImageError, match=r'mask\.png .* a gray PNG without transparency'):
            read(tmp_path / 'mask.png')


def test_a_mask_in_colors_and_transparency_is_read(tmp_path: Path) -> None:
    mask = np.repeat(BLOB[..., None], 4, axis=2)
    Image.fromarray(mask).save(tmp_path / 'mask.png')
    assert np.array_equal(read_mask(tmp_path / 'mask.png'), BLOB > 0)


def test_a_mask_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / 'new' / 'mask.png'
    write_mask(file, BLOB > 0)
    assert np.array_equal(read_labels(file), BLOB)
    assert np.array_equal(read_mask(file), BLOB > 0)
    assert list(file.parent.iterdir()) == [file]


def test_probabilities_are_refused_as_a_mask(tmp_path: Path) -> None:
    Image.fromarray(np.float32(BLOB / 255)).save(tmp_path / 'mask.tif')
    for read in (read_mask, read_labels):
        with pytest.raises(ImageError, match=r'mask\.tif .* floating-point numbers'):
            read(tmp_path / 'mask.tif')


def test_a_palette_whose_colors_contradict_its_numbers_is_refused(tmp_path: Path) -> None:
    mask = Image.fromarray(np.uint8(BLOB == 0), mode='P')  # as optimisers of PNG files write it
    mask.putpalette([255, 255, 255, 0, 0, 0])
    mask.save(tmp_path / 'mask.png')
    with pytest.raises(ImageError, match='a color for 0 and black for another'):
        read_mask(tmp_path / 'mask.png')


def test_labels_are_numbers_of_any_width(tmp_path: Path) -> None:
    numbers = np.array([[0, 7, 40_000]])
    for suffix, kind in (('png', np.uint16), ('tif', np.int32)):
        Image.fromarray(numbers.astype(kind)).save(tmp_path / f'labels.{suffix}')
        assert read_labels(tmp_path / f'labels.{suffix}').tolist() == numbers.tolist()
    Image.fromarray(BLOB).convert('1').save(tmp_path / 'bits.png')
    assert np.array_equal(read_labels(tmp_path / 'bits.png'), BLOB > 0)
    palette = Image.fromarray(numbers.astype(np.uint8), mode='P')
    palette.putpalette([*range(256)] * 3)
    palette.save(tmp_path / 'palette.png')
    assert read_labels(tmp_path / 'palette.png').tolist() == [[0, 7, 64]]
