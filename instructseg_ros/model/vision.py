"""The vision tower (SigLIP) and the projector into the language model."""

from __future__ import annotations

import torch
from torch import nn
from transformers.models.siglip.modeling_siglip import SiglipVisionModel

from instructseg_ros.model.configuration import InstructSegConfig


class VisionTower(nn.Module):
    """SigLIP up to its last used layer, without post-LayerNorm and pooling head.

    The authors select `hidden_states[-2]` (siglip_encoder.py), the second-to-last layer.
    """

    def __init__(self, config: InstructSegConfig) -> None:
        super().__init__()
        siglip = SiglipVisionModel(config.vision_config)
        self.embeddings = siglip.embeddings
        self.encoder = siglip.encoder
        if config.stem_channels:
            width = config.vision_config.hidden_size
            self.embeddings.patch_embedding = ConvolutionalStem(config.stem_channels, width)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Encode (B, 3, S, S) pixels in [-1, 1] to (B, tokens, width)."""
        # Contiguous, because every layer would otherwise keep the layout of this transposed view.
        embeddings = self.embeddings(pixel_values).contiguous()
        return self.encoder(inputs_embeds=embeddings).last_hidden_state


class Projector(nn.Sequential):
    """Maps vision features to the language model's width: Linear, exact GELU, Linear.

    This is `mlp2x_gelu` in the authors' multimodal_projector/builder.py.
    """

    def __init__(self, config: InstructSegConfig) -> None:
        width = config.hidden_size
        layers: list[nn.Module] = [
            nn.Linear(config.vision_config.hidden_size, width),
            nn.GELU(),
            nn.Linear(width, width),
        ]
        if config.projector_norm:
            layers.append(nn.LayerNorm(width))
        super().__init__(*layers)


class ConvolutionalStem(nn.Sequential):
    """Strided convolutions instead of one patch convolution; they learn from far fewer images."""

    def __init__(self, channels: tuple[int, ...], width: int) -> None:
        layers: list[nn.Module] = []
        previous = 3
        for index, size in enumerate((*channels, width)):
            layers.append(_convolution(previous, size, stride=2))
            if index >= 2:
                layers += [ResidualConvolution(size), ResidualConvolution(size)]
            previous = size
        super().__init__(*layers)

    @property
    def weight(self) -> torch.Tensor:
        """Return the weight that SigLIP's embeddings take their dtype from."""
        return self[0][0].weight


class ResidualConvolution(nn.Module):
    """Two 3x3 convolutions with a skip connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _convolution(width, width)
        self.second = nn.Sequential(*list(_convolution(width, width))[:-1])
        self.activation = nn.GELU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the block to (B, width, h, w)."""
        return self.activation(x + self.second(self.first(x)))


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.GELU(),
    )
