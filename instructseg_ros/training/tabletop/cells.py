"""Labels of image cells: which thing has its centre in a cell, which thing covers it."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from instructseg_ros.training.tabletop.scenes import EXISTS, U, V


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellLabels:
    """Labels of V cells of B pictures; -1 where there is no thing.

    Args:
        centre: (B, V) int64 slot of the thing whose centre lies in the cell.
        cover: (B, V) int64 slot of the thing seen at the cell's middle.
        things: (B, S, 11) float32.
        side: cells of one row.
    """

    centre: torch.Tensor
    cover: torch.Tensor
    things: torch.Tensor
    side: int

    def of(self, slots: torch.Tensor, column: int) -> torch.Tensor:
        """A column of the things at the cells where `slots` is not -1, flattened."""
        picture, cell = torch.nonzero(slots >= 0, as_tuple=True)
        return self.things[picture, slots[picture, cell], column]

    def offsets(self, slots: torch.Tensor) -> torch.Tensor:
        """(n, 2) from the cell's middle to its thing's centre, in cells."""
        _, cell = torch.nonzero(slots >= 0, as_tuple=True)
        u = self.of(slots, U) * self.side - cell % self.side - 0.5
        v = self.of(slots, V) * self.side - cell // self.side - 0.5
        return torch.stack([u, v], dim=-1)


def cell_of(things: np.ndarray, side: int) -> np.ndarray:
    """(..., S, 11) things -> (..., S) index of the cell that holds each centre."""
    column = np.clip((things[..., U] * side).astype(int), 0, side - 1)
    row = np.clip((things[..., V] * side).astype(int), 0, side - 1)
    return row * side + column


def cell_labels(things: np.ndarray, labels: np.ndarray, side: int) -> CellLabels:
    """Labels of the cells of pictures, from their things (B, S, 11) and labels (B, H, W)."""
    batch = np.arange(len(things))[:, None]
    centre = np.full((len(things), side * side), -1)
    for slot in range(things.shape[1]):
        there = things[:, slot, EXISTS] > 0
        centre[batch[there, 0], cell_of(things[there, slot], side)] = slot
    height, width = labels.shape[1:]
    rows = ((np.arange(side) + 0.5) * height / side).astype(int)
    columns = ((np.arange(side) + 0.5) * width / side).astype(int)
    cover = labels[:, rows[:, None], columns].reshape(len(things), -1).astype(int) - 1
    return CellLabels(
        centre=torch.from_numpy(centre),
        cover=torch.from_numpy(cover),
        things=torch.from_numpy(things),
        side=side,
    )
