"""Guided filter that aligns mask edges with image edges (He, Sun, Tang, ECCV 2010)."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

_RADIUS: Final = 2  # radius of a window, in coarse pixels
_SMOOTHNESS: Final = 1e-4  # the paper's epsilon: a variance of colours, which range from 0 to 1
_FULLY_EXPLAINED: Final = 0.5  # explained share of the variance at which a model is fully trusted
_MIN_VARIANCE: Final = 1e-6
_MIN_PROBABILITY: Final = 1e-4


def follow_edges(logits: torch.Tensor, image: Image.Image, *, cell: float) -> torch.Tensor:
    """Move the edges of a mask to nearby edges of the image.

    A mask locates its edge to within a fraction of a decoder cell; the image, to within a pixel.

    Args:
        logits: (H, W) of the mask.
        image: (H, W) RGB.
        cell: Pixels from one of the mask's cells to the next.

    Returns:
        (H, W) logits, unchanged except in and near the mask.
    """
    step = max(1, round(cell / 2))
    inside = logits > 0
    rows = _extent(inside.any(dim=1), (2 * _RADIUS + 1) * step)
    columns = _extent(inside.any(dim=0), (2 * _RADIUS + 1) * step)
    if rows.stop == 0:
        return logits
    part = image.crop((columns.start, rows.start, columns.stop, rows.stop))
    guide = torch.from_numpy(np.array(part)).to(logits.device).permute(2, 0, 1).float() / 255
    sharp = logits.clone()
    filtered = guided_filter(logits[rows, columns].sigmoid(), guide, step=step)
    sharp[rows, columns] = filtered.logit(eps=_MIN_PROBABILITY)
    return sharp


def guided_filter(values: torch.Tensor, guide: torch.Tensor, *, step: int) -> torch.Tensor:
    """Make values linear in the guide's colours within every window (equations 5, 6 and 8).

    The linear models are computed on smaller images (fast guided filter, arXiv 1505.00996). Where
    the models do not explain the values, as in windows of one colour, the values are kept; the
    paper's filter would blur them.

    Args:
        values: (H, W).
        guide: (3, H, W), 0 to 1.
        step: Downsampling factor of the smaller images.

    Returns:
        (H, W), which may slightly exceed the range of the values.
    """
    height, width = values.shape
    coarse = (-(-height // step), -(-width // step))
    both = torch.cat([guide, values[None]])[None]
    small = functional.interpolate(both, size=coarse, mode='area')[0]
    models = _window_mean(_linear_models(small[:3], small[3]))
    full = functional.interpolate(models[None], size=(height, width), mode='bilinear')[0]
    linear = (full[:3] * guide).sum(dim=0) + full[3]
    return torch.lerp(values, linear, (full[4] / _FULLY_EXPLAINED).clamp(0, 1))


def _linear_models(guide: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Fit a linear model to the window around each pixel.

    Returns:
        (5, h, w): three slopes, the offset, and the share of the variance explained.
    """
    squares = (guide[:, None] * guide).flatten(0, 1)
    known = torch.cat([guide, values[None], guide * values, squares, (values * values)[None]])
    mean, mean_value, products, squares, square_value = _window_mean(known).split((3, 1, 3, 9, 1))
    covariance = products - mean * mean_value
    spread = squares.unflatten(0, (3, 3)) - mean[:, None] * mean
    spread[range(3), range(3)] += _SMOOTHNESS
    slopes = _solve(spread, covariance)
    offset = mean_value - (slopes * mean).sum(dim=0, keepdim=True)
    explained = (slopes * covariance).sum(dim=0, keepdim=True)
    share = explained / (square_value - mean_value * mean_value + _MIN_VARIANCE)
    return torch.cat([slopes, offset, share])


def _solve(matrices: torch.Tensor, sides: torch.Tensor) -> torch.Tensor:
    """Solve symmetric 3 x 3 systems by cross products: (3, 3, h, w), (3, h, w) -> (3, h, w)."""
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
    """Average (C, h, w) over the window around each pixel, clipped at the borders."""
    side, radius = 2 * _RADIUS + 1, _RADIUS
    # Pooling on a CPU is several times faster in this layout.
    maps = maps[None].contiguous(memory_format=torch.channels_last)
    rows = functional.avg_pool2d(maps, (side, 1), 1, (radius, 0), count_include_pad=False)
    return functional.avg_pool2d(rows, (1, side), 1, (0, radius), count_include_pad=False)[0]


def _extent(inside: torch.Tensor, margin: int) -> slice:
    """Return the range from the first True to the last, plus a margin; empty if all are False."""
    indices = inside.nonzero()
    if not len(indices):
        return slice(0, 0)
    first, last = int(indices[0]), int(indices[-1])
    return slice(max(0, first - margin), min(len(inside), last + 1 + margin))
