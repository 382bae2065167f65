"""EfficientNet-Lite0: a small image backbone that was trained on photographs."""

from __future__ import annotations

from typing import Final

import torch
from torch import nn
from torch.nn import functional

# Expansion, kernel, stride, channels and repeats of each group of blocks: EfficientNet-B0 (Tan and
# Le 2019, table 1), whose Lite variant has ReLU6 and no squeeze-and-excitation.
_GROUPS: Final = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
_STEM: Final = 32
# Groups after which a feature map is returned, at strides 4, 8, 16 and 32.
_RETURNED: Final = (1, 2, 4, 6)


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite0 without its classifier.

    Its batch norms are part of the convolutions, as at inference, and its first convolution expects
    pixels from `processor.normalize`.

    Attributes:
        channels: Channels of the maps.
    """

    channels = tuple(_GROUPS[index][3] for index in _RETURNED)

    def __init__(self) -> None:
        super().__init__()
        self.stem = _Convolution(3, _STEM, 3, stride=2)
        self.groups = nn.ModuleList()
        width = _STEM
        for expansion, kernel, stride, channels, repeats in _GROUPS:
            blocks = []
            for number in range(repeats):
                step = stride if number == 0 else 1
                blocks.append(_Block(width, channels, expansion, kernel, step))
                width = channels
            self.groups.append(nn.Sequential(*blocks))

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Compute maps (B, C, h, w) at strides 4, 8, 16 and 32 of (B, 3, H, W) pixels."""
        x = functional.relu6(self.stem(pixel_values))
        maps = []
        for index, group in enumerate(self.groups):
            x = group(x)
            if index in _RETURNED:
                maps.append(x)
        return tuple(maps)


class _Convolution(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding: strided ones pad more at right and bottom."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int, groups: int = 1
    ) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding, groups=groups)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the convolution to (B, inputs, h, w), of which h and w are multiples of stride."""
        if self.stride[0] > 1:
            before, after = (self.kernel_size[0] - 2) // 2, (self.kernel_size[0] - 1) // 2
            x = functional.pad(x, (before, after, before, after))
        return super().forward(x)


class _Block(nn.Module):
    """An inverted residual block: expand, convolve each channel, project."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.expand = nn.Conv2d(inputs, width, 1) if expansion > 1 else None
        self.depthwise = _Convolution(width, width, kernel, stride=stride, groups=width)
        self.project = nn.Conv2d(width, outputs, 1)
        self.has_residual = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = x if self.expand is None else functional.relu6(self.expand(x))
        out = self.project(functional.relu6(self.depthwise(out)))
        return x + out if self.has_residual else out
