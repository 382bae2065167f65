"""What a camera does not see of a thing, guessed from what it sees."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from instructseg_ros.spatial.view import View

TOLERANCE: Final = 0.004  # m in depth, within which two surfaces are one
SAMPLE: Final = 300  # points that a symmetry is judged by
CONTRADICTED: Final = 0.1  # share of the moved points that may lie where nothing is
MIRRORS: Final = np.deg2rad(np.arange(-60, 61, 15))  # of their normals, to the line of sight

Move = Callable[[np.ndarray], np.ndarray]


def hidden_points(view: View, points: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Return the points that a symmetric thing has behind those that are seen.

    A half turn about an upright axis is tried, then upright mirrors. The best takes most points
    onto points that are seen and fewest to where the camera sees that nothing is. Of the points
    that it moves those are returned that the target itself hides; none if 10 % of the points or
    more contradict all symmetries.

    Args:
        view: The target and its surroundings.
        points: (n, 3) of the target, m in the optical frame.
        up: (3,) unit vector.

    Returns:
        (m, 3) m in the optical frame.
    """
    sample = points[np.random.default_rng(0).permutation(len(points))[:SAMPLE]]
    axes = _horizontal_axes(points, up)
    for symmetry in (_best_half_turn, _best_mirror):
        move = symmetry(view, sample, axes)
        if (_behind(view, move(sample))[0] < -TOLERANCE).mean() < CONTRADICTED:
            moved = move(points)
            behind, own = _behind(view, moved)
            return moved[own & (behind > TOLERANCE)]
    return points[:0]


def _best_half_turn(view: View, sample: np.ndarray, axes: np.ndarray) -> Move:
    flat = sample @ axes.T
    center, reach = (flat.min(0) + flat.max(0)) / 2, np.ptp(flat, axis=0)
    for shrink, steps in ((1.0, 15), (0.16, 9)):
        grid = np.stack(np.meshgrid(np.linspace(-0.25, 0.25, 9), np.linspace(-0.5, 0.5, steps),
                                    indexing='ij'), -1).reshape(-1, 2)
        centers = center + shrink * reach * grid
        center = centers[_best(view, sample, [_half_turn(axes, each) for each in centers])]
    return _half_turn(axes, center)


def _best_mirror(view: View, sample: np.ndarray, axes: np.ndarray) -> Move:
    moves = []
    for angle in MIRRORS:
        normal = np.cos(angle) * axes[1] + np.sin(angle) * axes[0]
        along = sample @ normal
        steps = np.linspace(np.quantile(along, 0.25), along.max(), 30)
        mirrors = [_mirror(normal, each) for each in steps]
        moves.append(mirrors[_best(view, sample, mirrors)])
    return moves[_best(view, sample, moves, hidden=0.7)]


def _best(view: View, sample: np.ndarray, moves: list[Move], hidden: float = 0.0) -> int:
    return int(np.argmax([_score(_behind(view, move(sample))[0], hidden) for move in moves]))


def _mirror(normal: np.ndarray, at: float) -> Move:
    return lambda points: points + 2 * (at - points @ normal)[:, None] * normal


def _half_turn(axes: np.ndarray, at: np.ndarray) -> Move:
    return lambda points: points + 2 * (at - points @ axes.T) @ axes


def _horizontal_axes(points: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Return (2, 3): unit vectors across and along the line of sight."""
    ahead = points.mean(0)
    ahead = ahead - (ahead @ up) * up
    ahead /= max(float(np.linalg.norm(ahead)), 1e-9)
    return np.stack([np.cross(ahead, up), ahead])


def _behind(view: View, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how far points (n, 3) lie behind what is seen, m, and whether that is the target.

    Before the background is -1 m: the camera would see them.
    """
    at = np.rint(view.pinhole.project(points)).astype(int)
    height, width = view.mask.shape
    inside = ((at >= 0) & (at < [width, height])).all(1)
    column, row = np.where(inside[:, None], at, 0).T
    behind = points[:, 2] - view.points[row, column, 2]
    behind[~np.isfinite(behind)] = 1.0
    own = view.mask[row, column] & inside
    return np.where(own | (inside & (behind > TOLERANCE)), behind, -1.0), own


def _score(behind: np.ndarray, hidden: float) -> float:
    return float((np.abs(behind) < TOLERANCE).mean() + hidden * (behind > TOLERANCE).mean()
                 - 2 * (behind < -TOLERANCE).mean())
