from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from true_boxes import TrueBox, true_box

from instructseg_ros.spatial.box import Box, NoDepthError, fit_box, fit_rectangle
from instructseg_ros.spatial.pinhole import Pinhole
from instructseg_ros.spatial.quaternions import rotate
from instructseg_ros.tabletop.world.arrangement import random_scene
from instructseg_ros.tabletop.world.mujoco_model import OpenGLError, surface_points
from instructseg_ros.tabletop.world.recording import (
    RECORDED_SCENES,
    SCENE_SECONDS,
    Recording,
    RecordingError,
)
from instructseg_ros.tabletop.world.scene import Scene
from instructseg_ros.tabletop.world.scene_graph import visible_share
from instructseg_ros.tabletop.world.simulator import Observation, Tabletop

SEEDS = range(20)
CENTER, SIZE = 0.01, 0.15  # m, and of the true size
CAMERA = Pinhole(width=320, height=240, fx=300.0, fy=300.0, cx=159.5, cy=119.5)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A thing that shows at least 90 % of its outline."""

    kind: str
    depth: np.ndarray
    pinhole: Pinhole
    mask: np.ndarray
    truth: TrueBox


def _observations() -> Iterator[tuple[Scene, Observation]]:
    """Rendered scenes, or the shipped recording's where there is nothing to render with."""
    try:
        with Tabletop(seed=0) as tabletop:
            for seed in SEEDS:
                tabletop.reset(seed)
                yield tabletop.scene, tabletop.observe(0.0)
    except OpenGLError:
        with Recording() as recording:
            for number, seed in enumerate(RECORDED_SCENES):
                seen = recording.observe(number * SCENE_SECONDS)
                yield random_scene(seed), seen


def _things(scene: Scene, seen: Observation) -> Iterator[Seen]:
    assert seen.depth is not None and seen.labels is not None
    k, graph = seen.pinhole, {thing.label for thing in seen.graph}
    pinhole = Pinhole(width=k.width, height=k.height, fx=k.fx, fy=k.fy, cx=k.cx, cy=k.cy)
    for item in scene.objects:
        surface = surface_points(item.entry)
        if item.label in graph and visible_share(scene, item, surface, seen.labels, k, 0.0) >= 0.9:
            yield Seen(
                kind=item.entry.category,
                depth=seen.depth,
                pinhole=pinhole,
                mask=seen.labels == item.label,
                truth=true_box(scene, item, 0.0),
            )


@pytest.fixture(scope='module')
def things() -> list[Seen]:
    try:
        return [thing for scene, seen in _observations() for thing in _things(scene, seen)]
    except RecordingError as error:
        pytest.skip(f'neither OpenGL nor a recording: {error}')


def _holds(box: Box, truth: TrueBox) -> bool:
    size = np.append(np.sort(box.size[:2])[::-1], box.size[2])
    return bool(
        np.linalg.norm(box.center - truth.center) < CENTER
        and (np.abs(size / truth.size - 1) < SIZE).all()
    )


def _share(things: list[Seen], spoil: Callable[[np.ndarray], np.ndarray]) -> float:
    spoilt = {id(thing.depth): thing.depth for thing in things}
    spoilt = {key: spoil(depth) for key, depth in spoilt.items()}
    return float(
        np.mean(
            [
                _holds(fit_box(spoilt[id(thing.depth)], thing.pinhole, thing.mask), thing.truth)
                for thing in things
            ]
        )
    )


def test_most_boxes_of_well_visible_objects_have_the_right_centre_and_size(
    things: list[Seen],
) -> None:
    rendered = len(things) > 60  # a recording has fewer scenes, and depth in steps of 4 mm
    assert len(things) >= 15
    assert _share(things, lambda depth: depth) >= (0.88 if rendered else 0.75)


def _flying(depth: np.ndarray) -> np.ndarray:
    """Let the pixels on both sides of a step lie anywhere between both."""
    around = np.stack([np.roll(depth, shift, axis) for axis in (0, 1) for shift in (-1, 0, 1)])
    low, high = around.min(0), around.max(0)
    between = low + np.random.default_rng(0).uniform(size=depth.shape) * (high - low)
    return np.where(high - low > 0.02, between, depth).astype(np.float32)


def _holed(depth: np.ndarray) -> np.ndarray:
    return np.where(np.random.default_rng(0).uniform(size=depth.shape) < 0.1, np.nan, depth)


def _noisy(depth: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 0.002, depth.shape)
    return (depth + noise).astype(np.float32)


@pytest.mark.parametrize(
    ('spoil', 'share'),
    [
        (_flying, 0.6),
        (_holed, 0.7),
        (lambda depth: depth[1::2, 1::2], 0.7),
        (lambda depth: np.rint(1000 * depth).astype(np.float32) / 1000, 0.7),
        (_noisy, 0.7),
    ],
    ids=['flying pixels', 'holes', 'half resolution', '16UC1', 'noise of 2 mm'],
)
def test_most_boxes_survive_the_errors_of_real_depth_cameras(
    things: list[Seen], spoil: Callable, share: float
) -> None:
    assert _share(things[::3], spoil) >= share


def test_the_box_stands_upright_whatever_the_camera_s_tilt(things: list[Seen]) -> None:
    tilts = [
        rotate(fit_box(thing.depth, thing.pinhole, thing.mask).rotation, np.array([0.0, 0, 1]))
        @ thing.truth.rotation[:, 2]
        for thing in things[::4]
    ]
    assert np.mean(np.array(tilts) > np.cos(np.deg2rad(1.0))) >= 0.95


def _block(depth: float = 0.8) -> tuple[np.ndarray, np.ndarray]:
    """A depth image without surroundings, and the mask of a flat block in its middle."""
    mask = np.zeros((240, 320), bool)
    mask[100:140, 100:220] = True
    return np.where(mask, depth, np.nan).astype(np.float32), mask


def test_without_a_plane_the_box_lies_along_the_principal_axes() -> None:
    depth, mask = _block()
    box = fit_box(depth, CAMERA, mask)
    assert box.center == pytest.approx([0.0, 0.0, 0.8], abs=2e-3)
    assert box.size == pytest.approx([0.32, 0.107, 0.0], abs=6e-3)
    turned = np.stack([rotate(box.rotation, axis) for axis in np.eye(3)], axis=1)
    assert np.abs(turned[:, 0]) == pytest.approx([1, 0, 0], abs=1e-3)
    assert np.linalg.det(turned) == pytest.approx(1)


def test_a_target_with_too_little_depth_is_refused_with_the_number_of_pixels() -> None:
    depth, mask = _block()
    depth[:, :216] = np.nan
    depth[103:] = np.nan
    with pytest.raises(NoDepthError, match='12 of 4800 pixels have depth'):
        fit_box(depth, CAMERA, mask)
    with pytest.raises(NoDepthError, match='0 of 0 pixels'):
        fit_box(depth, CAMERA, np.zeros_like(mask))


def test_the_same_frame_gives_the_same_box(things: list[Seen]) -> None:
    first, second = (fit_box(things[0].depth, things[0].pinhole, things[0].mask) for _ in range(2))
    assert np.array_equal(first.center, second.center)
    assert np.array_equal(first.size, second.size)


@pytest.mark.parametrize('angle', np.deg2rad([0, 20, 77, 140]))
def test_a_rectangle_is_found_at_any_angle(angle: float) -> None:
    flat = np.random.default_rng(0).uniform([-0.1, -0.04], [0.1, 0.04], (4000, 2))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    found = fit_rectangle(flat @ turn.T + [1.0, 2.0], 0.001)
    assert found.size == pytest.approx([0.2, 0.08], abs=0.006)
    assert found.center == pytest.approx([1.0, 2.0], abs=0.002)
    assert abs(np.sin(found.angle - angle)) < 0.05


@pytest.mark.parametrize('angle', np.deg2rad([10, 50, 120]))
def test_the_rectangle_of_a_round_object_lies_along_its_handle(angle: float) -> None:
    around_it = np.linspace(0, 2 * np.pi, 2000)
    body = 0.042 * np.column_stack([np.cos(around_it), np.sin(around_it)])
    handle = np.random.default_rng(0).uniform([0.04, -0.006], [0.076, 0.006], (300, 2))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    found = fit_rectangle(np.concatenate([body, handle]) @ turn.T, 0.0)
    assert found.size == pytest.approx([0.118, 0.084], rel=0.03)
    assert abs(np.sin(found.angle - angle)) < 0.1


def test_a_share_of_the_points_may_lie_beyond_each_side() -> None:
    flat = np.random.default_rng(0).uniform([-0.1, -0.04], [0.1, 0.04], (4000, 2))
    flat[:10] = [0.0, 5.0]
    assert fit_rectangle(flat, 0.005).size == pytest.approx([0.2, 0.08], abs=0.006)
