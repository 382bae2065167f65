"""The language model: Phi, run once over embeddings with a fixed answer."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import DynamicCache, PhiModel
from transformers.activations import GELUActivation, GELUTanh
from transformers.models.phi.modeling_phi import PhiDecoderLayer, apply_rotary_pos_emb

from instructseg_ros.model.attention import split_heads
from instructseg_ros.model.precision import onednn_has_bfloat16

Rotary = tuple[torch.Tensor, torch.Tensor]


class LanguageModel(PhiModel):
    """Phi with a prefill that computes the last layer only for the states that are read."""

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
            embeddings: (B, L, D), after what the cache holds.
            cache: keys and values of what comes before; those of the sequence are added.
            causal: whether a place sees only those before it.
            read_from: first place of the sequence whose final state is needed. In the last layer
                those before it are only keys and values: exactly equal, and most of a layer less.

        Returns:
            states before the first layer and after each: (B, L, D), and last, after the final
            LayerNorm, (B, L - read_from, D).
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
        """A causal `prefill` of what sequences end with: the cache is of no use afterwards."""
        length = embeddings.shape[1]
        *layers, final = self.prefill(_filled_up(embeddings), cache, read_from=read_from)
        return [*(states[:, :length] for states in layers), final[:, : length - read_from]]

    def remember(self, embeddings: torch.Tensor) -> DynamicCache:
        """Keys and values of the (B, L, D) start of sequences, for prefills of what follows."""
        cache = DynamicCache(config=self.config)
        layers, rotary = self._run_all_but_last(embeddings, cache, causal=True)
        _remember(self.layers[-1], layers[-1], rotary, cache)
        return cache

    def _run_all_but_last(
        self, embeddings: torch.Tensor, cache: DynamicCache | None, *, causal: bool
    ) -> tuple[list[torch.Tensor], Rotary]:
        past = 0 if cache is None else cache.get_seq_length()
        states = self.embed_dropout(embeddings)
        places = torch.arange(past, past + states.shape[1], device=states.device)
        rotary = self.rotary_emb(states, position_ids=places[None])
        layers = [states]
        for layer in self.layers:
            # A layer that runs twice would put its keys into a cache twice.
            layer.gradient_checkpointing = self.gradient_checkpointing and cache is None
        for layer in self.layers[:-1]:
            layers.append(_run(layer, layers[-1], rotary, cache, causal))
        return layers, rotary


def _filled_up(embeddings: torch.Tensor) -> torch.Tensor:
    """(B, L, D), with zeros behind where products are faster for it; they change nothing before.

    For some lengths, oneDNN multiplies in bfloat16 up to 8 % more slowly: not for multiples of 8.
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
    # The cache by position: transformers 5.24 renamed it.
    return layer(states, None, None, cache, position_embeddings=rotary, is_causal=causal)


def _remember(
    layer: PhiDecoderLayer, states: torch.Tensor, rotary: Rotary, cache: DynamicCache
) -> None:
    """Put keys and values of states into a layer's cache without running the layer."""
    attention = layer.self_attn
    normed = layer.input_layernorm(states)
    heads = attention.config.num_key_value_heads
    keys = split_heads(attention.k_proj(normed), heads)
    values = split_heads(attention.v_proj(normed), heads)
    if attention.qk_layernorm:
        keys = attention.k_layernorm(keys)
    turned, rest = keys.split([attention.rotary_ndims, keys.shape[-1] - attention.rotary_ndims], -1)
    turned, _ = apply_rotary_pos_emb(turned, turned, *rotary)
    cache.update(torch.cat([turned, rest], dim=-1), values, attention.layer_idx)


def _part(rotary: Rotary, start: int = 0, end: int | None = None) -> Rotary:
    cosine, sine = rotary
    return cosine[:, start:end], sine[:, start:end]


def pack_linear_layers(module: nn.Module) -> None:
    """Replace the bfloat16 linear layers that are on a CPU by packed ones, for inference only.

    Does nothing where oneDNN or its bfloat16 is missing. Packed layers cannot be saved or trained.
    """
    if not onednn_has_bfloat16():
        return
    # Without the layers themselves: each is freed as soon as it is replaced.
    for part in [part for part in module.modules() if not isinstance(part, nn.Linear)]:
        _pack_activation(part)
        for name, layer in part.named_children():
            if _can_be_packed(layer):
                setattr(part, name, PackedLinear(layer))


def _pack_activation(part: nn.Module) -> None:
    """Transformers' feed-forward layers call their parts by these names."""
    first, activation = getattr(part, 'fc1', None), getattr(part, 'activation_fn', None)
    after = _fused(activation)
    if after and _can_be_packed(first):
        part.fc1 = PackedLinear(first, *after)
        part.activation_fn = nn.Identity()


def _fused(activation: Any) -> tuple[str, str] | None:
    """OneDNN's name of an activation, and its variant."""
    if activation is functional.relu or isinstance(activation, nn.ReLU):
        return 'relu', ''
    if isinstance(activation, GELUTanh):
        return 'gelu', 'tanh'
    if isinstance(activation, GELUActivation):
        return 'gelu', 'none'
    return None


def _can_be_packed(layer: Any) -> bool:
    # A weight of another type is one that quantization.py rounded.
    if type(layer) is not nn.Linear or type(layer.weight) is not nn.Parameter:
        return False
    return layer.weight.dtype == torch.bfloat16 and layer.weight.device.type == 'cpu'


class PackedLinear(nn.Module):
    """A linear layer, and an activation in the same kernel where one is named."""

    def __init__(self, layer: nn.Linear, after: str = 'none', variant: str = '') -> None:
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach())
        self.bias = layer.bias
        self._after, self._variant = after, variant

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., inputs) -> (..., outputs)."""
        return torch.ops.mkldnn._linear_pointwise(
            x, self._weight, self.bias, self._after, [], self._variant
        )
