from __future__ import annotations

import numpy as np
import pytest

from instructseg_ros.tabletop.world.scene_graph import SceneObject
from instructseg_ros.tabletop.world.simulator import Observation, Tabletop

SEEDS = range(40, 50)


def test_an_observation_has_the_promised_shapes_and_types(tabletop: Tabletop) -> None:
    tabletop.reset(1)
    seen = tabletop.observe(0.5)
    assert seen.rgb.shape == (240, 320, 3) and seen.rgb.dtype == np.uint8
    assert seen.depth is not None and seen.depth.shape == (240, 320)
    assert seen.depth.dtype == np.float32
    assert seen.labels is not None and seen.labels.dtype == np.uint8
    assert (seen.pinhole.width, seen.pinhole.height) == (320, 240)
    assert seen.time == 0.5


def test_without_truth_only_the_image_is_made(tabletop: Tabletop) -> None:
    tabletop.reset(1)
    seen = tabletop.observe(0.5, truth=False)
    assert seen.depth is None and seen.labels is None and seen.graph == ()
    assert np.array_equal(seen.rgb, tabletop.observe(0.5).rgb)


def _same(a: Observation, b: Observation) -> bool:
    assert a.depth is not None and b.depth is not None
    assert a.labels is not None and b.labels is not None
    arrays = ((a.rgb, b.rgb), (a.depth, b.depth), (a.labels, b.labels))
    return a.graph == b.graph and all(np.array_equal(x, y) for x, y in arrays)


def test_a_seed_and_a_time_give_identical_frames_whatever_came_before(tabletop: Tabletop) -> None:
    tabletop.reset(5)
    first = tabletop.observe(1.5)
    tabletop.reset(77)
    tabletop.observe(8.0)
    with Tabletop(width=320, height=240, seed=5) as other:
        again = other.observe(1.5)
    tabletop.reset(5)
    assert _same(first, again) and _same(first, tabletop.observe(1.5))


def test_different_seeds_give_different_scenes(tabletop: Tabletop) -> None:
    tabletop.reset(5)
    first = tabletop.observe(0.0)
    tabletop.reset(6)
    assert not np.array_equal(first.rgb, tabletop.observe(0.0).rgb)


@pytest.mark.parametrize(('width', 'height'), [(640, 480), (192, 192), (424, 240)])
def test_another_image_size_shows_the_same_scene(
    tabletop: Tabletop, width: int, height: int
) -> None:
    tabletop.reset(9)
    small = tabletop.observe(1.0)
    with Tabletop(width=width, height=height, seed=9) as other:
        seen = other.observe(1.0)
    assert seen.rgb.shape == (height, width, 3)
    both = {t.label: t for t in small.graph}
    for obj in seen.graph:
        twin = both[obj.label]
        assert (obj.category, obj.color, obj.position) == (twin.category, twin.color, twin.position)
        expected = seen.pinhole.project(np.array(obj.position))
        assert np.linalg.norm(expected - obj.pixel) < 0.15 * width


def test_the_graph_describes_the_label_mask(tabletop: Tabletop) -> None:
    for seed in SEEDS:
        tabletop.reset(seed)
        seen = tabletop.observe(2.0)
        assert seen.labels is not None
        assert [t.label for t in seen.graph] == sorted({t.label for t in seen.graph})
        for obj in seen.graph:
            rows, columns = np.nonzero(seen.labels == obj.label)
            assert obj.area == len(rows) >= 37
            assert obj.pixel == pytest.approx((columns.mean(), rows.mean()))


def test_depth_is_metric_and_agrees_with_the_positions_of_objects(tabletop: Tabletop) -> None:
    for seed in SEEDS:
        tabletop.reset(seed)
        seen = tabletop.observe(2.0)
        assert seen.depth is not None and seen.labels is not None
        assert np.isfinite(seen.depth).all() and (seen.depth > 0.1).all()
        for obj in seen.graph:
            near = np.median(seen.depth[seen.labels == obj.label])
            assert abs(near - obj.position[2]) < 0.6 * obj.extent


def test_balls_project_onto_the_middle_of_their_masks(tabletop: Tabletop) -> None:
    errors = []
    for seed in range(40):
        tabletop.reset(seed)
        seen = tabletop.observe(0.0)
        for ball in (t for t in seen.graph if t.category == 'ball' and t.inside is None):
            x, y, z = ball.position
            r, f = 0.5 * ball.extent, seen.pinhole.fx
            tangent = np.sqrt(x * x + y * y + z * z - r * r)
            if ball.area < 0.94 * np.pi * (f * r) ** 2 * tangent / (z * z - r * r) ** 1.5:
                continue
            # The outline of a ball is an ellipse around this point, not around its centre.
            middle = seen.pinhole.project(np.array([x, y, z - r * r / z]))
            errors.append(middle - ball.pixel)
    assert len(errors) > 10
    assert np.abs(np.mean(errors, axis=0)).max() < 0.2
    assert np.abs(errors).max() < 1.0


def _moving(tabletop: Tabletop, time: float) -> list[tuple[SceneObject, SceneObject]]:
    before, now = tabletop.observe(time - 0.3).graph, tabletop.observe(time).graph
    known = {t.label: t for t in before}
    return [(known[t.label], t) for t in now if t.motion and t.label in known]


def test_motion_agrees_with_what_the_image_shows(tabletop: Tabletop) -> None:
    signs = {'left': (0, -1), 'right': (0, 1), 'towards': (1, 1), 'away': (1, -1), 'up': (1, -1)}
    met = set()
    for seed in range(40):
        tabletop.reset(seed)
        for old, new in _moving(tabletop, 3.0):
            assert new.motion is not None
            axis, sign = signs[new.motion]
            assert sign * (new.pixel[axis] - old.pixel[axis]) > 0.5
            met.add(new.motion)
    assert met == set(signs)


def test_velocity_is_the_change_of_position(tabletop: Tabletop) -> None:
    for seed in range(20):
        tabletop.reset(seed)
        for old, new in _moving(tabletop, 3.0):
            if new.manner == 'path':
                continue
            moved = (np.array(new.position) - old.position) / 0.3
            assert np.allclose(moved, new.velocity, atol=1e-3)


def test_what_rests_has_no_motion(tabletop: Tabletop) -> None:
    for seed in SEEDS:
        tabletop.reset(seed)
        for obj in tabletop.observe(1.0).graph:
            if obj.velocity == (0.0, 0.0, 0.0):
                assert obj.motion is None and obj.manner is None


def test_any_time_can_be_observed(tabletop: Tabletop) -> None:
    tabletop.reset(3)
    for time in (-0.5, 0.0, 1e4):
        assert tabletop.observe(time).graph


def test_a_closed_tabletop_says_so() -> None:
    tabletop = Tabletop(width=64, height=48)
    tabletop.close()
    tabletop.close()
    with pytest.raises(RuntimeError, match='closed'):
        tabletop.observe(0.0)
    with pytest.raises(RuntimeError, match='closed'):
        tabletop.reset(1)


def test_a_useless_image_size_is_refused() -> None:
    with pytest.raises(ValueError, match='too small'):
        Tabletop(width=0, height=480)
