from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from small_scenes import SHAPE, filled_store

from instructseg_ros.tabletop.training.scene_store import EXISTS, MAX_OBJECTS, SceneStore, U

ARRAYS = ('vision', 'image', 'labels', 'objects', 'graphs', 'words', 'roles', 'categories', 'done')


def test_a_store_comes_back_as_it_was_left(tmp_path: Path) -> None:
    written = filled_store(tmp_path)
    read = SceneStore.open(tmp_path)
    assert read.shape == SHAPE
    for name in ARRAYS:
        assert np.array_equal(getattr(read, name), getattr(written, name)), name


def test_a_new_store_is_empty(tmp_path: Path) -> None:
    store = SceneStore.create(tmp_path / 'a' / 'b', SHAPE)
    assert not store.done.any() and not store.objects.any() and not store.words.any()
    assert store.vision.shape == (12, 3, 64, 64, 3) and store.labels.shape == (12, 64, 96)


def test_making_a_store_twice_keeps_its_scenes(tmp_path: Path) -> None:
    filled_store(tmp_path)
    assert SceneStore.create(tmp_path, SHAPE).done.all()


@pytest.mark.parametrize(
    'change',
    [
        {'first_seed': 5},
        {'scenes': 13},
        {'instructions': 5},
        {'vision_size': 32},
        {'mask_size': (96, 64)},
    ],
    ids=str,
)
def test_a_store_of_other_scenes_is_left_alone(tmp_path: Path, change: dict[str, object]) -> None:
    filled_store(tmp_path)
    with pytest.raises(ValueError, match='different scenes: remove it or name another') as refusal:
        SceneStore.create(tmp_path, dataclasses.replace(SHAPE, **change))  # type: ignore[arg-type]
    assert str(tmp_path) in str(refusal.value)
    assert SceneStore.open(tmp_path).done.all()


def test_a_scene_graph_is_read_back_exactly(tmp_path: Path) -> None:
    store = filled_store(tmp_path)
    graph = store.read_graph(3)
    store.write_graph(5, graph)
    assert SceneStore.open(tmp_path).read_graph(5) == graph
    assert len(graph) == np.count_nonzero(store.objects[3, :, EXISTS])
    store.write_graph(5, graph[:1])  # a shorter one leaves nothing of the longer one
    assert store.read_graph(5) == graph[:1]


def test_features_of_a_stage_are_kept_beside_the_scenes(tmp_path: Path) -> None:
    store = SceneStore.create(tmp_path, SHAPE)
    feature = store.feature('tokens', (2, 3))
    assert feature.shape == (12, 2, 3) and feature.dtype == np.float16
    feature[4] = 1.5
    assert (SceneStore.open(tmp_path).feature('tokens', (2, 3))[4] == 1.5).all()


def test_a_mirrored_key_frame_has_its_things_on_the_other_side(store: SceneStore) -> None:
    indices = np.array([0, 5])
    objects, labels = store.key_frames(indices)
    mirrored, flipped = store.key_frames(indices, mirrored=True)
    assert np.array_equal(flipped[:, :, ::-1], labels)
    there = objects[..., EXISTS] > 0
    np.testing.assert_allclose(mirrored[there][:, U], 1 - objects[there][:, U])
    assert not mirrored[~there].any()
    others = [column for column in range(objects.shape[-1]) if column != U]
    assert np.array_equal(mirrored[..., others], objects[..., others])


def test_changing_what_was_read_does_not_change_the_store(store: SceneStore) -> None:
    objects, _ = store.key_frames(np.arange(3))
    objects[:] = -1
    assert (store.objects[:3, 0, EXISTS] == 1).all()
    assert store.objects.shape[1] == MAX_OBJECTS
