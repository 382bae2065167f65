"""Mask2Former's masked-attention decoder, and the choice of the best mask."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final

import torch
from torch import nn
from torch.nn import functional
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerMLPPredictionHead,
    Mask2FormerSinePositionEmbedding,
)

from instructseg_ros.model.attention import attend_with_heads
from instructseg_ros.model.configuration import MaskConfig
from instructseg_ros.model.pixel_branch import PixelFeatures, resize

_EPSILON: Final = 1e-6  # epsilon in the authors' mask quality


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskPredictions:
    """Masks and scores of all mask tokens after one decoder layer.

    Args:
        mask_logits: (F, K, Q, H, W) at stride 4; those of the final prediction have the stride of
            the mask features.
        score_logits: (F, K, Q).
    """

    mask_logits: torch.Tensor = dataclasses.field(repr=False)
    score_logits: torch.Tensor = dataclasses.field(repr=False)


class MaskDecoder(nn.Module):
    """Refines the queries of K instructions on each of F frames with the frame's features.

    Follows the authors' mask2former_transformer_decoder.py: queries start from the language
    model's states, and text enters only through these queries and through the scores.
    """

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
        """Predict before the first layer and after each layer; the last prediction is the result.

        Args:
            queries: (F, K, Q, C) projected mask tokens.
            condition: (F, K, C) fused text; a score is a product with it.
            features: Features of the F frames.
            evidence: (F, K, Q, C) to add to the queries before scoring, or None.
            final_only: Return only the last prediction; only losses need the others.
        """
        fine = features.mask_features
        coarse = functional.avg_pool2d(fine, self.upsampling) if self.upsampling > 1 else fine
        memories = [self._memory(level, index) for index, level in enumerate(features.levels)]
        # Resizing is linear, so products with resized features are the resized masks; resizing is
        # several times faster in the channels-last layout.
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
        """Return which cells each query may read: the cells of its mask, or all if it is empty.

        Returns:
            (F, K, Q, cells) bool.
        """
        visible = (self._masks(self.norm(queries), mask_features) >= 0).flatten(3)
        return visible | ~visible.any(dim=-1, keepdim=True)


class MaskDecoderLayer(nn.Module):
    """Masked cross attention, self attention within an instruction, feed-forward; post-norm."""

    def __init__(self, width: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.cross_attention = _Attention(width, heads)
        self.cross_norm = nn.LayerNorm(width)
        self.self_attention = _Attention(width, heads)
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
        """Update the queries.

        Args:
            queries: (F, K, Q, C).
            position: (Q, C) position embedding of each query.
            keys: (F, M, C).
            values: (F, M, C).
            mask: (F, K, Q, M) bool, True where a query may read.

        Returns:
            (F, K, Q, C).
        """
        frames, instructions, tokens, _ = queries.shape
        # All queries of a frame share its keys: one product instead of one per instruction.
        asked = (queries + position).flatten(1, 2)
        visible = mask.flatten(1, 2)[:, None]
        read = self.cross_attention(asked, keys, values, visible)
        queries = self.cross_norm(queries + read.view_as(queries))
        own = queries.flatten(0, 1)
        read = self.self_attention(own + position, own + position, own)
        queries = self.self_norm(own + read).view(frames, instructions, tokens, -1)
        return self.feed_forward_norm(queries + self.feed_forward(queries))


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        query, key, value = self.q_proj(query), self.k_proj(key), self.v_proj(value)
        return self.out_proj(attend_with_heads(query, key, value, self.heads, mask))


def best_mask(
    mask_logits: torch.Tensor,
    score_logits: torch.Tensor,
    restore: Callable[[torch.Tensor], torch.Tensor],
    *,
    restore_one: bool = False,
) -> tuple[torch.Tensor, float]:
    """Choose the mask with the highest product of score and quality (eval_seg in llava_phi.py).

    Args:
        mask_logits: (Q, h, w).
        score_logits: (Q,).
        restore: Resizes (N, h, w) logits to the image's size.
        restore_one: Compare the qualities at the size of the logits, and restore only the best
            mask; the authors' code compares them at the image's size.

    Returns:
        (H, W) logits of the best mask, and its product of score and quality, 0 to 1.

    Raises:
        ValueError: The scores or masks are NaN.
    """
    scores = score_logits.float().sigmoid()
    if restore_one:
        # If all masks are empty, the highest score decides.
        best = int((scores * (mask_quality(mask_logits) + _EPSILON)).argmax())
        mask_logits, scores = mask_logits[best : best + 1], scores[best : best + 1]
    found, best_score = None, -1.0
    # The product never exceeds the score, so some masks need not be restored.
    for index in scores.argsort(descending=True).tolist():
        score = scores[index].item()
        if score <= best_score:
            break
        logits = restore(mask_logits[index : index + 1])[0]
        product = score * mask_quality(logits).item()
        if product > best_score:
            found, best_score = logits, product
    if found is None:
        raise ValueError(
            'the model returned NaN: use the dtype "float32" or "bfloat16"; if that does not help, '
            'copy the weights again'
        )
    return found, best_score


def mask_quality(logits: torch.Tensor) -> torch.Tensor:
    """Return the mean probability inside the mask: (..., H, W) -> (...); 0 if the mask is empty."""
    inside = (logits > 0).float()
    total = (logits.sigmoid() * inside).sum(dim=(-2, -1))
    return total / (inside.sum(dim=(-2, -1)) + _EPSILON)


def _cells(x: torch.Tensor) -> torch.Tensor:
    """Flatten (F, C, h, w) to (F, C, h * w), in a layout that matrix products need not copy."""
    if x.is_contiguous(memory_format=torch.channels_last):
        # Flattened directly, a batch of one would get strides that make `bmm` copy it.
        return x.permute(0, 2, 3, 1).flatten(1, 2).transpose(1, 2)
    return x.flatten(2)
