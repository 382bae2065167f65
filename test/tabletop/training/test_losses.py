from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_scenes import SHAPE

from instructseg_ros.model.mask_decoder import MaskPredictions
from instructseg_ros.tabletop.training.losses import (
    CellLabels,
    cell_labels,
    centre_cells,
    edge_loss,
    mask_loss,
    object_masks,
    union_masks,
)
from instructseg_ros.tabletop.training.scene_store import (
    CATEGORY,
    EXISTS,
    MAX_OBJECTS,
    SceneStore,
    U,
    V,
)

WEIGHTS = torch.ones(3)
QUERIES = [4, 0, 2]  # of five


def labels() -> np.ndarray:
    picture = np.zeros((1, 16, 16), np.uint8)
    picture[0, :8, :8] = 1
    picture[0, 8:12, 4:16] = 2
    return picture


def members(*groups: tuple[int, ...]) -> torch.Tensor:
    """(1, 1, Q, S) sets of slots."""
    chosen = torch.zeros(1, 1, len(groups), MAX_OBJECTS)
    for query, slots in enumerate(groups):
        chosen[0, 0, query, list(slots)] = 1
    return chosen


def predictions(said: torch.Tensor, sure: float = 30.0) -> list[MaskPredictions]:
    """Two coarse predictions and a fine one of (Q, H, W) masks, by five queries."""
    out = []
    for size in (4, 4, 8):
        masks = torch.nn.functional.adaptive_avg_pool2d(said, size)
        logits = torch.full((1, 1, 5, size, size), -sure)
        logits[0, 0, QUERIES] = (2 * masks - 1) * sure
        out.append(MaskPredictions(mask_logits=logits, score_logits=torch.zeros(1, 1, 5)))
    return out


def test_masks_of_things_are_shares_of_cells() -> None:
    masks = object_masks(labels(), (4, 4))
    assert masks.shape == (1, MAX_OBJECTS, 4, 4)
    assert masks[0, 0].sum() == 4 and masks[0, 1].sum() == 3
    assert masks[0, 0, 0, 0] == 1 and masks[0, 2:].sum() == 0
    half = object_masks(labels(), (2, 2))
    assert half[0, 1].tolist() == [[0, 0], [0.25, 0.5]]


def test_masks_of_a_mirrored_picture_are_mirrored() -> None:
    mirrored = object_masks(labels()[:, :, ::-1], (4, 4))
    assert torch.equal(mirrored, object_masks(labels(), (4, 4)).flip(-1))


def test_a_union_is_never_more_than_all_of_a_cell() -> None:
    masks = torch.full((1, MAX_OBJECTS, 2, 2), 0.6)
    union = union_masks(masks, members((0, 1), (2,), ()))
    assert union.shape == (1, 1, 3, 2, 2)
    assert [float(union[0, 0, query].max()) for query in range(3)] == pytest.approx([1, 0.6, 0])


def truth() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Masks of objects, members of three queries, and (3, 16, 16) what those should say."""
    chosen = members((0,), (0, 1), ())
    masks = object_masks(labels(), (8, 8))
    whole = union_masks(object_masks(labels(), (16, 16)), chosen)[0, 0]
    return masks, chosen, whole


def test_perfect_masks_cost_nothing() -> None:
    masks, chosen, whole = truth()
    loss, dice = mask_loss(predictions(whole), masks, chosen, WEIGHTS, QUERIES)
    assert loss.item() == pytest.approx(0, abs=1e-4)
    assert dice == pytest.approx(0, abs=1e-5)


def test_wrong_masks_cost_more_than_unsure_ones() -> None:
    masks, chosen, whole = truth()
    wrong, _ = mask_loss(predictions(1 - whole), masks, chosen, WEIGHTS, QUERIES)
    unsure, _ = mask_loss(predictions(whole, 0.0), masks, chosen, WEIGHTS, QUERIES)
    right, _ = mask_loss(predictions(whole, 3.0), masks, chosen, WEIGHTS, QUERIES)
    assert wrong > unsure > right > 0


def test_early_predictions_count_less_than_the_last() -> None:
    masks, chosen, whole = truth()
    perfect, wrong = predictions(whole), predictions(1 - whole)
    early, _ = mask_loss([wrong[0], *perfect[1:]], masks, chosen, WEIGHTS, QUERIES)
    last, _ = mask_loss([*perfect[:2], wrong[2]], masks, chosen, WEIGHTS, QUERIES)
    assert 0 < early < last


def test_absent_targets_teach_silence_without_dice() -> None:
    masks, _, _ = truth()
    nothing = members((), (), ())
    silent, dice = mask_loss(predictions(torch.zeros(3, 16, 16)), masks, nothing, WEIGHTS, QUERIES)
    assert silent.item() == pytest.approx(0, abs=1e-4) and dice == 0
    loud, dice = mask_loss(predictions(torch.ones(3, 16, 16)), masks, nothing, WEIGHTS, QUERIES)
    assert loud > 100 and dice == 0


def test_a_query_without_weight_may_say_anything() -> None:
    masks, chosen, whole = truth()
    disturbed = whole.clone()
    disturbed[1] = 1 - disturbed[1]
    weights = torch.tensor([1.0, 0.0, 1.0])
    loss, _ = mask_loss(predictions(disturbed), masks, chosen, weights, QUERIES)
    assert loss.item() == pytest.approx(0, abs=1e-4)


def test_other_queries_may_say_anything() -> None:
    masks, chosen, whole = truth()
    disturbed = predictions(whole)
    for prediction in disturbed:
        prediction.mask_logits[0, 0, [1, 3]] = 50
    loss, _ = mask_loss(disturbed, masks, chosen, WEIGHTS, QUERIES)
    assert loss.item() == pytest.approx(0, abs=1e-4)


def square() -> tuple[torch.Tensor, torch.Tensor]:
    """(1, 1, 1, 16, 16) a mask, and sure logits of it."""
    target = torch.zeros(1, 1, 1, 16, 16)
    target[..., 4:12, 4:12] = 1
    return target, (2 * target - 1) * 6


def test_only_cells_beside_an_edge_count_as_edges() -> None:
    target, sure = square()
    inside, edge = sure.clone(), sure.clone()
    inside[..., 7:9, 7:9] = 0
    edge[..., 4, 4:12] = 0
    of = edge_loss(sure, target, torch.ones(1))
    assert edge_loss(inside, target, torch.ones(1)) == of
    assert edge_loss(edge, target, torch.ones(1)) > of + 0.05


def test_edges_of_the_wrong_thing_and_of_nothing_do_not_count() -> None:
    target, sure = square()
    assert edge_loss(-sure, target, torch.ones(1)) == 0
    assert edge_loss(sure, torch.zeros_like(target), torch.ones(1)) == 0


SIDE = 8
INDICES = np.array([1, 4, 7])


def labels_of(store: SceneStore, *, mirrored: bool = False) -> CellLabels:
    return cell_labels(*store.key_frames(INDICES, mirrored=mirrored), SIDE)


def test_cells_are_counted_row_by_row_and_end_at_the_border() -> None:
    objects = np.zeros((5, 11), np.float32)
    objects[:, [U, V]] = [(0, 0), (0.99, 0), (0, 0.99), (1, 1), (-0.2, 0.5)]
    assert centre_cells(objects, 4).tolist() == [0, 3, 12, 15, 8]


def test_every_thing_is_at_the_centre_cells_its_centre(store: SceneStore) -> None:
    labels = labels_of(store)
    objects = store.objects[INDICES]
    for picture in range(len(INDICES)):
        count = int(objects[picture, :, EXISTS].sum())
        cells = centre_cells(objects[picture, :count], SIDE)
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
    torch.testing.assert_close(u, labels.objects_at(labels.centre)[:, U])
    far = labels.offsets(labels.cover)
    assert far.abs().max() < 1.5  # a thing's square reaches a cell beyond its centre's


def test_columns_are_read_at_the_cells_of_their_things(store: SceneStore) -> None:
    labels = labels_of(store)
    picture, cell = torch.nonzero(labels.cover >= 0, as_tuple=True)
    slots = labels.cover[picture, cell].numpy()
    expected = store.objects[INDICES][picture.numpy(), slots, CATEGORY]
    assert labels.objects_at(labels.cover)[:, CATEGORY].tolist() == expected.tolist()


def test_a_mirror_exchanges_left_and_right(store: SceneStore) -> None:
    plain = labels_of(store)
    mirrored = labels_of(store, mirrored=True)
    there = (plain.centre >= 0).view(-1, SIDE, SIDE)
    assert torch.equal((mirrored.centre >= 0).view(-1, SIDE, SIDE), there.flip(-1))


def test_an_empty_scene_has_no_labels(tmp_path: Path) -> None:
    empty = SceneStore.create(tmp_path, SHAPE)
    labels = cell_labels(*empty.key_frames(np.array([0])), SIDE)
    assert (labels.centre == -1).all() and (labels.cover == -1).all()
