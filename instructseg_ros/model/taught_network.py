"""Recognises objects that a user taught the model, by small heads on the noun finder's backbone.

On renderings, InstructSeg finds all objects, and a linear classifier names each of them from an
enlarged view of it. On photographs, a convolutional head names every pixel. Both read features of
EfficientNet-Lite0 that stay as they are, so nothing else that the model knows can change.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from instructseg_ros.model.model_files import TAUGHT, TAUGHT_WEIGHTS
from instructseg_ros.model.noun_finder import NounNetwork, to_pixels
from instructseg_ros.model.pixel_branch import resize
from instructseg_ros.model.precision import computes_bfloat16

VIEW: Final = 160  # side of an object's view, pixels
AROUND: Final = 1.3  # side of a view, in longer sides of the object
_WIDTH: Final = 64
_BATCH: Final = 16  # views that go through the backbone together
_GRAY: Final = (124, 116, 104)  # ImageNet's mean color
_TINY: Final = 1e-6


class PixelHead(nn.Module):
    """Names every pixel of an image: background or one of K taught nouns.

    A pixel's context comes from dilated convolutions at stride 16; its edges from stride 4.
    """

    def __init__(self, channels: Sequence[int], features: int, nouns: int) -> None:
        super().__init__()
        self.wide = nn.ModuleList(nn.Conv2d(each, _WIDTH, 1) for each in channels)
        self.context = nn.ModuleList(
            nn.Conv2d(_WIDTH, _WIDTH, 3, padding=step, dilation=step) for step in (1, 2, 3)
        )
        self.fine = nn.ModuleList(nn.Conv2d(each, _WIDTH, 1) for each in (*channels, features))
        self.join = nn.Conv2d(_WIDTH, _WIDTH, 1)
        self.name = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(_WIDTH, 1 + nouns, 1),
        )

    def forward(self, maps: Sequence[torch.Tensor], features: torch.Tensor) -> torch.Tensor:
        """Compute (B, 1 + K, h, w) logits at stride 4.

        Args:
            maps: Maps of the backbone at strides 4, 8, 16 and 32.
            features: (B, D, h, w) `NounNetwork.features` at stride 4.
        """
        fine, middle = maps[0].shape[-2:], maps[2].shape[-2:]
        context = torch.zeros((), device=features.device)
        for layer, x in zip(self.wide, maps, strict=True):
            context = context + _to(layer(x), middle)
        for layer in self.context:
            context = context + layer(functional.relu(context))
        sides = resize(self.join(functional.relu(context)), fine)
        for layer, x in zip(self.fine, (*maps, features), strict=True):
            sides = sides + resize(layer(x), fine)
        return self.name(sides)


def _to(x: torch.Tensor, size: torch.Size) -> torch.Tensor:
    if x.shape[-1] > size[-1]:
        return functional.adaptive_avg_pool2d(x, size)
    return resize(x, size)


class ViewHead(nn.Module):
    """Names an object from the features of its view: something else or one of K taught nouns."""

    def __init__(self, features: int, nouns: int) -> None:
        super().__init__()
        self.register_buffer('mean', torch.zeros(features))
        self.register_buffer('spread', torch.ones(features))
        self.name = nn.Linear(features, 1 + nouns)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Compute (N, 1 + K) logits from (N, D) features."""
        return self.name((features - self.mean) / self.spread)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaughtNoun:
    """A noun that a model was taught.

    Attributes:
        name: The noun in lower case, singular.
        view_threshold: Probability from which the object in a view counts as found.
        pixel_threshold: Mean probability of its pixels from which an object counts as found.
        examples: Number of example pictures that contain it.
    """

    name: str
    view_threshold: float = 0.5
    pixel_threshold: float = 0.75
    examples: int = 0


class TaughtNetwork(nn.Module):
    """The heads for some taught nouns, on a backbone that they share with the noun finder."""

    def __init__(self, nouns: Sequence[TaughtNoun], backbone: NounNetwork) -> None:
        super().__init__()
        self.nouns = tuple(nouns)
        self.backbone = backbone
        channels = backbone.backbone.channels
        hidden = backbone.classifier.in_channels
        self.pixels = PixelHead(channels, backbone.smooth.out_channels, len(self.nouns))
        self.views = ViewHead(sum(channels[1:]) + hidden, len(self.nouns))

    def pixel_logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """Compute (B, 1 + K, h, w) logits at stride 4 from (B, 3, H, W) normalised pixels."""
        with torch.no_grad(), _fast(pixels.device):
            maps = self.backbone.backbone(pixels)
            features = self.backbone.features(maps)
        return self.pixels([each.float() for each in maps], features.float())

    @torch.no_grad()
    def view_features(self, views: Sequence[View]) -> torch.Tensor:
        """Compute (N, D) features of objects, the means of the cells that they cover."""
        parts = [self._features(views[i : i + _BATCH]) for i in range(0, len(views), _BATCH)]
        return torch.cat(parts) if parts else self.views.mean.new_empty(0, len(self.views.mean))

    def _features(self, views: Sequence[View]) -> torch.Tensor:
        pixels = to_pixels([view.image for view in views]).to(self.views.mean.device)
        with _fast(pixels.device):
            maps = self.backbone.backbone(pixels)
            cells = self.backbone.cells(maps)
        masks = torch.from_numpy(np.stack([view.mask for view in views]))[:, None].to(pixels)
        levels = [each.float() for each in (*maps[1:], cells)]
        return torch.cat([_covered_mean(each, masks) for each in levels], dim=1)

    def save(self, folder: Path) -> None:
        """Write the heads and the nouns into a model folder."""
        weights = {
            name: value.contiguous()
            for name, value in self.state_dict().items()
            if not name.startswith('backbone.')
        }
        save_file(weights, folder / TAUGHT_WEIGHTS)
        nouns = [dataclasses.asdict(noun) for noun in self.nouns]
        (folder / TAUGHT).write_text(json.dumps(nouns, indent=1) + '\n')

    @classmethod
    def load(cls, folder: Path, backbone: NounNetwork) -> TaughtNetwork | None:
        """Read the heads of a model folder; None if it was taught nothing."""
        nouns = read_taught(folder)
        if not nouns:
            return None
        network = cls(nouns, backbone)
        weights = load_file(folder / TAUGHT_WEIGHTS)
        network.load_state_dict(weights | _named(backbone.state_dict(), 'backbone.'))
        return network


def _fast(device: torch.device) -> AbstractContextManager[object]:
    """Compute the frozen backbone in bfloat16 where the processor does that in hardware."""
    if device.type == 'cpu' and _has_bfloat16():
        return torch.autocast('cpu', torch.bfloat16)
    return nullcontext()


@functools.cache
def _has_bfloat16() -> bool:
    return computes_bfloat16(torch.device('cpu'))


def _named(state: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in state.items()}


def read_taught(folder: Path) -> list[TaughtNoun]:
    """Read the nouns that a model was taught; none if it has no such list."""
    file = folder / TAUGHT
    return [TaughtNoun(**each) for each in json.loads(file.read_text())] if file.is_file() else []


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """An enlarged part of a picture with one object in its middle.

    Attributes:
        image: (S, S, 3) uint8 RGB.
        mask: (S, S) float32, the share of each pixel that the object covers.
    """

    image: np.ndarray = dataclasses.field(repr=False)
    mask: np.ndarray = dataclasses.field(repr=False)


def view_of(image: Image.Image, mask: np.ndarray, around: float = AROUND) -> View:
    """Cut out the view of an object.

    Args:
        image: The picture.
        mask: (H, W) bool, the object; at least one pixel.
        around: Side of the view, in longer sides of the object.
    """
    rows, columns = np.nonzero(mask)
    top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    side = max(bottom - top, right - left) * around + 8
    x, y = (left + right - side) / 2, (top + bottom - side) / 2
    scale = VIEW / side
    box = (max(x, 0), max(y, 0), min(x + side, image.width), min(y + side, image.height))
    at = (round((box[0] - x) * scale), round((box[1] - y) * scale))
    size = tuple(max(1, round((box[i + 2] - box[i]) * scale)) for i in (0, 1))
    whole, covered = Image.new('RGB', (VIEW, VIEW), _GRAY), Image.new('L', (VIEW, VIEW))
    whole.paste(image.resize(size, Image.Resampling.BILINEAR, box), at)
    labels = Image.fromarray(mask.astype(np.uint8) * 255)
    covered.paste(labels.resize(size, Image.Resampling.BILINEAR, box), at)
    return View(image=np.asarray(whole), mask=np.asarray(covered, np.float32) / 255)


def _covered_mean(cells: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Return (N, C) unit means of (N, C, h, w) cells that an object mostly covers."""
    weights = functional.adaptive_avg_pool2d(masks, cells.shape[-2:])
    weights = weights * (weights > 0.5 * weights.amax((2, 3), keepdim=True))
    mean = (cells * weights).sum((2, 3)) / weights.sum((2, 3)).clamp(min=_TINY)
    return functional.normalize(mean, dim=1)
