from __future__ import annotations

import sys
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from PIL import Image

from instructseg_ros.model.camera_motion import remove_camera_motion
from instructseg_ros.model.model_files import ModelError
from instructseg_ros.tabletop.shifts import SHIFTS, observe_shifted
from instructseg_ros.tabletop.world.simulator import Tabletop

SIZE = (320, 240)


@pytest.fixture(scope='module')
def tabletop() -> Iterator[Tabletop]:
    with Tabletop(width=SIZE[0], height=SIZE[1]) as one:
        yield one


def table(seed: int = 0) -> np.ndarray:
    """A picture with many corners, twice as large as a frame."""
    coarse = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC))


def seen(picture: np.ndarray, left: int, top: int) -> np.ndarray:
    return np.ascontiguousarray(picture[top : top + SIZE[1], left : left + SIZE[0]])


def with_thing(frame: np.ndarray, left: int, top: int, size: int = 40) -> np.ndarray:
    frame = frame.copy()
    frame[top : top + size, left : left + size] = seen(table(1), 0, 0)[:size, :size]
    return frame


@pytest.mark.parametrize('moved', [(12, 0), (-25, 9)])
def test_a_frame_is_warped_to_where_the_camera_is_now(moved: tuple[int, int]) -> None:
    earlier, now = seen(table(), 150, 100), seen(table(), 150 + moved[0], 100 + moved[1])
    [warped] = remove_camera_motion([earlier], now)
    inside = (slice(30, -30), slice(30, -30))
    difference = np.abs(np.asarray(warped, float) - now)[inside]
    assert difference.mean() < 3 < np.abs(np.asarray(earlier, float) - now)[inside].mean()


def test_the_motion_of_a_thing_stays() -> None:
    earlier = with_thing(seen(table(), 150, 100), 100, 100)
    now = with_thing(seen(table(), 160, 100), 120, 100)
    [warped] = remove_camera_motion([earlier], now)
    expected = with_thing(seen(table(), 160, 100), 90, 100)
    inside = (slice(90, 150), slice(80, 180))
    assert np.abs(np.asarray(warped, float) - expected)[inside].mean() < 12


def test_frames_of_a_still_camera_stay_even_if_a_large_thing_moves() -> None:
    earlier = with_thing(seen(table(), 150, 100), 20, 20, size=180)
    now = with_thing(seen(table(), 150, 100), 50, 30, size=180)
    [same] = remove_camera_motion([earlier], now)
    assert same is earlier


def test_several_frames_and_pil_images_are_taken() -> None:
    frames = [Image.fromarray(seen(table(), x, 100)) for x in (100, 110, 120)]
    warped = remove_camera_motion(frames[:2], frames[2])
    assert [np.asarray(frame).shape for frame in warped] == [(240, 320, 3)] * 2
    assert not any(frame is other for frame, other in zip(warped, frames, strict=False))


@pytest.mark.parametrize(
    'earlier',
    [
        np.full((240, 320, 3), 90, np.uint8),  # nothing to track
        np.zeros((120, 160, 3), np.uint8),  # another size
        np.random.default_rng(1).integers(0, 256, (240, 320, 3), dtype=np.uint8),
    ],
)
def test_frames_that_cannot_be_aligned_stay(earlier: np.ndarray) -> None:
    [same] = remove_camera_motion([earlier], seen(table(), 100, 100))
    assert same is earlier


def test_there_may_be_no_earlier_frames_and_no_corners() -> None:
    plain = np.zeros((240, 320, 3), np.uint8)
    assert remove_camera_motion([], plain) == []
    [same] = remove_camera_motion([plain], plain)
    assert same is plain


def test_a_missing_opencv_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, 'cv2', None)
    with pytest.raises(ModelError, match='apt install python3-opencv'):
        remove_camera_motion([seen(table(), 0, 0)], seen(table(), 0, 0))


@pytest.mark.parametrize('size', [(1, 1), (5, 4000), (4000, 5), (2, 300), (30, 40)])
def test_images_of_any_size_are_taken(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(2)]
    [same] = remove_camera_motion(frames[:1], frames[1])
    assert np.asarray(same).shape == (*size, 3)


@pytest.mark.parametrize('seed', [3, 8, 14])
def test_a_rendered_table_stands_still_under_a_drifting_camera(
    tabletop: Tabletop, seed: int
) -> None:
    earlier, now = observe_shifted(tabletop, seed, (2.0, 2.4), SHIFTS['drifting camera'])
    [warped] = remove_camera_motion([earlier.rgb], now.rgb)
    empty = now.labels == 0
    empty[:, :40] = empty[:, -40:] = False  # not seen earlier
    before = np.abs(np.asarray(earlier.rgb, float) - now.rgb)[empty].mean()
    after = np.abs(np.asarray(warped, float) - now.rgb)[empty].mean()
    assert after < 0.6 * before
