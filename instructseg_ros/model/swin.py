"""Swin without the copies that transformers makes (docs/adr/0005-fast-on-a-cpu.md)."""

from __future__ import annotations

import functools
from typing import Final, NamedTuple

import torch
from torch import nn
from torch.nn import functional
from transformers.modeling_outputs import BackboneOutput
from transformers.models.swin.modeling_swin import SwinBackbone, SwinLayer

from instructseg_ros.model.attention import attend

# Added to the scores of tokens that are not neighbours. The exponential of transformers' -100 is a
# subnormal number: computing with it takes three times as long, and it vanishes in the sum too.
_MASKED: Final = -1e4


def make_fast(backbone: SwinBackbone) -> None:
    """Convert transformers' SwinBackbone to the faster classes of this module."""
    # Only classification uses it: every feature map has its own norm.
    backbone.swin.layernorm = nn.Identity()
    backbone.__class__ = FastSwinBackbone
    for module in backbone.modules():
        if isinstance(module, SwinLayer):
            module.__class__ = WindowLayer


class FastSwinBackbone(SwinBackbone):
    """SwinBackbone that is faster without gradients."""

    def forward(self, pixel_values: torch.Tensor) -> BackboneOutput:
        """Compute channels-last maps (B, C, h, w) of (B, 3, H, W) pixels, fine to coarse."""
        if torch.is_grad_enabled():
            return super().forward(pixel_values)  # supports gradient checkpointing
        states, (height, width) = self.swin.embeddings(pixel_values)
        maps = []
        for name, stage in zip(self.stage_names[1:], self.swin.encoder.layers, strict=True):
            for layer in stage.blocks:
                states, _ = layer(states, (height, width), always_partition=True)
            if name in self.out_features:
                normed = self.hidden_states_norms[name](states)
                maps.append(normed.unflatten(1, (height, width)).permute(0, 3, 1, 2))
            if stage.downsample is not None:
                states = stage.downsample(states, (height, width))
                height, width = (height + 1) // 2, (width + 1) // 2
        return BackboneOutput(feature_maps=tuple(maps))


class WindowLayer(SwinLayer):
    """SwinLayer that is faster without gradients; unchanged if compiled or with gradients."""

    def forward(
        self,
        hidden_states: torch.Tensor,
        input_dimensions: tuple[int, int],
        always_partition: bool = False,
        **options: object,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Update (B, height * width, C) tokens; attention weights are not returned."""
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return super().forward(hidden_states, input_dimensions, always_partition, **options)
        if not always_partition:
            self.set_shift_and_window_size(input_dimensions)
        size = (*input_dimensions, self.window_size, self.shift_size)
        windows = windows_of(*map(int, size), hidden_states.device)
        hidden_states = hidden_states + self._attend(self.layernorm_before(hidden_states), windows)
        return hidden_states + self.mlp(self.layernorm_after(hidden_states)), None

    def _attend(self, states: torch.Tensor, windows: Windows) -> torch.Tensor:
        attention = self.attention
        heads, depth = attention.num_attention_heads, attention.head_dim
        there, back = _rows(windows, len(states), heads)
        # An extra token of zeros: its projections equal those of padding.
        padded = functional.pad(states, (0, 0, 0, 1))
        query, key, value = (
            functional.embedding(there, project(padded).view(-1, depth))
            for project in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        bias = attention.relative_position_bias()
        masks = windows.masks.to(bias.dtype).repeat_interleave(len(states), dim=0)
        found = _attend_in_windows(query, key, value, bias, masks).view(-1, depth)
        return attention.o_proj(functional.embedding(back, found).flatten(2))


class Windows(NamedTuple):
    """The W windows of a map of N tokens; windows with a mask come last.

    Args:
        tokens: (W, area) token in each cell of each window; N stands for padding.
        cells: (N,) index of each token's cell among the W * area cells.
        masks: (M, 1, area, area) to add to the scores of the last M windows.
    """

    tokens: torch.Tensor
    cells: torch.Tensor
    masks: torch.Tensor


def _attend_in_windows(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bias: torch.Tensor,
    masks: torch.Tensor,
) -> torch.Tensor:
    """Attention within each window; the last windows have masks."""
    free = len(query) - len(masks)
    if free == len(query):
        return attend(query, key, value, bias)
    first = attend(query[:free], key[:free], value[:free], bias)
    return torch.cat([first, attend(query[free:], key[free:], value[free:], bias + masks)])


def _rows(windows: Windows, batch: int, heads: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return indices that move each head's vectors from tokens into windows, and back.

    Returns:
        (W * B, heads, area) indices into the vectors of all tokens, (B, N + 1, heads); and
        (B, N, heads) indices into the vectors of all windows, (W * B, heads, area).
    """
    tokens, cells = windows.tokens, windows.cells
    area = tokens.shape[1]
    frame = torch.arange(batch, device=tokens.device)[:, None, None]
    head = torch.arange(heads, device=tokens.device)
    there = (frame * (len(cells) + 1) + tokens[:, None, None]) * heads + head[:, None]
    window, within = (cells // area)[:, None], (cells % area)[:, None]
    back = ((window * batch + frame) * heads + head) * area + within
    return there.flatten(0, 1), back


@functools.lru_cache(maxsize=32)
@torch.inference_mode(mode=False)
def windows_of(height: int, width: int, side: int, shift: int, device: torch.device) -> Windows:
    """Return the windows of a map that is padded to whole windows and then shifted.

    Args:
        height: Rows of the map.
        width: Columns of the map.
        side: Rows and columns of a window.
        shift: Cells by which the map is shifted up and left.
        device: Where the result is stored.
    """
    rows, columns = (-(-length // side) * side for length in (height, width))
    row, column = torch.arange(rows), torch.arange(columns)
    parts = 3 * _part(row, side, shift)[:, None] + _part(column, side, shift)
    y, x = (row + shift)[:, None] % rows, (column + shift) % columns
    tokens = torch.where((y < height) & (x < width), y * width + x, height * width)
    tokens, parts = _cut(tokens, side), _cut(parts, side)
    mixed = (parts != parts[:, :1]).any(dim=1)
    order = mixed.int().argsort(stable=True)
    tokens, parts = tokens[order], parts[order[len(order) - int(mixed.sum()) :]]
    cells = tokens.flatten().argsort()[: height * width]
    masks = _MASKED * (parts[:, None, :, None] != parts[:, None, None]).float()
    return Windows(*(each.to(device) for each in (tokens, cells, masks)))


def _part(index: torch.Tensor, side: int, shift: int) -> torch.Tensor:
    """Return which of the three parts of a shifted map each row or column belongs to."""
    if not shift:
        return torch.zeros_like(index)
    count = len(index)
    return (index >= count - side).long() + (index >= count - shift).long()


def _cut(grid: torch.Tensor, side: int) -> torch.Tensor:
    """Cut a grid into windows: (H, W) -> (H * W / side^2, side^2)."""
    cut = grid.unflatten(1, (-1, side)).unflatten(0, (-1, side))
    return cut.transpose(1, 2).flatten(2).flatten(0, 1)
