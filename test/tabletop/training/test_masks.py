from __future__ import annotations

import numpy as np
import pytest
import torch

from instructseg_ros.model.mask_decoder import MaskPredictions
from instructseg_ros.tabletop.training.scene_store import MAX_THINGS
from instructseg_ros.tabletop.training.targets import edge_loss, mask_loss, thing_masks, union_masks

WEIGHTS = torch.ones(3)
QUERIES = [4, 0, 2]  # of five


def labels() -> np.ndarray:
    picture = np.zeros((1, 16, 16), np.uint8)
    picture[0, :8, :8] = 1
    picture[0, 8:12, 4:16] = 2
    return picture


def members(*groups: tuple[int, ...]) -> torch.Tensor:
    """(1, 1, Q, S) sets of slots."""
    chosen = torch.zeros(1, 1, len(groups), MAX_THINGS)
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
    masks = thing_masks(labels(), (4, 4))
    assert masks.shape == (1, MAX_THINGS, 4, 4)
    assert masks[0, 0].sum() == 4 and masks[0, 1].sum() == 3
    assert masks[0, 0, 0, 0] == 1 and masks[0, 2:].sum() == 0
    half = thing_masks(labels(), (2, 2))
    assert half[0, 1].tolist() == [[0, 0], [0.25, 0.5]]


def test_masks_of_a_mirrored_picture_are_mirrored() -> None:
    mirrored = thing_masks(labels()[:, :, ::-1], (4, 4))
    assert torch.equal(mirrored, thing_masks(labels(), (4, 4)).flip(-1))


def test_a_union_is_never_more_than_all_of_a_cell() -> None:
    masks = torch.full((1, MAX_THINGS, 2, 2), 0.6)
    union = union_masks(masks, members((0, 1), (2,), ()))
    assert union.shape == (1, 1, 3, 2, 2)
    assert [float(union[0, 0, query].max()) for query in range(3)] == pytest.approx([1, 0.6, 0])


def truth() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Masks of things, members of three queries, and (3, 16, 16) what those should say."""
    chosen = members((0,), (0, 1), ())
    masks = thing_masks(labels(), (8, 8))
    whole = union_masks(thing_masks(labels(), (16, 16)), chosen)[0, 0]
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
