"""The edges of masks follow those of the picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from PIL import Image
from torch.nn import functional

from instructseg_ros.model.guided_filter import follow_edges, guided_filter
from instructseg_ros.research.evaluation.metrics import intersection_over_union

HEIGHT, WIDTH = 120, 160
RADIUS = 2


def disc(x: float = 80, y: float = 60, radius: float = 25) -> np.ndarray:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    return np.hypot(columns - x, rows - y) < radius


def painted(mask: np.ndarray, *, noise: float = 0.0) -> Image.Image:
    """A red thing on a table of the same brightness."""
    colors = np.where(mask[..., None], (180, 60, 60), (60, 120, 60)).astype(float)
    colors += np.random.default_rng(0).normal(0, noise, colors.shape)
    return Image.fromarray(colors.clip(0, 255).astype(np.uint8))


def blunt(mask: np.ndarray, *, cell: int = 8) -> torch.Tensor:
    """Logits of a mask as it comes back from cells of that many pixels."""
    share = functional.avg_pool2d(torch.from_numpy(mask).float()[None, None], cell)
    return functional.interpolate(8 * share - 4, size=mask.shape, mode='bilinear')[0, 0]


def overlap(logits: torch.Tensor, truth: np.ndarray) -> float:
    return intersection_over_union((logits > 0).numpy(), truth)


@pytest.mark.parametrize('noise', [0.0, 6.0])
def test_a_mask_that_is_off_its_edge_comes_back_to_it(noise: float) -> None:
    truth = disc()
    off = blunt(disc(x=83, y=58))
    before = overlap(off, truth)
    after = overlap(follow_edges(off, painted(truth, noise=noise), cell=8), truth)
    assert before < 0.9 < 0.98 < after


def test_a_mask_is_unchanged_if_the_image_has_no_edges() -> None:
    logits = blunt(disc())
    plain = Image.new('RGB', (WIDTH, HEIGHT), (90, 90, 90))
    assert overlap(follow_edges(logits, plain, cell=8), (logits > 0).numpy()) > 0.99


def test_away_from_the_mask_nothing_changes() -> None:
    logits = blunt(disc(x=30, y=30, radius=12))
    sharp = follow_edges(logits, painted(disc(x=31, y=30, radius=12)), cell=4)
    assert not torch.equal(sharp, logits)
    assert torch.equal(sharp[80:], logits[80:]) and torch.equal(sharp[:, 80:], logits[:, 80:])


def test_an_empty_mask_stays_empty() -> None:
    logits = torch.full((HEIGHT, WIDTH), -3.0)
    assert follow_edges(logits, painted(disc()), cell=8) is logits


def test_a_mask_of_the_whole_image_is_unchanged() -> None:
    logits = torch.full((HEIGHT, WIDTH), 5.0)
    assert (follow_edges(logits, painted(disc()), cell=8) > 0).all()


@pytest.mark.parametrize('mask', [disc(x=0, y=0), disc(x=WIDTH, y=60), disc(x=80, y=HEIGHT)])
def test_masks_at_the_border_follow_edges_too(mask: np.ndarray) -> None:
    assert overlap(follow_edges(blunt(mask), painted(mask), cell=8), mask) > 0.97


def test_logits_stay_finite() -> None:
    sharp = follow_edges(100 * blunt(disc()), painted(disc()), cell=8)
    assert sharp.isfinite().all()


@pytest.mark.parametrize('size', [(1, 1), (1, 7), (5, 3)])
def test_images_may_be_smaller_than_a_window(size: tuple[int, int]) -> None:
    logits = torch.ones(size)
    picture = Image.new('RGB', size[::-1], (5, 200, 90))
    assert (follow_edges(logits, picture, cell=1) > 0).all()


def test_each_window_is_fitted_by_least_squares() -> None:
    """Against equations 4 and 8 of the paper, window by window."""
    rng = np.random.default_rng(1)
    guide = rng.random((3, 7, 6))
    values = 0.6 * guide[0] + 0.3 * guide[2] + 0.1 * rng.random((7, 6))  # mostly explained
    models = np.array(
        [[_fit(guide, values, row, column) for column in range(6)] for row in range(7)]
    )
    expected = np.empty((7, 6))
    for row, column in np.ndindex(7, 6):
        slopes = models[_window(row, column)].reshape(-1, 4).mean(axis=0)
        expected[row, column] = slopes[:3] @ guide[:, row, column] + slopes[3]
    filtered = guided_filter(
        torch.from_numpy(values).float(), torch.from_numpy(guide).float(), step=1
    )
    assert_allclose(filtered, expected, atol=2e-4)


def _window(row: int, column: int) -> tuple[slice, slice]:
    return (
        slice(max(0, row - RADIUS), row + RADIUS + 1),
        slice(max(0, column - RADIUS), column + RADIUS + 1),
    )


def _fit(guide: np.ndarray, values: np.ndarray, row: int, column: int) -> np.ndarray:
    """Three slopes and an offset: ridge regression with epsilon 1e-4 on the slopes."""
    rows, columns = _window(row, column)
    colors = guide[:, rows, columns].reshape(3, -1)
    wanted = values[rows, columns].ravel()
    centred = colors - colors.mean(axis=1, keepdims=True)
    spread = centred @ centred.T / len(wanted) + 1e-4 * np.eye(3)
    slopes = np.linalg.solve(spread, centred @ (wanted - wanted.mean()) / len(wanted))
    return np.append(slopes, wanted.mean() - slopes @ colors.mean(axis=1))
