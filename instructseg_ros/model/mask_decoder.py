"""Mask2Former's masked-attention decoder, and the choice of the best of its masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerMLPPredictionHead,
    Mask2FormerSinePositionEmbedding,
)

from instructseg_ros.model.attention import attend, merge_heads, split_heads
from instructseg_ros.model.configuration import MaskConfig
from instructseg_ros.model.pixel_branch import PixelFeatures, resize


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskPredictions:
    """One prediction: the masks and scores of all mask tokens.

    Args:
        mask_logits: (F, K, Q, H, W) at stride 4; the last ones at that of the mask features.
        score_logits: (F, K, Q).
    """

    mask_logits: torch.Tensor = dataclasses.field(repr=False)
    score_logits: torch.Tensor = dataclasses.field(repr=False)


class MaskDecoder(nn.Module):
    """Queries of K instructions on each of F frames read the frame's features in turn."""

    def __init__(self, config: MaskConfig) -> None:
        super().__init__()
        width = config.hidden_dim
        self.query_position = nn.Embedding(config.num_queries, width)
        self.level_embed = nn.Embedding(3, width)
        self.layers = nn.ModuleList(
            MaskDecoderLayer(width, config.num_attention_heads, config.dim_feedforward)
            for _ in range(config.decoder_layers - 1)
        )
        self.norm = nn.LayerNorm(width)
        self.mask_embed = Mask2FormerMLPPredictionHead(width, width, config.mask_feature_size, 3)
        self.score_embed = Mask2FormerMLPPredictionHead(width, width, width, 2)
        self.upsampling = config.mask_upsampling
        self.sine = Mask2FormerSinePositionEmbedding(width // 2, normalize=True)

    def forward(
        self,
        queries: torch.Tensor,
        condition: torch.Tensor,
        features: PixelFeatures,
        evidence: torch.Tensor | None = None,
        *,
        final_only: bool = False,
    ) -> list[MaskPredictions]:
        """Predict before the first layer and after each: the last prediction is the answer.

        Args:
            queries: (F, K, Q, C) projected mask tokens.
            condition: (F, K, C) fused text, which scores are products with.
            features: of the F frames.
            evidence: (F, K, Q, C) added to the queries before scoring, or None.
            final_only: return only the answer; the others are losses' business.
        """
        fine = features.mask_features
        coarse = functional.avg_pool2d(fine, self.upsampling) if self.upsampling > 1 else fine
        memories = [self._memory(level, index) for index, level in enumerate(features.levels)]
        # Resizing is linear: products with resized features are the resized masks (spec 3).
        # Far smaller maps are made several times faster from this layout.
        by_cell = coarse.contiguous(memory_format=torch.channels_last)
        resized = [resize(by_cell, level.shape[-2:]) for level in features.levels]
        predictions = []
        for index, layer in enumerate(self.layers):
            if not final_only:
                predictions.append(self._predict(queries, condition, coarse, evidence))
            mask = self._attention_mask(queries, resized[index % 3])
            keys, values = memories[index % 3]
            queries = layer(queries, self.query_position.weight, keys, values, mask)
        return [*predictions, self._predict(queries, condition, fine, evidence)]

    def _memory(self, level: torch.Tensor, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        values = _cells(level).transpose(1, 2) + self.level_embed.weight[index]
        position = self.sine(level.shape, level.device, level.dtype)
        return values + position.flatten(2).transpose(1, 2), values

    def _predict(
        self,
        queries: torch.Tensor,
        condition: torch.Tensor,
        mask_features: torch.Tensor,
        evidence: torch.Tensor | None,
    ) -> MaskPredictions:
        states = self.norm(queries)
        scored = states if evidence is None else states + evidence
        scores = (self.score_embed(scored) * condition[:, :, None]).sum(dim=-1)
        return MaskPredictions(mask_logits=self._masks(states, mask_features), score_logits=scores)

    def _masks(self, states: torch.Tensor, mask_features: torch.Tensor) -> torch.Tensor:
        masks = torch.bmm(self.mask_embed(states).flatten(1, 2), _cells(mask_features))
        return masks.view(*states.shape[:3], *mask_features.shape[2:])

    @torch.no_grad()
    def _attention_mask(self, queries: torch.Tensor, mask_features: torch.Tensor) -> torch.Tensor:
        """Where the last masks are positive; queries that would see nothing see everything."""
        visible = (self._masks(self.norm(queries), mask_features) >= 0).flatten(3)
        return visible | ~visible.any(dim=-1, keepdim=True)


class MaskDecoderLayer(nn.Module):
    """Masked cross attention, self attention within an instruction, feed-forward; post-norm."""

    def __init__(self, width: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.heads = heads
        self.cross_attention = _Projections(width)
        self.cross_norm = nn.LayerNorm(width)
        self.self_attention = _Projections(width)
        self.self_norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, feedforward), nn.ReLU(), nn.Linear(feedforward, width)
        )
        self.feed_forward_norm = nn.LayerNorm(width)

    def forward(
        self,
        queries: torch.Tensor,
        position: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        mask: torch.Tensor,
    ) -> torch.Tensor:
        """Update (F, K, Q, C) queries from (F, M, C) keys and values.

        Args:
            position: (Q, C) position of each query.
            mask: (F, K, Q, M) bool, True where a query may read.
        """
        frames, instructions, tokens, _ = queries.shape
        # All queries of a frame share its keys: one product instead of one for each instruction.
        asked = (queries + position).flatten(1, 2)
        visible = mask.flatten(1, 2)[:, None]
        read = self.cross_attention(asked, keys, values, self.heads, visible)
        queries = self.cross_norm(queries + read.view_as(queries))
        own = queries.flatten(0, 1)
        read = self.self_attention(own + position, own + position, own, self.heads)
        queries = self.self_norm(own + read).view(frames, instructions, tokens, -1)
        return self.feed_forward_norm(queries + self.feed_forward(queries))


class _Projections(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        heads: int,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        out = attend(
            split_heads(self.q_proj(query), heads),
            split_heads(self.k_proj(key), heads),
            split_heads(self.v_proj(value), heads),
            mask,
        )
        return self.out_proj(merge_heads(out))


def _cells(x: torch.Tensor) -> torch.Tensor:
    """(F, C, h, w) -> (F, C, h * w), so that products need no copy of it."""
    if x.is_contiguous(memory_format=torch.channels_last):
        # Flattened at once, a batch of one would get strides that `bmm` copies.
        return x.permute(0, 2, 3, 1).flatten(1, 2).transpose(1, 2)
    return x.flatten(2)


_EPSILON = 1e-6


def best_mask(
    mask_logits: torch.Tensor,
    score_logits: torch.Tensor,
    restore: Callable[[torch.Tensor], torch.Tensor],
) -> tuple[torch.Tensor, float]:
    """Choose the mask with the highest product of score and quality.

    A product is never above its score, so that tokens are visited by falling score and most
    masks are never brought to full size.

    Args:
        mask_logits: (Q, h, w).
        score_logits: (Q,).
        restore: brings (N, h, w) logits to the image's size.

    Raises:
        ValueError: the scores or masks are NaN.

    Returns:
        (H, W) logits of the best mask, and its product of score and quality in 0..1.
    """
    scores = score_logits.float().sigmoid()
    best, best_score = None, -1.0
    for index in scores.argsort(descending=True).tolist():
        score = scores[index].item()
        if score <= best_score:
            break
        logits = restore(mask_logits[index : index + 1])[0]
        product = score * mask_quality(logits).item()
        if product > best_score:
            best, best_score = logits, product
    if best is None:
        raise ValueError(
            'the model gave no numbers (NaN): use the dtype "float32" or "bfloat16", and if it '
            'stays so, copy the weights again'
        )
    return best, best_score


def mask_quality(logits: torch.Tensor) -> torch.Tensor:
    """Mean probability of the pixels inside: (..., H, W) -> (...); 0 for an empty mask."""
    inside = (logits > 0).float()
    total = (logits.sigmoid() * inside).sum(dim=(-2, -1))
    return total / (inside.sum(dim=(-2, -1)) + _EPSILON)
