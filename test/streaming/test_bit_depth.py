from __future__ import annotations

import numpy as np
import pytest

from instructseg_ros.streaming.encodings import BitDepth


@pytest.mark.parametrize(
    ('most', 'shift'),
    [
        (0, 0),
        (255, 0),
        (256, 2),
        (1023, 2),
        (1024, 4),
        (4095, 4),
        (4096, 6),
        (16384, 8),
        (65535, 8),
    ],
)
def test_the_largest_sample_decides_the_bit_depth(most: int, shift: int) -> None:
    samples = np.array([[0, most // 2, most]], np.uint16)
    eight = BitDepth().to_eight_bits(samples)
    assert eight.dtype == np.uint8
    assert eight.tolist() == [[0, most // 2 >> shift, most >> shift]]


def test_a_darker_frame_of_the_same_camera_does_not_become_brighter() -> None:
    bits = BitDepth()
    bright, dark = np.full((2, 2), 4000, np.uint16), np.full((2, 2), 500, np.uint16)
    assert bits.to_eight_bits(bright).max() == 250
    for _ in range(3):
        assert bits.to_eight_bits(dark).max() == 500 >> 4


@pytest.mark.parametrize('wrong', [65535, 5000])
def test_a_few_hot_or_invalid_pixels_do_not_darken_a_camera(wrong: int) -> None:
    bits, frame = BitDepth(), np.full((100, 200), 4095, np.uint16)
    frame[0, :2] = wrong  # 0.01 % of the samples
    eight = bits.to_eight_bits(frame)
    assert eight[0, 0] == 255 and eight.min() == 255
    frame[0, 2] = wrong
    assert bits.to_eight_bits(frame).min() < 255


def test_a_video_does_not_flicker_while_its_brightness_changes() -> None:
    """A still pixel keeps its value while another one changes, from the first bright frame on."""
    bits, rng = BitDepth(), np.random.default_rng(0)
    bits.to_eight_bits(np.array([4095], np.uint16))
    still = {
        int(bits.to_eight_bits(np.array([800, other], np.uint16))[0])
        for other in rng.integers(0, 4096, 100)
    }
    assert still == {800 >> 4}


def test_big_endian_samples_are_read_as_such() -> None:
    assert BitDepth().to_eight_bits(np.array([4080], '>u2')).tolist() == [255]
