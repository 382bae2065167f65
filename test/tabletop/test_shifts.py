from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from instructseg_ros.cli.main import main
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.tabletop.benchmark import UNCHANGED, run_shift, shift_table
from instructseg_ros.tabletop.shifts import SHIFTS, drifting, elevated, observe_shifted
from instructseg_ros.tabletop.world.arrangement import random_scene
from instructseg_ros.tabletop.world.scene import TableCamera
from instructseg_ros.tabletop.world.simulator import Observation, Tabletop

SEEDS = (3, 8)
TIMES = (2.0, 2.4)


def areas(frame: Observation) -> np.ndarray:
    assert frame.labels is not None
    return np.bincount(frame.labels.ravel(), minlength=12)[1:]


def camera(name: str, seed: int) -> TableCamera:
    return SHIFTS[name].scene(random_scene(seed), np.random.default_rng(0), 0.0).camera


def test_showing_a_random_scene_equals_a_reset_with_its_seed(tabletop: Tabletop) -> None:
    tabletop.reset(8)
    expected = tabletop.observe(1.0)
    tabletop.reset(3)
    tabletop.show(random_scene(8))
    shown = tabletop.observe(1.0)
    assert np.array_equal(shown.rgb, expected.rgb) and shown.graph == expected.graph


@pytest.mark.parametrize('seed', SEEDS)
def test_without_a_shift_the_frames_are_those_of_the_tabletop(
    tabletop: Tabletop, seed: int
) -> None:
    frames = observe_shifted(tabletop, seed, TIMES)
    tabletop.reset(seed)
    for frame, time in zip(frames, TIMES, strict=True):
        assert np.array_equal(frame.rgb, tabletop.observe(time).rgb)


@pytest.mark.parametrize('seed', SEEDS)
@pytest.mark.parametrize('name', sorted({*SHIFTS} - {'portrait'}))
def test_a_shift_changes_the_picture_but_not_its_form(
    tabletop: Tabletop, name: str, seed: int
) -> None:
    plain = observe_shifted(tabletop, seed, TIMES)
    changed = observe_shifted(tabletop, seed, TIMES, SHIFTS[name])
    assert [frame.rgb.shape for frame in changed] == [(240, 320, 3)] * 2
    assert all(frame.rgb.dtype == np.uint8 for frame in changed)
    assert changed[-1].labels is not None and changed[-1].labels.dtype == np.uint8
    assert changed[-1].graph
    assert not np.array_equal(changed[0].rgb, plain[0].rgb)


@pytest.mark.parametrize('name', ['noise', 'drifting camera', 'photo-like table', 'half hidden'])
def test_the_same_seed_gives_the_same_frames(tabletop: Tabletop, name: str) -> None:
    first, again = (observe_shifted(tabletop, 3, TIMES, SHIFTS[name]) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.rgb, other.rgb)


def test_noise_differs_from_frame_to_frame(tabletop: Tabletop) -> None:
    first, second = observe_shifted(tabletop, 3, (2.0, 2.0), SHIFTS['noise'])
    assert not np.array_equal(first.rgb, second.rgb)


@pytest.mark.parametrize('seed', SEEDS)
@pytest.mark.parametrize(('name', 'factor'), [('far', 1.6), ('very far', 2.5)])
def test_a_far_camera_sees_smaller_objects(
    tabletop: Tabletop, name: str, factor: float, seed: int
) -> None:
    plain = areas(observe_shifted(tabletop, seed, TIMES)[-1]).sum()
    smaller = areas(observe_shifted(tabletop, seed, TIMES, SHIFTS[name])[-1]).sum()
    assert plain / smaller == pytest.approx(factor**2, rel=0.25)


def aim(camera: TableCamera) -> tuple[np.ndarray, float]:
    """The point where the optical axis meets the table, and pixels per metre there."""
    ahead = camera.rotation[:, 2]
    distance = -camera.position[2] / ahead[2]
    return camera.position + distance * ahead, camera.pinhole(640, 480).fx / distance


def test_a_narrow_view_from_farther_away_keeps_the_scale_where_the_camera_looks() -> None:
    plain, changed = random_scene(3).camera, camera('tele', 3)
    assert changed.fovy == 0.55 * plain.fovy
    assert aim(changed)[0] == pytest.approx(aim(plain)[0])
    assert aim(changed)[1] == pytest.approx(aim(plain)[1])


def test_a_wide_view_shows_the_same_point_from_nearer() -> None:
    plain, changed = random_scene(3).camera, camera('wide', 3)
    assert changed.fovy == 85.0
    assert aim(changed)[0] == pytest.approx(aim(plain)[0])
    assert changed.position[2] == pytest.approx(0.7 * plain.position[2])


@pytest.mark.parametrize('seed', SEEDS)
@pytest.mark.parametrize(('name', 'elevation'), [('low', 18.0), ('high', 82.0)])
def test_low_and_high_cameras_have_their_elevation(name: str, elevation: float, seed: int) -> None:
    plain, changed = random_scene(seed).camera, camera(name, seed)
    assert np.rad2deg(np.arcsin(-changed.rotation[2, 2])) == pytest.approx(elevation)
    assert aim(changed)[0] == pytest.approx(aim(plain)[0])
    assert changed.table_axes()[1] == pytest.approx(plain.table_axes()[1], abs=0.05)
    assert changed.rotation.T @ changed.rotation == pytest.approx(np.eye(3))


def test_a_camera_that_keeps_its_elevation_keeps_its_pose() -> None:
    plain = random_scene(3).camera
    elevation = float(np.rad2deg(np.arcsin(-plain.rotation[2, 2])))
    same = elevated(plain, elevation)
    assert same.position == pytest.approx(plain.position)
    assert same.rotation == pytest.approx(plain.rotation)


def test_a_drifting_camera_moves_by_10_cm_in_a_second() -> None:
    scene, rng = random_scene(3), np.random.default_rng(0)
    now, before = drifting(scene, rng, 0.0).camera, drifting(scene, rng, -1.0).camera
    assert now.position == pytest.approx(scene.camera.position)
    moved = (now.position - before.position) @ scene.camera.rotation
    assert moved == pytest.approx([0.1, 0.0, 0.0])


@pytest.mark.parametrize('name', ['colour-noise table', 'photo-like table'])
def test_a_changed_background_leaves_the_objects_as_they_are(tabletop: Tabletop, name: str) -> None:
    plain = observe_shifted(tabletop, 3, TIMES)[-1]
    changed = observe_shifted(tabletop, 3, TIMES, SHIFTS[name])[-1]
    assert plain.labels is not None
    objects = plain.labels > 0
    assert np.array_equal(changed.rgb[objects], plain.rgb[objects])
    assert (changed.rgb[~objects] != plain.rgb[~objects]).any(-1).mean() > 0.95


@pytest.mark.parametrize('seed', SEEDS)
def test_half_hidden_objects_lose_only_their_covered_pixels(tabletop: Tabletop, seed: int) -> None:
    plain = observe_shifted(tabletop, seed, TIMES)[-1]
    hidden = observe_shifted(tabletop, seed, TIMES, SHIFTS['half hidden'])[-1]
    assert plain.labels is not None and hidden.labels is not None
    same = hidden.labels == plain.labels
    assert (hidden.labels[~same] == 0).all()
    assert np.array_equal(
        hidden.rgb[same & (hidden.labels > 0)], plain.rgb[same & (plain.labels > 0)]
    )
    kept = (areas(hidden) / np.maximum(areas(plain), 1))[[obj.label - 1 for obj in plain.graph]]
    assert (kept >= 0.4).all()
    assert (kept < 0.7).sum() >= len(plain.graph) // 3


def test_objects_are_covered_in_the_same_place_in_all_frames(tabletop: Tabletop) -> None:
    plain = observe_shifted(tabletop, 3, TIMES)
    hidden = observe_shifted(tabletop, 3, TIMES, SHIFTS['half hidden'])
    changed = [(a.rgb != b.rgb).any(-1) for a, b in zip(hidden, plain, strict=True)]
    # A rectangle may have the very color of a pixel below it.
    assert (changed[0] == changed[1]).mean() > 0.999


@pytest.fixture(scope='module')
def segmenter(tiny_model_dir: Path) -> Segmenter:
    return Segmenter.from_pretrained(str(tiny_model_dir), device='cpu')


def test_a_shift_is_asked_about_present_targets_of_every_category_but_motion(
    segmenter: Segmenter,
) -> None:
    answers = run_shift(segmenter, 'blur', [3], size=(160, 120))
    assert answers and all(answer.present for answer in answers)
    assert 'motion' not in {answer.category for answer in answers}


def test_a_drifting_camera_is_asked_only_about_motion(segmenter: Segmenter) -> None:
    answers = run_shift(segmenter, 'drifting camera', [3], size=(160, 120))
    assert {answer.category for answer in answers} == {'motion'}


def test_the_table_has_the_worst_shift_first_and_unchanged_pictures_last() -> None:
    cells = [{'iou': iou, 'above_half': 0.5, 'n': 4} for iou in (0.9, 0.2, 0.95)]
    shifts, unchanged = {'far': cells[0], 'very far': cells[1]}, {'unchanged': cells[2]}
    lines = shift_table({'shifts': shifts, 'unchanged': unchanged}).splitlines()[1:]
    names = [line[:20].strip() for line in lines]
    assert names == ['very far', 'far', 'unchanged']


def test_the_command_prints_the_shifts_and_writes_their_figures(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tiny_model_dir: Path,
    tmp_path: Path,
) -> None:
    some = {name: SHIFTS[name] for name in ('noise', 'portrait')}
    monkeypatch.setattr('instructseg_ros.tabletop.benchmark.SHIFTS', some)
    file = tmp_path / 'figures.json'
    command = ['evaluate', 'tabletop', '--shifts', '--scenes', '1', '--device', 'cpu']
    assert main([*command, '--model', str(tiny_model_dir), '--json', str(file)]) == 0
    printed, figures = capsys.readouterr().out, json.loads(file.read_text())
    assert set(figures['shifts']) == set(some) and set(figures['unchanged']) == set(UNCHANGED)
    for name, cell in (figures['shifts'] | figures['unchanged']).items():
        assert name in printed
        assert set(cell) == {'iou', 'above_half', 'n'}
