from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from instructseg_ros.research.evaluation.metrics import boundary_accuracy, region_and_boundary

OFFICIAL = Path(__file__).resolve().parents[2] / 'data' / 'metrics'
SHAPES = [(1, 1), (1, 700), (700, 1), (2, 65), (31, 64), (64, 63), (95, 179), (130, 257)]
Video = list[np.ndarray]


def plain_boundary(mask: np.ndarray) -> np.ndarray:
    beyond = np.pad(mask, (0, 1), mode='edge')
    right, below, corner = beyond[:-1, 1:], beyond[1:, :-1], beyond[1:, 1:]
    return (mask != right) | (mask != below) | (mask != corner)


def plain_dilation(mask: np.ndarray, radius: int) -> np.ndarray:
    height, width = mask.shape
    around = np.pad(mask, radius)
    dilated = np.zeros_like(mask)
    for y, x in itertools.product(range(-radius, radius + 1), repeat=2):
        if y**2 + x**2 <= radius**2:
            dilated |= around[radius + y :, radius + x :][:height, :width]
    return dilated


def plain_accuracy(mask: np.ndarray, truth: np.ndarray) -> float:
    radius = math.ceil(0.008 * np.linalg.norm(mask.shape))
    found, sought = plain_boundary(mask), plain_boundary(truth)
    if not found.any() or not sought.any():
        return float(found.any() == sought.any())
    precision = (found & plain_dilation(sought, radius)).sum() / found.sum()
    recall = (sought & plain_dilation(found, radius)).sum() / sought.sum()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def blobs(shape: tuple[int, int], rng: np.random.Generator, count: int = 3) -> np.ndarray:
    """Some discs, which the frame cuts where they lie at its edge."""
    y, x = np.indices(shape)
    centers = rng.uniform(0, shape, (count, 2))
    radii = rng.uniform(0, max(shape) / 4, count)
    discs = [np.hypot(y - cy, x - cx) < r for (cy, cx), r in zip(centers, radii, strict=True)]
    return np.any(discs, axis=0)


def pixel(shape: tuple[int, int], row: int, column: int) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[row, column] = True
    return mask


def kinds(shape: tuple[int, int], rng: np.random.Generator) -> list[np.ndarray]:
    mask = blobs(shape, rng)
    corners = [pixel(shape, row, column) for row in (0, -1) for column in (0, -1)]
    half = np.zeros(shape, bool)
    half[:, shape[1] // 2 :] = True
    return [
        np.zeros(shape, bool),
        np.ones(shape, bool),
        *corners,
        half,
        half[:, ::-1],
        mask,
        ~mask,
        pixel(shape, shape[0] // 2, shape[1] // 2),
        np.roll(mask, (1, 3), (0, 1)),
        blobs(shape, rng),
        rng.random(shape) < 0.02,
        rng.random(shape) < 0.5,
    ]


@pytest.mark.parametrize('shape', SHAPES)
def test_accuracy_is_exactly_that_of_a_plain_dilation(shape: tuple[int, int]) -> None:
    for mask, truth in itertools.product(kinds(shape, np.random.default_rng(0)), repeat=2):
        assert boundary_accuracy(mask, truth) == plain_accuracy(mask, truth)


def test_accuracy_of_a_large_frame_is_exactly_that_of_a_plain_dilation() -> None:
    rng = np.random.default_rng(1)
    truth = blobs((1080, 1920), rng, 6)
    mask = np.roll(truth, (9, 17), (0, 1)) ^ (rng.random(truth.shape) < 1e-4)
    accuracy = boundary_accuracy(mask, truth)
    assert 0 < accuracy < 1
    assert accuracy == plain_accuracy(mask, truth)


@pytest.mark.parametrize(
    ('row', 'column', 'accuracy'),
    # 0.008 of the diagonal is exactly 2: a distance of 2 matches, one of √5 does not.
    [(80, 100, 1.0), (80, 102, 1.0), (82, 100, 1.0), (81, 101, 1.0), (80, 105, 0.0)],
)
def test_boundaries_match_within_the_radius(row: int, column: int, accuracy: float) -> None:
    shape = (150, 200)
    assert boundary_accuracy(pixel(shape, row, column), pixel(shape, 80, 100)) == accuracy


def test_one_boundary_alone_scores_zero_and_none_scores_one() -> None:
    empty, full, some = np.zeros((9, 9), bool), np.ones((9, 9), bool), pixel((9, 9), 4, 4)
    assert boundary_accuracy(empty, some) == boundary_accuracy(some, empty) == 0
    assert boundary_accuracy(full, some) == 0
    assert boundary_accuracy(empty, empty) == 1
    assert boundary_accuracy(full, empty) == 1  # a full mask has no boundary either


def test_masks_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match='resize the mask'):
        boundary_accuracy(np.ones((9, 9), bool), np.ones((9, 10), bool))


def test_masks_in_any_memory_layout_are_as_accurate() -> None:
    rng = np.random.default_rng(2)
    mask, truth = blobs((70, 90), rng), blobs((70, 90), rng)
    accuracy = boundary_accuracy(mask, truth)
    assert boundary_accuracy(np.asfortranarray(mask), truth) == accuracy
    assert boundary_accuracy(mask[::-1][::-1], np.repeat(truth, 2, axis=1)[:, ::2]) == accuracy


def test_a_video_has_the_mean_of_its_frames() -> None:
    empty, some = np.zeros((9, 9), bool), pixel((9, 9), 4, 4)
    assert region_and_boundary([empty, some, some], [empty, some, empty]) == (2 / 3, 2 / 3)


def test_a_video_needs_frames_and_as_many_masks_as_truths() -> None:
    with pytest.raises(ValueError, match='at least one mask'):
        region_and_boundary([], [])
    with pytest.raises(ValueError, match='longer'):
        region_and_boundary([np.ones((2, 2), bool)], [np.ones((2, 2), bool)] * 2)


def index_maps(folder: Path) -> Video:
    return [np.asarray(Image.open(path)) for path in sorted(folder.glob('*.png'))]


def official_objects(sequence: str) -> tuple[list[Video], list[Video]]:
    """Predicted and true objects of a sequence; void pixels are in none of them."""
    truths = index_maps(OFFICIAL / 'davis' / 'Annotations_unsupervised' / '480p' / sequence)
    predictions = index_maps(OFFICIAL / 'davis' / 'predictions' / sequence)
    count = truths[0][truths[0] != 255].max()
    counted = [
        np.where(truth == 255, 0, each) for each, truth in zip(predictions, truths, strict=True)
    ]
    both = [
        [[each == i for each in maps] for i in range(1, count + 1)] for maps in (counted, truths)
    ]
    return both[0], both[1]


@pytest.mark.parametrize('sequence', ['seq-0', 'seq-1', 'seq-2'])
def test_objects_of_a_video_get_the_official_figures(sequence: str) -> None:
    official = json.loads((OFFICIAL / 'expected.json').read_text())['davis17_per_object']
    predicted, true = official_objects(sequence)
    table = [[region_and_boundary(masks, truths) for truths in true] for masks in predicted]
    # The official evaluator pairs objects for the best sum, and lists them by predicted object.
    pairings = (
        [row[i] for row, i in zip(table, order, strict=True)]
        for order in itertools.permutations(range(len(true)))
    )
    best = max(pairings, key=lambda pairs: sum(sum(pair) for pair in pairs))
    for number, (region, boundary) in enumerate(best, 1):
        figures = official[f'{sequence}_{number}']
        assert (round(region, 3), round(boundary, 3)) == (figures['J-Mean'], figures['F-Mean'])
