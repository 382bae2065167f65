from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_scenes import SHAPE

from instructseg_ros.tabletop.training.scene_store import EXISTS, KIND, SceneStore, U, V
from instructseg_ros.tabletop.training.targets import CellLabels, cell_labels, cell_of

SIDE = 8
INDICES = np.array([1, 4, 7])


def labels_of(store: SceneStore, *, mirrored: bool = False) -> CellLabels:
    return cell_labels(*store.key_frames(INDICES, mirrored=mirrored), SIDE)


def test_cells_are_counted_row_by_row_and_end_at_the_border() -> None:
    things = np.zeros((5, 11), np.float32)
    things[:, [U, V]] = [(0, 0), (0.99, 0), (0, 0.99), (1, 1), (-0.2, 0.5)]
    assert cell_of(things, 4).tolist() == [0, 3, 12, 15, 8]


def test_every_thing_is_at_the_cell_of_its_centre(store: SceneStore) -> None:
    labels = labels_of(store)
    things = store.things[INDICES]
    for picture in range(len(INDICES)):
        count = int(things[picture, :, EXISTS].sum())
        cells = cell_of(things[picture, :count], SIDE)
        assert labels.centre[picture, cells].tolist() == list(range(count))
        assert int((labels.centre[picture] >= 0).sum()) == count


def test_a_cell_is_covered_by_what_is_seen_at_its_middle(store: SceneStore) -> None:
    labels = labels_of(store)
    height, width = store.shape.mask_size
    cover = labels.cover.view(-1, SIDE, SIDE)
    for row, column in [(0, 0), (3, 5), (7, 7), (4, 2)]:
        y, x = int((row + 0.5) * height / SIDE), int((column + 0.5) * width / SIDE)
        seen = store.labels[INDICES, y, x].astype(int) - 1
        assert cover[:, row, column].tolist() == seen.tolist()


@pytest.mark.parametrize('mirrored', [False, True])
def test_offsets_lead_from_the_cells_middle_to_the_things_centre(
    store: SceneStore, mirrored: bool
) -> None:
    labels = labels_of(store, mirrored=mirrored)
    offsets = labels.offsets(labels.centre)
    assert offsets.shape == (int((labels.centre >= 0).sum()), 2)
    assert offsets.abs().max() <= 0.5 + 1e-5
    _, cell = torch.nonzero(labels.centre >= 0, as_tuple=True)
    u = (cell % SIDE + 0.5 + offsets[:, 0]) / SIDE
    torch.testing.assert_close(u, labels.of(labels.centre, U))
    far = labels.offsets(labels.cover)
    assert far.abs().max() < 1.5  # a thing's square reaches a cell beyond its centre's


def test_columns_are_read_at_the_cells_of_their_things(store: SceneStore) -> None:
    labels = labels_of(store)
    picture, cell = torch.nonzero(labels.cover >= 0, as_tuple=True)
    slots = labels.cover[picture, cell].numpy()
    expected = store.things[INDICES][picture.numpy(), slots, KIND]
    assert labels.of(labels.cover, KIND).tolist() == expected.tolist()


def test_a_mirror_exchanges_left_and_right(store: SceneStore) -> None:
    plain = labels_of(store)
    mirrored = labels_of(store, mirrored=True)
    there = (plain.centre >= 0).view(-1, SIDE, SIDE)
    assert torch.equal((mirrored.centre >= 0).view(-1, SIDE, SIDE), there.flip(-1))


def test_an_empty_scene_has_no_labels(tmp_path: Path) -> None:
    empty = SceneStore.create(tmp_path, SHAPE)
    labels = cell_labels(*empty.key_frames(np.array([0])), SIDE)
    assert (labels.centre == -1).all() and (labels.cover == -1).all()
