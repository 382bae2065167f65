"""The object-aware video perceiver (paper, section 3.2), and a perceiver for small models."""

from __future__ import annotations

import functools
from typing import Final

import torch
from torch import nn

from instructseg_ros.model.attention import attend, attend_with_heads, merge_heads, split_heads
from instructseg_ros.model.configuration import InstructSegConfig

# Largest motion between the oldest reference frame and the key frame, as a share of the image side.
_REACH: Final = 1 / 6


class VideoPerceiver(nn.Module):
    """Learned latents that read one frame's vision tokens and the instruction's word embeddings.

    Frames are read independently of each other, as in the authors' instructseg/model/
    language_model/ovp.py; only the language model sees their order.
    """

    def __init__(self, config: InstructSegConfig) -> None:
        super().__init__()
        self.temporal_query = nn.Parameter(torch.randn(config.num_latents, config.hidden_size))
        self.resampler = LatentResampler(
            config.hidden_size,
            config.perceiver_layers,
            config.perceiver_heads,
            config.perceiver_head_dim,
        )

    def forward(
        self, frames: torch.Tensor, words: torch.Tensor, word_mask: torch.Tensor
    ) -> torch.Tensor:
        """Compute the reference tokens of each pair of frame and instruction.

        Args:
            frames: (N, V, width) projected vision tokens.
            words: (N * K, R, width) word embeddings of K instructions for each frame, each with
                its [SEG].
            word_mask: (N * K, R) bool, False at padding.

        Returns:
            (N * K, num_latents, width).
        """
        latents = self.temporal_query.expand(len(words), -1, -1)
        return self.resampler(latents, frames, words, word_mask)


class LatentResampler(nn.Module):
    """A stack of `LatentAttention` and feed-forward layers with residuals and a final LayerNorm."""

    def __init__(self, width: int, layers: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList([LatentAttention(width, heads, head_dim), _feed_forward(width)])
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(
        self,
        latents: torch.Tensor,
        memory: torch.Tensor,
        own: torch.Tensor | None = None,
        own_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Resample a memory shared by several rows, plus each row's own memory.

        Args:
            latents: (S * n, L, width) initial latents; n consecutive rows read each memory.
            memory: (S, M, width).
            own: (S * n, R, width) own memory of each row.
            own_mask: (S * n, R) bool, True where `own` may be read; None: everywhere.

        Returns:
            (S * n, L, width).
        """
        mask = None
        if own_mask is not None:
            shared = own_mask.new_ones(len(latents), memory.shape[1])
            always = own_mask.new_ones(latents.shape[:2])
            mask = torch.cat([shared, own_mask, always], dim=1)[:, None, None]
        for attention, feed_forward in self.layers:
            latents = latents + attention(latents, memory, own, mask)
            latents = latents + feed_forward(latents)
        return self.norm(latents)


class LatentAttention(nn.Module):
    """Cross attention of latents to shared memory, own memory and the latents; without biases.

    The keys include the latents, as in the `PerceiverAttention` that the authors' ovp.py uses.
    """

    def __init__(self, width: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads = heads
        inner = heads * head_dim
        self.norm_media = nn.LayerNorm(width)
        self.norm_latents = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)

    def forward(
        self,
        latents: torch.Tensor,
        memory: torch.Tensor,
        own: torch.Tensor | None,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """See `LatentResampler`; the memory is projected once for all rows that share it."""
        latents = self.norm_latents(latents)
        rows = len(latents) // len(memory)
        shared = self.to_kv(self.norm_media(memory)).repeat_interleave(rows, dim=0)
        source = latents if own is None else torch.cat([self.norm_media(own), latents], dim=1)
        keys, values = torch.cat([shared, self.to_kv(source)], dim=1).chunk(2, dim=-1)
        return self.to_out(attend_with_heads(self.to_q(latents), keys, values, self.heads, mask))


class MotionPerceiver(nn.Module):
    """Latents that start from the key frame's tokens and read the reference frames near them.

    Each head reads one reference frame, and each latent only the cells near its own. A small model
    learns motion this way within a minute, and never from attention over whole frames. The result
    is fused with the image tokens cell by cell.
    """

    def __init__(self, config: InstructSegConfig) -> None:
        super().__init__()
        width = config.hidden_size
        frames, cells = config.reference_frames, config.image_tokens
        self.position = nn.Parameter(torch.randn(cells, width) * 0.1)
        # Linear in the position, so that a difference of positions is a difference of states.
        self.coordinate = nn.Linear(2, width, bias=False)
        self.frame = nn.Parameter(torch.randn(frames, 1, width) * 0.1)
        self.layers = nn.ModuleList(
            WindowedCrossAttention(width, config.perceiver_heads)
            for _ in range(config.perceiver_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.heads = config.perceiver_heads

    def forward(self, key: torch.Tensor, references: torch.Tensor) -> torch.Tensor:
        """Describe the motion at each cell of the key frame.

        Args:
            key: (B, V, width) tokens of the key frame.
            references: (B, T, V, width) tokens of the reference frames, oldest first.

        Returns:
            (B, V, width).
        """
        cells = key.shape[1]
        position = self.position + self.coordinate(_cell_centers(cells, key.device).to(key.dtype))
        memory = references + position + self.frame
        latents = key + position
        window = _window_mask(cells, key.device)
        for layer in self.layers:
            latents = layer(latents, memory, window)
        return self.norm(latents)


class WindowedCrossAttention(nn.Module):
    """Cross attention in which each head reads one reference frame; pre-norm, residual."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_latents = nn.LayerNorm(width)
        self.norm_memory = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, width)
        self.to_kv = nn.Linear(width, 2 * width)
        self.to_out = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(
        self, latents: torch.Tensor, memory: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Update the latents.

        Args:
            latents: (B, V, width).
            memory: (B, T, V, width) tokens of the reference frames.
            mask: (V, V) bool, True where a latent may read.

        Returns:
            (B, V, width).
        """
        query = split_heads(self.to_q(self.norm_latents(latents)), self.heads)
        keys, values = self.to_kv(self.norm_memory(memory)).chunk(2, dim=-1)
        out = attend(query, self._frame_of_head(keys), self._frame_of_head(values), mask)
        latents = latents + self.to_out(merge_heads(out))
        return latents + self.feed_forward(latents)

    def _frame_of_head(self, memory: torch.Tensor) -> torch.Tensor:
        """Select the frame that each head reads: (B, T, V, width) -> (B, heads, V, d)."""
        by_head = memory.unflatten(-1, (self.heads, -1)).unbind(dim=-2)
        frames = [head * memory.shape[1] // self.heads for head in range(self.heads)]
        return torch.stack([by_head[head][:, frame] for head, frame in enumerate(frames)], dim=1)


class ImageTokenFusion(nn.Module):
    """Joins appearance and motion of each cell into its image token.

    Every summand has a LayerNorm: without it, one of them dominates the others.
    """

    def __init__(self, config: InstructSegConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.position = nn.Parameter(torch.randn(config.image_tokens, width) * 0.1)
        self.appearance = _normed_mlp(width)
        self.motion = _normed_mlp(width)

    def forward(self, tokens: torch.Tensor, motion: torch.Tensor) -> torch.Tensor:
        """Fuse vision tokens and motion, (B, V, width) each, to image tokens of the same shape."""
        return self.appearance(tokens) + self.motion(motion) + self.position


def _feed_forward(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width),
        nn.Linear(width, 2 * width, bias=False),
        nn.GELU(),
        nn.Linear(2 * width, width, bias=False),
    )


def _normed_mlp(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, width), nn.GELU(), nn.Linear(width, width), nn.LayerNorm(width)
    )


@functools.lru_cache(maxsize=4)
@torch.inference_mode(mode=False)  # so that training can use tensors cached during inference
def _cell_centers(cells: int, device: torch.device) -> torch.Tensor:
    """Return row and column of each cell's centre, -1 to 1: (cells, 2)."""
    side = int(cells**0.5)
    index = torch.arange(cells, device=device)
    cell = torch.stack([index // side, index % side], dim=-1)
    return (2 * cell + 1) / side - 1


@functools.lru_cache(maxsize=4)
@torch.inference_mode(mode=False)
def _window_mask(cells: int, device: torch.device) -> torch.Tensor:
    """Return which cells are within reach of each cell: (cells, cells) bool."""
    centers = _cell_centers(cells, torch.device('cpu'))
    distance = (centers[:, None] - centers[None]).abs().amax(dim=-1)
    # The image side is 2. Half a cell is added, because an object may be anywhere in its cell.
    return (distance < 2 * (_REACH + 0.5 / cells**0.5)).to(device)
