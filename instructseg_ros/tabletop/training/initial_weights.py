"""Start values for training: from nothing, or from another model.

transformers initialises its parts for fine-tuning (a spread of 0.02 everywhere); layers as wide as
the embedded model's learn faster from PyTorch's own start values, which grow as width shrinks.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention,
)

from instructseg_ros.model.checkpoints import load_model
from instructseg_ros.model.model_files import find_model
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.perceiver import WindowedCrossAttention
from instructseg_ros.model.processor import InstructSegProcessor

_EMBEDDINGS = 0.1
_WORDS = 'language_model.embed_tokens.weight'
# What belongs to the cells of a picture.
_PLACES = {
    'vision_tower.embeddings.position_embedding.weight',
    'perceiver.position',
    'image_token_fusion.position',
}
_LAYERS = (nn.Linear, nn.Conv2d, nn.LayerNorm, nn.GroupNorm, nn.BatchNorm2d)


@torch.no_grad()
def start_from_nothing(model: InstructSegModel) -> None:
    """Give every parameter its start value, from torch's current random state."""
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=_EMBEDDINGS)
        elif isinstance(module, _LAYERS):
            module.reset_parameters()
    for module in model.modules():
        if isinstance(module, Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention):
            _look_around(module)
        elif isinstance(module, WindowedCrossAttention):
            # Keys start as queries do: what looks alike attends to each other.
            module.to_kv.weight[: len(module.to_q.weight)] = module.to_q.weight
    # Zeros, the start value of the released model, cannot be told apart by a small one.
    nn.init.normal_(model.seg_query, std=_EMBEDDINGS)
    nn.init.normal_(model.pixel_branch.decoder.level_embed, std=_EMBEDDINGS)


@torch.no_grad()
def start_from_model(name: str, processor: InstructSegProcessor, model: InstructSegModel) -> None:
    """Give a model the weights of another, which may know fewer words and see other picture sizes.

    Raises:
        ValueError: the other one knows words that this one does not, or has another shape.
    """
    other, other_processor = load_model(find_model(name))
    words, known = processor.tokenizer.get_vocab(), other_processor.tokenizer.get_vocab()
    if not known.keys() <= words.keys():
        raise ValueError(f'{name} knows other words than the tabletop: train from nothing')
    state, embeddings = other.state_dict(), model.get_input_embeddings().weight.clone()
    try:
        embeddings[[words[word] for word in known]] = state[_WORDS][[*known.values()]]
        state[_WORDS] = embeddings
        for place in state.keys() & _PLACES:
            state[place] = _spread(state[place], model.config.image_tokens)
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f'{name} has another shape than the embedded model: {error}') from error


def _spread(places: torch.Tensor, cells: int) -> torch.Tensor:
    """(V, D) embeddings of the cells of a square -> (cells, D) of a finer or coarser one."""
    side, wanted = math.isqrt(len(places)), math.isqrt(cells)
    square = places.T.unflatten(1, (side, side))[None]
    resized = functional.interpolate(square, (wanted, wanted), mode='bilinear')
    return resized[0].flatten(1).T.contiguous()


def _look_around(attention: Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention) -> None:
    """Sampling points in a different direction for each head, further out for each point."""
    angles = torch.arange(attention.n_heads) * (2 * math.pi / attention.n_heads)
    direction = torch.stack([angles.cos(), angles.sin()], dim=-1)
    direction = direction / direction.abs().amax(dim=-1, keepdim=True)
    reach = torch.arange(1, attention.n_points + 1)[:, None]
    shape = (attention.n_heads, attention.n_levels, attention.n_points, 2)
    offsets = (direction[:, None, None] * reach).expand(shape)
    nn.init.zeros_(attention.sampling_offsets.weight)
    attention.sampling_offsets.bias.copy_(offsets.flatten())
    nn.init.zeros_(attention.attention_weights.weight)
    nn.init.zeros_(attention.attention_weights.bias)
