from __future__ import annotations

import numpy as np
import pytest

from instructseg_ros.tabletop.shifts import Shift
from instructseg_ros.tabletop.training.scene_variation import random_shift
from instructseg_ros.tabletop.world.arrangement import random_scene


@pytest.fixture(scope='module')
def shifts() -> list[Shift]:
    photograph = np.full((48, 64, 3), 200, dtype=np.uint8)
    return [random_shift(np.random.default_rng(seed), [photograph]) for seed in range(200)]


def test_a_seed_gives_the_same_changes_again() -> None:
    scene, source = random_scene(5), np.random.default_rng(0)
    for seed in range(10):
        first, second = (random_shift(np.random.default_rng(seed)) for _ in range(2))
        cameras = [one.scene(scene, source, -0.4).camera for one in (first, second)]
        assert np.array_equal(cameras[0].position, cameras[1].position)
        assert np.array_equal(cameras[0].rotation, cameras[1].rotation)
        assert first.cover == second.cover


def test_most_kinds_of_change_are_frequent_and_some_scenes_stay_as_they_are(
    shifts: list[Shift],
) -> None:
    scene, source = random_scene(5), np.random.default_rng(0)
    moved = [not same(one, scene, source) for one in shifts]
    assert 0.5 < np.mean(moved) < 0.85
    assert 0.15 < np.mean([one.background is not None for one in shifts]) < 0.35
    assert 0.08 < np.mean([one.cover for one in shifts]) < 0.25
    rgb = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    kept = [np.array_equal(one.pixels(rgb, np.random.default_rng(1)), rgb) for one in shifts]
    assert 0.45 < np.mean(kept) < 0.75


def same(shift: Shift, scene: object, source: np.random.Generator) -> bool:
    changed = shift.scene(scene, source, -0.4)
    return np.array_equal(changed.camera.position, scene.camera.position)


def test_a_moving_camera_is_at_its_place_when_the_key_frame_is_taken() -> None:
    scene, source = random_scene(5), np.random.default_rng(0)
    drifts = 0
    for seed in range(60):
        shift = random_shift(np.random.default_rng(seed))
        key, again = shift.scene(scene, source, 0.0), shift.scene(scene, source, 0.0)
        earlier = shift.scene(scene, source, -0.4)
        assert np.array_equal(key.camera.position, again.camera.position)
        distance = np.linalg.norm(earlier.camera.position - key.camera.position)
        assert distance < 0.4 * 0.15 * 3**0.5 + 1e-9
        drifts += bool(distance)
    assert 10 < drifts < 40


def test_backgrounds_and_changed_images_are_images(shifts: list[Shift]) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    for number, shift in enumerate(shifts):
        rng = np.random.default_rng(number)
        changed = shift.pixels(rgb, rng)
        assert changed.shape == rgb.shape and changed.dtype == np.uint8
        if shift.background is not None:
            painted = shift.background(24, 32, rng)
            assert painted.shape == (24, 32, 3) and painted.dtype == np.uint8
