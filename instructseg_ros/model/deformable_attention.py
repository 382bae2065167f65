"""Deformable attention over several feature maps as one weighted look-up (spec 2.5).

Sampling a map at a point reads four cells of it with bilinear weights. A query's output is thus
one weighted sum of levels x points x 4 rows of the table of all cells: an embedding bag. On a CPU
that is six times faster than one `grid_sample` for each level, and it is the same sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
from torch.nn import functional
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention,
)

Shapes = Sequence[tuple[int, int]]
# Zero cells before and after each row and column of a map.
_BORDER: Final = (1, 2)


class Places(NamedTuple):
    """Where samples are taken, (B, heads, Q, levels * points) each.

    In cells of the level's map; the centre of its first cell is 0.
    """

    x: torch.Tensor
    y: torch.Tensor


class Extents(NamedTuple):
    """The map of each of levels * points samples: its sizes and its first framed cell."""

    height: torch.Tensor
    width: torch.Tensor
    start: torch.Tensor

    @property
    def stride(self) -> torch.Tensor:
        """From a framed cell to the one below."""
        return self.width + sum(_BORDER)


class DeformableAttention(Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention):
    """Mask2Former's module with `sample` in the place of its sampling.

    Places are computed in float32 in every precision: bfloat16 cannot tell neighbouring cells of a
    128 x 128 map apart.
    """

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        *,
        encoder_hidden_states: torch.Tensor,
        position_embeddings: torch.Tensor,
        spatial_shapes_list: Shapes,
        **_: object,
    ) -> tuple[torch.Tensor, None]:
        """Attend from every cell of the maps to a few places around it, in every map.

        Args:
            hidden_states: (B, N, width) cells of all maps, one map after the other.
            attention_mask: unused: nothing of a frame is masked (spec 2.5).
            encoder_hidden_states: (B, N, width) what is read.
            position_embeddings: (B, N, width), added to what asks.
            spatial_shapes_list: (height, width) of each map.

        Returns:
            (B, N, width), and None in the place of attention weights.
        """
        asking = hidden_states + position_embeddings
        shape = (*asking.shape[:2], self.n_heads, self.n_levels * self.n_points)
        offsets = self.sampling_offsets(asking).view(*shape, 2)
        weights = _softmax(self.attention_weights(asking).view(shape))
        values = self.value_proj(encoder_hidden_states).unflatten(-1, (self.n_heads, -1))
        places = _places(offsets, spatial_shapes_list)
        return self.output_proj(sample(values, spatial_shapes_list, places, weights)), None


def _places(offsets: torch.Tensor, shapes: Shapes) -> Places:
    """Where each cell looks, from its own centre in every map.

    Args:
        offsets: (B, N, heads, levels * points, 2) x and y in cells of the level's map.
    """
    device = offsets.device
    extents = _extents(shapes, offsets.shape[3], device)
    centres = torch.cat([_centres(*shape, device) for shape in shapes])
    x, y = (
        each.transpose(1, 2).float().contiguous() + (centre[:, None] * size - 0.5)
        for each, centre, size in zip(
            offsets.unbind(-1), centres.unbind(-1), (extents.width, extents.height), strict=True
        )
    )
    return Places(x, y)


def _softmax(logits: torch.Tensor) -> torch.Tensor:
    """Over the last dimension of (B, N, heads, few): (B, heads, N, few) float32.

    Along another dimension it takes a third of the time: rows of a dozen numbers fill no vector.
    """
    rows = logits.float().permute(0, 3, 1, 2).contiguous()
    return rows.softmax(dim=1).permute(0, 3, 2, 1).contiguous()


def _centres(height: int, width: int, device: torch.device) -> torch.Tensor:
    """(height * width, 2) x and y of the cells of a map, 0 to 1."""
    y = (torch.arange(height, device=device) + 0.5) / height
    x = (torch.arange(width, device=device) + 0.5) / width
    return torch.stack([x.repeat(height), y.repeat_interleave(width)], dim=-1)


def sample(
    values: torch.Tensor, shapes: Shapes, places: Places, weights: torch.Tensor
) -> torch.Tensor:
    """Weighted sum of bilinear samples; what lies outside a map is zero.

    Args:
        values: (B, N, heads, d) cells of all maps.
        shapes: (height, width) of each map.
        places: of the samples.
        weights: (B, heads, Q, levels * points) float32.

    Returns:
        (B, Q, heads * d) in the dtype of the values.
    """
    table = _table(values, shapes)
    batch, heads, cells, depth = table.shape
    extents = _extents(shapes, weights.shape[-1], values.device)
    corners, right, lower = _locate(places, extents)
    first = torch.arange(batch * heads, device=values.device, dtype=corners.dtype) * cells
    rows = (corners + first.view(batch, heads, 1, 1))[..., None, :] + _around(extents)
    sums = functional.embedding_bag(
        rows.flatten(0, 2).flatten(1),
        table.flatten(0, 2),
        per_sample_weights=_shares(weights, right, lower).flatten(0, 2).flatten(1),
        mode='sum',
    )
    return sums.to(values.dtype).view(batch, heads, -1, depth).transpose(1, 2).flatten(2)


def _table(values: torch.Tensor, shapes: Shapes) -> torch.Tensor:
    """(B, N, heads, d) -> (B, heads, cells, d) float32, every map with a border of zeros."""
    batch, _, heads, depth = values.shape
    before, after = _BORDER
    framed = [(height + before + after, width + before + after) for height, width in shapes]
    counts = [height * width for height, width in framed]
    table = values.new_zeros((batch, heads, sum(counts), depth), dtype=torch.float32)
    maps = values.transpose(1, 2).split([height * width for height, width in shapes], dim=2)
    first = 0
    for x, shape, frame, count in zip(maps, shapes, framed, counts, strict=True):
        part = table.narrow(2, first, count).unflatten(2, frame)
        part[:, :, before:-after, before:-after] = x.unflatten(2, shape)
        first += count
    return table


def _locate(places: Places, extents: Extents) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Find the four cells around each place.

    Returns:
        int32 rows of one head's cells above left, and the shares of the cells on the right and of
        those below.
    """
    # From one cell outside on, all four cells are of the border; for what is no number, too.
    x, y = (
        each.nan_to_num(-1.0).clamp(min=-1.0).minimum(size)
        for each, size in ((places.x, extents.width), (places.y, extents.height))
    )
    left, top = x.floor(), y.floor()
    # Exact in float32 up to 2^24 cells.
    origin = extents.start + extents.stride * _BORDER[0] + _BORDER[0]
    corners = torch.addcmul(left + origin, top, extents.stride)
    return corners.int(), x - left, y - top


def _around(extents: Extents) -> torch.Tensor:
    """(4, levels * points) from the row of a cell to its own, the next, and the two below."""
    stride = extents.stride.int()
    return torch.stack([torch.zeros_like(stride), torch.ones_like(stride), stride, stride + 1])


def _shares(weights: torch.Tensor, right: torch.Tensor, lower: torch.Tensor) -> torch.Tensor:
    """(B, heads, Q, 4, levels * points): of the sum, in the order of `_around`."""
    below = lower * weights
    above = weights - below
    below_right, above_right = below * right, above * right
    shares = [above - above_right, above_right, below - below_right, below_right]
    return torch.stack(shares, dim=-2)


def _extents(shapes: Shapes, samples: int, device: torch.device) -> Extents:
    sizes = torch.tensor(shapes, dtype=torch.float32, device=device)
    cells = (sizes + sum(_BORDER)).prod(dim=1)
    columns = torch.stack([sizes[:, 0], sizes[:, 1], cells.cumsum(0) - cells])
    return Extents(*columns.repeat_interleave(samples // len(shapes), dim=1))
