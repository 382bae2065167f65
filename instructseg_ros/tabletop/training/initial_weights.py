"""Initial weights of a training: random ones, or those of another model.

transformers initialises its layers for fine-tuning, with a standard deviation of 0.02. Layers as
narrow as the embedded model's train faster from PyTorch's defaults, which grow as width shrinks.
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
# Position embeddings of the cells of an image.
_POSITIONS = {
    'vision_tower.embeddings.position_embedding.weight',
    'perceiver.position',
    'image_token_fusion.position',
}
_LAYERS = (nn.Linear, nn.Conv2d, nn.LayerNorm, nn.GroupNorm, nn.BatchNorm2d)


@torch.no_grad()
def initialize_from_scratch(model: InstructSegModel) -> None:
    """Initialise the layers and embeddings of a model, from torch's current random state."""
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=_EMBEDDINGS)
        elif isinstance(module, _LAYERS):
            module.reset_parameters()
    for module in model.modules():
        if isinstance(module, Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention):
            _spread_sampling_points(module)
        elif isinstance(module, WindowedCrossAttention):
            # Keys start equal to queries, so that similar tokens attend to each other.
            module.to_kv.weight[: len(module.to_q.weight)] = module.to_q.weight
    # The released model starts these two at zero; a small model cannot separate equal tokens.
    nn.init.normal_(model.seg_query, std=_EMBEDDINGS)
    nn.init.normal_(model.pixel_branch.decoder.level_embed, std=_EMBEDDINGS)


@torch.no_grad()
def initialize_from_model(
    name: str, processor: InstructSegProcessor, model: InstructSegModel
) -> torch.Tensor:
    """Copy the weights of another model, which may have fewer words and another image size.

    Args:
        name: "embedded", or the other model's folder or hub id.
        processor: Processor of `model`.

    Returns:
        (V,) bool, the words of `model` that the other model knows.

    Raises:
        ValueError: The other model has words that this one lacks, or another architecture.
    """
    other, other_processor = load_model(find_model(name))
    words, others = processor.tokenizer.get_vocab(), other_processor.tokenizer.get_vocab()
    if not others.keys() <= words.keys():
        raise ValueError(f'{name} has words unknown to the tabletop: train without --model')
    state, embeddings = other.state_dict(), model.get_input_embeddings().weight.clone()
    try:
        shared = [words[word] for word in others]
        embeddings[shared] = state[_WORDS][[*others.values()]]
        state[_WORDS] = embeddings
        for key in state.keys() & _POSITIONS:
            state[key] = _resize(state[key], model.config.image_tokens)
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f'{name} differs in shape from the embedded model: {error}') from error
    learned = torch.zeros(len(embeddings), dtype=torch.bool)
    learned[shared] = True
    return learned


def _resize(positions: torch.Tensor, cells: int) -> torch.Tensor:
    """Resize (V, D) embeddings of a square of cells to (cells, D)."""
    side, wanted = math.isqrt(len(positions)), math.isqrt(cells)
    square = positions.T.unflatten(1, (side, side))[None]
    resized = functional.interpolate(square, (wanted, wanted), mode='bilinear')
    return resized[0].flatten(1).T.contiguous()


def _spread_sampling_points(
    attention: Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention,
) -> None:
    """Make each head sample in its own direction, each point farther out than the one before."""
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
