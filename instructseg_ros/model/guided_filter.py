"""Guided filter: masks whose edges are those of the picture (He, Sun, Tang, ECCV 2010)."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

_RADIUS: Final = 2  # of a window, in coarse pixels
_SMOOTHNESS: Final = 1e-4  # the paper's epsilon: a variance of colours in 0..1
_ENOUGH: Final = 0.5  # share of the variance from which a linear model counts in full
_LEAST_VARIANCE: Final = 1e-6
_LEAST: Final = 1e-4  # least probability that becomes a logit


def follow_edges(logits: torch.Tensor, picture: Image.Image, *, cell: float) -> torch.Tensor:
    """Move the edges of a mask to those of its picture.

    A mask knows its edge to a fraction of the cells that it was decoded in, the picture to a pixel.

    Args:
        logits: (H, W) of the mask.
        picture: (H, W) RGB.
        cell: pixels from one of the mask's cells to the next.

    Returns:
        (H, W) logits; away from the mask as they were.
    """
    step = max(1, round(cell / 2))
    inside = logits > 0
    rows = _around(inside.any(dim=1), (2 * _RADIUS + 1) * step)
    columns = _around(inside.any(dim=0), (2 * _RADIUS + 1) * step)
    if rows.stop == 0:
        return logits
    part = picture.crop((columns.start, rows.start, columns.stop, rows.stop))
    guide = torch.from_numpy(np.array(part)).to(logits.device).permute(2, 0, 1).float() / 255
    sharp = logits.clone()
    filtered = guided_filter(logits[rows, columns].sigmoid(), guide, step=step)
    sharp[rows, columns] = filtered.logit(eps=_LEAST)
    return sharp


def guided_filter(values: torch.Tensor, guide: torch.Tensor, *, step: int) -> torch.Tensor:
    """Values that are linear in the guide's colours within every window (equations 5, 6 and 8).

    The linear models come from smaller pictures (the fast form, arXiv 1505.00996). Where they
    explain nothing of the values, in windows of one colour, values stay, which the paper would
    blur.

    Args:
        values: (H, W).
        guide: (3, H, W) in 0..1.
        step: how many times smaller.

    Returns:
        (H, W), in places a little below the least or above the highest value.
    """
    height, width = values.shape
    coarse = (-(-height // step), -(-width // step))
    both = torch.cat([guide, values[None]])[None]
    small = functional.interpolate(both, size=coarse, mode='area')[0]
    models = _window_mean(_linear_models(small[:3], small[3]))
    full = functional.interpolate(models[None], size=(height, width), mode='bilinear')[0]
    linear = (full[:3] * guide).sum(dim=0) + full[3]
    return torch.lerp(values, linear, (full[4] / _ENOUGH).clamp(0, 1))


def _linear_models(guide: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """(5, h, w) for the window around every pixel: three slopes, an offset, the share explained."""
    squares = (guide[:, None] * guide).flatten(0, 1)
    known = torch.cat([guide, values[None], guide * values, squares, (values * values)[None]])
    mean, mean_value, products, squares, square_value = _window_mean(known).split((3, 1, 3, 9, 1))
    covariance = products - mean * mean_value
    spread = squares.unflatten(0, (3, 3)) - mean[:, None] * mean
    spread[range(3), range(3)] += _SMOOTHNESS
    slopes = _solve(spread, covariance)
    offset = mean_value - (slopes * mean).sum(dim=0, keepdim=True)
    explained = (slopes * covariance).sum(dim=0, keepdim=True)
    share = explained / (square_value - mean_value * mean_value + _LEAST_VARIANCE)
    return torch.cat([slopes, offset, share])


def _solve(matrices: torch.Tensor, sides: torch.Tensor) -> torch.Tensor:
    """Solve symmetric (3, 3, h, w) for (3, h, w): by cross products, as each matrix is tiny."""
    first, second, third = matrices
    inverse = torch.stack(
        [
            torch.linalg.cross(second, third, dim=0),
            torch.linalg.cross(third, first, dim=0),
            torch.linalg.cross(first, second, dim=0),
        ]
    )
    return (inverse * sides[:, None]).sum(dim=0) / (first * inverse[0]).sum(dim=0)


def _window_mean(maps: torch.Tensor) -> torch.Tensor:
    """(C, h, w) -> means of the windows around every pixel, cut off at the borders."""
    side, radius = 2 * _RADIUS + 1, _RADIUS
    # Pooling on a CPU is several times faster in this layout.
    maps = maps[None].contiguous(memory_format=torch.channels_last)
    rows = functional.avg_pool2d(maps, (side, 1), 1, (radius, 0), count_include_pad=False)
    return functional.avg_pool2d(rows, (1, side), 1, (0, radius), count_include_pad=False)[0]


def _around(inside: torch.Tensor, margin: int) -> slice:
    """From the first True to the last, with a margin; of nothing nothing."""
    places = inside.nonzero()
    if not len(places):
        return slice(0, 0)
    first, last = int(places[0]), int(places[-1])
    return slice(max(0, first - margin), min(len(inside), last + 1 + margin))
