from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from instructseg_ros.tabletop.shifts import SHIFTS
from instructseg_ros.tabletop.world.arrangement import lone_object
from instructseg_ros.tabletop.world.mujoco_model import OpenGLError
from instructseg_ros.tabletop.world.scene import Scene
from instructseg_ros.tabletop.world.simulator import Observation, Tabletop
from instructseg_ros.teaching import showing
from instructseg_ros.teaching.click_mask import click_mask
from instructseg_ros.teaching.showing import Showing, Verdict

SHOWN = [
    ('stapler', 'red'),
    ('spoon', 'brown'),
    ('plate', 'white'),
    ('mug', 'purple'),
    ('pen', 'black'),
    ('star', 'green'),
]


@pytest.fixture(scope='module')
def tabletop() -> Iterator[Tabletop]:
    try:
        tabletop = Tabletop(width=640, height=480)
    except OpenGLError as error:
        pytest.skip(str(error))
    with tabletop:
        yield tabletop


def _scene(category: str = 'stapler', color: str = 'red', view: int = 0, seed: int = 1) -> Scene:
    return lone_object(seed, view, category, color)


def _see(tabletop: Tabletop, scene: Scene) -> Observation:
    tabletop.show(scene)
    return tabletop.observe(0.0)


def _empty(scene: Scene) -> Scene:
    return dataclasses.replace(scene, objects=())


def _with_second(scene: Scene, category: str = 'apple') -> Scene:
    """Put another object 25 cm to the right of the first, as the camera sees it."""
    (first,) = scene.objects
    (other,) = _scene(category, 'green').objects
    right, _ = scene.camera.table_axes()
    side = 0.25 if scene.camera.to_optical(first.center)[0] < 0 else -0.25
    center = first.center * (1, 1, 0) + side * right + (0, 0, other.entry.shape.height / 2)
    other = dataclasses.replace(other, label=2, center=center)
    return dataclasses.replace(scene, objects=(first, other))


def _noisy(depth: np.ndarray | None, seed: int = 0) -> np.ndarray:
    """Add noise of 1.5 mm, steps of 1 mm, and missing pixels: 1 %, and half of those at jumps."""
    assert depth is not None
    rng = np.random.default_rng(seed)
    noisy = np.round(depth + rng.normal(0, 0.0015, depth.shape), 3)
    jumps = np.zeros(depth.shape, bool)
    jumps[1:] |= np.abs(np.diff(depth, axis=0)) > 0.012
    jumps[:, 1:] |= np.abs(np.diff(depth, axis=1)) > 0.012
    noisy[jumps & (rng.random(depth.shape) < 0.5)] = np.nan
    noisy[rng.random(depth.shape) < 0.01] = 0
    return noisy


def _judge(seen: Observation, show: Showing | None = None) -> Verdict:
    show = Showing(live=False) if show is None else show
    return show.judge(seen.rgb, _noisy(seen.depth), seen.pinhole)


def _iou(mask: np.ndarray | None, seen: Observation) -> float:
    assert mask is not None and seen.labels is not None
    truth = seen.labels == 1
    return float((mask & truth).sum() / (mask | truth).sum())


@pytest.mark.parametrize(('category', 'color'), SHOWN)
def test_the_mask_of_a_shown_object_is_exact(tabletop: Tabletop, category: str, color: str) -> None:
    seen = _see(tabletop, _scene(category, color))
    verdict = _judge(seen)
    assert verdict.problem == ''
    assert _iou(verdict.mask, seen) > 0.95


def test_depth_of_half_the_resolution_is_enough(tabletop: Tabletop) -> None:
    seen = _see(tabletop, _scene())
    assert seen.depth is not None
    verdict = Showing(live=False).judge(seen.rgb, seen.depth[::2, ::2], seen.pinhole)
    assert verdict.problem == ''
    assert _iou(verdict.mask, seen) > 0.93


@pytest.mark.parametrize(('category', 'color'), [('stapler', 'red'), ('mug', 'purple')])
def test_without_depth_the_object_differs_from_the_empty_table(
    tabletop: Tabletop, category: str, color: str
) -> None:
    scene = _scene(category, color)
    empty, seen = _see(tabletop, _empty(scene)), _see(tabletop, scene)
    darker = (0.9 * empty.rgb).astype(np.uint8)
    verdict = Showing(darker, live=False).judge(seen.rgb)
    assert verdict.problem == ''
    assert _iou(verdict.mask, seen) > 0.85


def test_an_empty_table_is_refused(tabletop: Tabletop) -> None:
    seen = _see(tabletop, _empty(_scene()))
    verdict = _judge(seen)
    assert verdict.mask is None and verdict.problem == showing.NOTHING
    assert Showing(seen.rgb, live=False).judge(seen.rgb).problem == showing.NOTHING


def test_two_objects_are_refused(tabletop: Tabletop) -> None:
    scene = _with_second(_scene())
    seen, empty = _see(tabletop, scene), _see(tabletop, _empty(scene))
    assert seen.labels is not None and set(np.unique(seen.labels)) == {0, 1, 2}
    assert _judge(seen).problem == showing.SEVERAL
    assert Showing(empty.rgb, live=False).judge(seen.rgb).problem == showing.SEVERAL


@pytest.mark.parametrize('reach', ['beside', 'onto'])
def test_a_hand_is_refused(tabletop: Tabletop, reach: str) -> None:
    seen = _see(tabletop, _scene())
    assert seen.depth is not None and seen.labels is not None
    rows, columns = np.nonzero(seen.labels == 1)
    row = int(rows.mean())
    arm = np.zeros(seen.labels.shape, bool)
    arm[row - 25 : row + 25, : columns.min() - 30 if reach == 'beside' else int(columns.mean())] = 1
    rgb, depth = seen.rgb.copy(), seen.depth.copy()
    rgb[arm], depth[arm] = (200, 150, 120), depth[arm] - 0.06
    verdict = _judge(dataclasses.replace(seen, rgb=rgb, depth=depth))
    assert verdict.mask is None
    assert verdict.problem == (showing.REACHING if reach == 'beside' else showing.CUT_OFF)


def test_an_object_at_the_edge_of_the_picture_is_refused(tabletop: Tabletop) -> None:
    seen = _see(tabletop, _scene())
    assert seen.labels is not None and seen.depth is not None
    cut = int(np.nonzero(seen.labels == 1)[1].mean())
    width = 640 - cut
    camera = dataclasses.replace(seen.pinhole, width=width, cx=seen.pinhole.cx - cut)
    verdict = Showing(live=False).judge(seen.rgb[:, cut:], seen.depth[:, cut:], camera)
    assert verdict.problem == showing.CUT_OFF


def test_a_view_without_a_table_is_refused(tabletop: Tabletop) -> None:
    seen = _see(tabletop, _scene())
    depth = np.random.default_rng(0).uniform(0.5, 2.0, (480, 640))
    assert Showing(live=False).judge(seen.rgb, depth, seen.pinhole).problem == showing.NO_PLANE
    depth[:] = np.nan
    assert Showing(live=False).judge(seen.rgb, depth, seen.pinhole).problem == showing.NO_PLANE


def test_a_blurred_picture_is_refused(tabletop: Tabletop) -> None:
    seen = _see(tabletop, _scene())
    rgb = SHIFTS['blur'].pixels(seen.rgb, np.random.default_rng(0))
    assert _judge(dataclasses.replace(seen, rgb=rgb)).problem == showing.BLURRED


def test_a_repeated_place_is_refused_until_the_object_is_moved(tabletop: Tabletop) -> None:
    show = Showing(live=False)
    first, second = (_see(tabletop, _scene(view=view)) for view in (0, 1))
    problems = [_judge(seen, show).problem for seen in (first, first, second, first)]
    assert problems == ['', showing.REPEATED, '', showing.REPEATED]


def test_in_a_video_the_object_must_have_come_to_rest(tabletop: Tabletop) -> None:
    show = Showing()
    moving = [_see(tabletop, _scene(view=view)) for view in range(3)]
    problems = [_judge(seen, show).problem for seen in (*moving, moving[-1], moving[-1])]
    assert problems == [*[showing.MOVING] * 3, '', showing.REPEATED]


def test_a_camera_that_was_moved_no_longer_sees_the_empty_table(tabletop: Tabletop) -> None:
    seen, other = _see(tabletop, _scene(seed=1)), _see(tabletop, _empty(_scene(seed=8)))
    assert Showing(other.rgb, live=False).judge(seen.rgb).problem == showing.CHANGED


def test_missing_inputs_are_errors_with_a_remedy() -> None:
    rgb = np.zeros((48, 64, 3), np.uint8)
    with pytest.raises(ValueError, match='pass a picture of the table'):
        Showing().judge(rgb)
    with pytest.raises(ValueError, match='pass a pinhole'):
        Showing().judge(rgb, np.ones((48, 64)))
    with pytest.raises(ValueError, match='same camera'):
        Showing(rgb[:24]).judge(rgb)


def test_a_click_on_an_object_gives_its_mask(tabletop: Tabletop) -> None:
    ious = []
    for category, color in SHOWN:
        seen = _see(tabletop, _scene(category, color))
        assert seen.labels is not None
        spots = np.argwhere(seen.labels == 1)
        row, column = spots[np.linalg.norm(spots - spots.mean(0), axis=1).argmin()]
        mask = click_mask(seen.rgb, int(row), int(column))
        assert mask.shape == (480, 640) and mask[row, column]
        ious.append(_iou(mask, seen))
    assert np.mean(ious) > 0.75


def test_a_click_outside_of_the_picture_is_an_error() -> None:
    with pytest.raises(ValueError, match='click inside'):
        click_mask(np.zeros((48, 64, 3), np.uint8), 48, 0)
