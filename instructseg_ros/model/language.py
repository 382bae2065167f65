"""The language model: Phi-2, run once over the embeddings of a prompt."""

from __future__ import annotations

import torch
from torch.nn import functional
from transformers import DynamicCache, PhiModel
from transformers.models.phi.modeling_phi import PhiDecoderLayer, apply_rotary_pos_emb

from instructseg_ros.model.attention import split_heads

Rotary = tuple[torch.Tensor, torch.Tensor]


class LanguageModel(PhiModel):
    """Phi with a prefill whose last layer computes only the states that are read."""

    def prefill(
        self,
        embeddings: torch.Tensor,
        cache: DynamicCache | None = None,
        *,
        causal: bool = True,
        read_from: int = 0,
    ) -> list[torch.Tensor]:
        """Run all layers over a sequence.

        Args:
            embeddings: (B, L, D), positioned after the cached tokens.
            cache: Keys and values of the preceding tokens; those of the sequence are appended.
            causal: Whether a token sees only earlier tokens.
            read_from: First position whose final state is needed. The last layer computes only keys
                and values for earlier positions, which changes no result.

        Returns:
            States before the first layer and after each layer, (B, L, D). The final ones, after the
            last LayerNorm, are (B, L - read_from, D).
        """
        layers, rotary = self._run_all_but_last(embeddings, cache, causal=causal)
        last = self.layers[-1]
        if last.gradient_checkpointing:
            final = _run(last, layers[-1], rotary, cache, causal)[:, read_from:]
            return [*layers, self.final_layernorm(final)]
        if read_from:
            cache = DynamicCache(config=self.config) if cache is None else cache
            _remember(last, layers[-1][:, :read_from], _part(rotary, end=read_from), cache)
        read = layers[-1][:, read_from:]
        final = _run(last, read, _part(rotary, start=read_from), cache, causal)
        return [*layers, self.final_layernorm(final)]

    def conclude(
        self, embeddings: torch.Tensor, cache: DynamicCache | None = None, *, read_from: int = 0
    ) -> list[torch.Tensor]:
        """Run a causal `prefill` over the end of sequences; it makes the cache unusable."""
        length = embeddings.shape[1]
        *layers, final = self.prefill(_padded(embeddings), cache, read_from=read_from)
        return [*(states[:, :length] for states in layers), final[:, : length - read_from]]

    def remember(self, embeddings: torch.Tensor) -> DynamicCache:
        """Return the key/value cache of the (B, L, D) start of sequences, to prefill the rest."""
        cache = DynamicCache(config=self.config)
        layers, rotary = self._run_all_but_last(embeddings, cache, causal=True)
        _remember(self.layers[-1], layers[-1], rotary, cache)
        return cache

    def _run_all_but_last(
        self, embeddings: torch.Tensor, cache: DynamicCache | None, *, causal: bool
    ) -> tuple[list[torch.Tensor], Rotary]:
        past = 0 if cache is None else cache.get_seq_length()
        states = self.embed_dropout(embeddings)
        positions = torch.arange(past, past + states.shape[1], device=states.device)
        rotary = self.rotary_emb(states, position_ids=positions[None])
        layers = [states]
        for layer in self.layers:
            # With checkpointing, a layer runs twice and would append its keys to a cache twice.
            layer.gradient_checkpointing = self.gradient_checkpointing and cache is None
        for layer in self.layers[:-1]:
            layers.append(_run(layer, layers[-1], rotary, cache, causal))
        return layers, rotary


def _padded(embeddings: torch.Tensor) -> torch.Tensor:
    """Append zeros to (B, L, D) up to a multiple of 8 tokens; no earlier token sees them.

    For other lengths, oneDNN's bfloat16 products are up to 8 % slower.
    """
    if embeddings.device.type != 'cpu' or embeddings.dtype != torch.bfloat16:
        return embeddings
    return functional.pad(embeddings, (0, 0, 0, -embeddings.shape[1] % 8))


def _run(
    layer: PhiDecoderLayer,
    states: torch.Tensor,
    rotary: Rotary,
    cache: DynamicCache | None,
    causal: bool,
) -> torch.Tensor:
    # The cache is passed by position, because transformers 5.24 renamed its argument.
    return layer(states, None, None, cache, position_embeddings=rotary, is_causal=causal)


def _remember(
    layer: PhiDecoderLayer, states: torch.Tensor, rotary: Rotary, cache: DynamicCache
) -> None:
    """Append keys and values of states to a layer's cache without running the layer."""
    attention = layer.self_attn
    normed = layer.input_layernorm(states)
    heads = attention.config.num_key_value_heads
    keys = split_heads(attention.k_proj(normed), heads)
    values = split_heads(attention.v_proj(normed), heads)
    if attention.qk_layernorm:
        keys = attention.k_layernorm(keys)
    rotated, rest = keys.tensor_split([attention.rotary_ndims], dim=-1)
    rotated, _ = apply_rotary_pos_emb(rotated, rotated, *rotary)
    cache.update(torch.cat([rotated, rest], dim=-1), values, attention.layer_idx)


def _part(rotary: Rotary, start: int = 0, end: int | None = None) -> Rotary:
    cosine, sine = rotary
    return cosine[:, start:end], sine[:, start:end]
