from __future__ import annotations

import numpy as np

from instructseg_ros.tabletop.training.images import close_ups
from instructseg_ros.tabletop.training.scene_store import DEPTH, EXISTS, SCALE, SceneStore, U, V

INDICES = np.repeat([1, 4, 7], 8)


def test_close_ups_are_of_the_size_of_what_they_are_parts_of(store: SceneStore) -> None:
    pictures, things, labels = close_ups(store, INDICES, np.random.default_rng(0), mirrored=False)
    side = store.shape.vision_size
    assert pictures.shape == (len(INDICES), side, side, 3) and pictures.dtype == np.uint8
    assert things.shape == store.things[INDICES].shape
    assert labels.shape == store.labels[INDICES].shape and labels.dtype == np.uint8


def test_some_pictures_stay_whole_and_others_come_nearer(store: SceneStore) -> None:
    pictures, things, _ = close_ups(store, INDICES, np.random.default_rng(0), mirrored=False)
    same = (pictures == store.vision[INDICES, -1]).all(axis=(1, 2, 3))
    assert 0 < same.sum() < len(INDICES)
    whole = store.things[INDICES]
    nearer = whole[:, 0, DEPTH] / things[:, 0, DEPTH]
    assert (nearer[same] == 1).all()
    assert (nearer[~same] > 1).all() and (nearer[~same] < 1.51).all()
    assert (things[..., SCALE] == whole[..., SCALE]).all()


def test_centres_lie_where_things_are_seen(store: SceneStore) -> None:
    for mirrored in (False, True):
        _, things, labels = close_ups(store, INDICES, np.random.default_rng(1), mirrored=mirrored)
        whole = store.key_frames(INDICES, mirrored=mirrored)
        assert np.mean(_seen(things, labels)) > np.mean(_seen(*whole)) - 0.1


def _seen(things: np.ndarray, labels: np.ndarray) -> list[bool]:
    """Of every thing that is there, whether the label at its centre is its own."""
    height, width = labels.shape[1:]
    return [
        labels[picture, int(thing[V] * height), int(thing[U] * width)] == slot + 1
        for picture, slots in enumerate(things)
        for slot, thing in enumerate(slots)
        if thing[EXISTS]
    ]


def test_what_is_left_out_counts_as_gone(store: SceneStore) -> None:
    _, things, _ = close_ups(store, INDICES, np.random.default_rng(0), mirrored=False)
    there = things[things[..., EXISTS] > 0]
    assert ((there[:, [U, V]] >= 0) & (there[:, [U, V]] < 1)).all()
    gone = (store.things[INDICES][..., EXISTS] > 0) & (things[..., EXISTS] == 0)
    assert gone.any()
