from __future__ import annotations

import numpy as np
import pytest

from instructseg_ros.spatial.quaternions import to_matrix
from instructseg_ros.tabletop.world.arrangement import FRAME, placed, random_scene
from instructseg_ros.tabletop.world.catalogue import COLORS, OBJECT_CATEGORIES, SIZES
from instructseg_ros.tabletop.world.scene import PlacedObject, Scene

SCENES = [random_scene(seed) for seed in range(120)]


def _objects() -> list[tuple[Scene, PlacedObject]]:
    return [(scene, obj) for scene in SCENES for obj in scene.objects]


def _vertices(obj: PlacedObject, time: float) -> np.ndarray:
    _, base, orientation = obj.pose(time)
    return obj.entry.shape.vertices() @ to_matrix(orientation).T + base


def test_a_scene_has_at_most_ten_objects_and_mostly_four_or_more() -> None:
    counts = np.array([len(scene.objects) for scene in SCENES])
    assert counts.max() <= 10
    assert (counts >= 4).mean() > 0.97


def test_all_categories_colors_and_sizes_occur() -> None:
    objects = [obj for _, obj in _objects()]
    assert {obj.entry.category for obj in objects} == set(OBJECT_CATEGORIES)
    assert {obj.color for obj in objects} == set(COLORS)
    assert {obj.entry.size for obj in objects} == set(SIZES)


def test_labels_count_from_one() -> None:
    for scene in SCENES:
        assert [obj.label for obj in scene.objects] == list(range(1, len(scene.objects) + 1))


def test_no_article_is_used_twice_in_a_scene() -> None:
    for scene in SCENES:
        names = [obj.entry.name for obj in scene.objects]
        assert len(names) == len(set(names))


def test_about_half_of_the_scenes_move() -> None:
    moving = np.mean([any(obj.motion for obj in scene.objects) for scene in SCENES])
    assert 0.35 < moving < 0.7


def test_objects_on_the_table_touch_it() -> None:
    for _, obj in _objects():
        if obj.on is None and obj.inside is None and obj.motion is None:
            assert _vertices(obj, 0.0)[:, 2].min() == pytest.approx(0.0, abs=0.006)


def test_what_is_on_an_object_rests_on_its_top() -> None:
    checked = 0
    for scene, obj in _objects():
        if obj.on is None:
            continue
        below = scene.objects[obj.on - 1]
        top = _vertices(below, 0.0)[:, 2].max()
        lowest = _vertices(obj, 0.0)[:, 2].min()
        floor = below.entry.shape.platform
        assert floor is not None
        assert floor.height - 0.006 <= lowest <= top + 0.006
        assert np.linalg.norm((obj.center - below.center)[:2]) < floor.radius
        checked += 1
    assert checked > 10


def test_what_is_inside_a_container_reaches_below_its_rim_within_its_walls() -> None:
    checked = 0
    for scene, obj in _objects():
        if obj.inside is None:
            continue
        around = scene.objects[obj.inside - 1]
        hollow, rim = around.entry.shape.hollow, around.entry.shape.height
        assert hollow is not None
        points = _vertices(obj, 0.0)
        low = points[points[:, 2] < points[:, 2].min() + 0.005]
        assert low[:, 2].min() < 0.6 * rim + around.center[2] - 0.5 * rim
        assert (np.linalg.norm(low[:, :2] - around.center[:2], axis=1) < hollow.mouth).all()
        checked += 1
    assert checked > 5


@pytest.mark.parametrize('time', [0.0, 1.7, 5.3])
def test_everything_stays_in_the_image(time: float) -> None:
    for scene, obj in _objects():
        optical = scene.camera.to_optical(_vertices(obj, time))
        pixels = scene.camera.pinhole(*FRAME).project(optical)
        assert (pixels > -12).all() and (pixels < np.array(FRAME) + 12).all()


@pytest.mark.parametrize('time', [0.0, 0.9, 2.3, 7.1])
def test_objects_on_the_table_never_run_into_each_other(time: float) -> None:
    for scene in SCENES:
        ground = []
        for obj in scene.objects:
            upright = np.allclose(to_matrix(obj.orientation)[2], (0, 0, 1))
            if obj.on is None and obj.inside is None and upright:
                center, _, orientation = obj.pose(time)
                axis = to_matrix(orientation)[:, 0]
                ground.append(
                    placed(obj.entry.shape.discs, center, float(np.arctan2(axis[1], axis[0])))
                )
        for number, first in enumerate(ground):
            for second in ground[number + 1 :]:
                apart = np.linalg.norm(first[:, None, :2] - second[None, :, :2], axis=-1)
                assert (apart > first[:, None, 2] + second[None, :, 2] - 0.012).all()


def test_objects_move_at_five_to_twenty_five_centimetres_a_second() -> None:
    speeds = []
    for _, obj in _objects():
        if obj.motion is not None:
            times = np.arange(0.0, 12.0, 0.05)
            offsets = np.stack([obj.motion.offset(t) for t in times])
            speeds += list(np.linalg.norm(np.diff(offsets, axis=0), axis=1) / 0.05)
    moving = np.array([speed for speed in speeds if speed > 1e-6])
    assert moving.max() < 0.27
    assert np.median(moving) > 0.05
