"""Finds what a noun names on a photograph, with an image classifier.

A classifier that was trained on photographs of a thousand classes tells, for every cell of its last
map, which classes it sees there (class activation maps: Zhou et al., CVPR 2016). Around the cells
where it sees those of a noun, a small head finds the whole object.
"""

from __future__ import annotations

import dataclasses
import json
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from instructseg_ros.model.composition import label_components
from instructseg_ros.model.efficientnet import EfficientNetLite
from instructseg_ros.model.model_files import NOUN_WEIGHTS, NOUNS
from instructseg_ros.model.noun_query import COLORS, NounQuery, NounReader
from instructseg_ros.model.pixel_branch import resize
from instructseg_ros.model.processor import normalize

CLASSES: Final = 1000
_HIDDEN: Final = 1280
_WIDTH: Final = 64
_CELL: Final = 32  # pixels of a cell of the last map
_TINY = 1e-6
_SIZES: Final = (448, 320, 640)  # longer sides of an image, pixels; the first gives the mask
_SMALL: Final = 320  # longer side at which photographs are told from renderings
_CAMERAS: Final = 8  # whose last images are remembered
_SAME_SCENE: Final = 12.0  # mean difference of thumbnails up to which two images are alike
_MIN_CELLS: Final = 6  # of stride 4, in one object
_HAS_COLOR: Final = 0.25  # share of an object's cells with a color from which it has that color
_IS_BLACK: Final = 0.6  # likewise for black


@dataclasses.dataclass(frozen=True, kw_only=True)
class Look:
    """The classifier's features and class probabilities for an image at one or several sizes.

    Args:
        features: (1, D, h, w) features at stride 4 of the first size.
        hidden: (1, 1280, h, w) features of cells, one tensor for each size.
        classes: (1, 1000, h, w) probabilities of the classes in each cell, one for each size.
    """

    features: torch.Tensor = dataclasses.field(repr=False)
    hidden: tuple[torch.Tensor, ...] = dataclasses.field(repr=False)
    classes: tuple[torch.Tensor, ...] = dataclasses.field(repr=False)


class NounNetwork(nn.Module):
    """An ImageNet classifier that names cells, and a head that turns them into a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = EfficientNetLite()
        self.hidden = nn.Conv2d(self.backbone.channels[-1], _HIDDEN, 1)
        self.classifier = nn.Conv2d(_HIDDEN, CLASSES, 1)
        self.photograph = nn.Linear(_HIDDEN, 1)
        self.lateral = nn.ModuleList(nn.Conv2d(n, _WIDTH, 1) for n in self.backbone.channels)
        self.smooth = nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1)
        self.join = nn.Conv2d(2 * _WIDTH + 2, _WIDTH, 3, padding=1)
        # Factor of a score's log-odds, and the score from which an object counts as found.
        self.register_buffer('calibration', torch.tensor([1.0, 0.5]))
        self.mask = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(_WIDTH, _WIDTH, 3, padding=2, dilation=2),
            nn.ReLU(),
            nn.Conv2d(_WIDTH, 1, 1),
        )

    @classmethod
    def load(cls, folder: Path) -> NounNetwork:
        """Read the network of a model folder."""
        network = cls()
        weights = load_file(folder / NOUN_WEIGHTS)
        network.load_state_dict({name: value.float() for name, value in weights.items()})
        return network.to(memory_format=torch.channels_last).eval()

    def look(self, images: Sequence[torch.Tensor]) -> Look:
        """Encode one image (1, 3, H, W), normalised, at several sizes; the first gives the mask."""
        maps = [self.backbone(image) for image in images]
        hidden = tuple(self.cells(each) for each in maps)
        return Look(
            features=self.features(maps[0]),
            hidden=hidden,
            classes=tuple(self.classes(each) for each in hidden),
        )

    def cells(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the (B, 1280, h, w) features of cells, which the classifier reads."""
        return functional.relu6(self.hidden(maps[-1]))

    def classes(self, cells: torch.Tensor) -> torch.Tensor:
        """Return the (B, 1000, h, w) probabilities of the classes in every cell.

        A cell is seen with its neighbours, as the classifier was trained on larger parts.
        """
        near = functional.avg_pool2d(cells, 3, 1, 1, count_include_pad=False)
        return self.classifier(near).softmax(1)

    def features(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return (B, D, h, w) features at stride 4."""
        size = maps[0].shape[-2:]
        parts = [
            resize(lateral(each), size) for lateral, each in zip(self.lateral, maps, strict=True)
        ]
        return functional.relu(self.smooth(torch.stack(parts).sum(0)))

    def evidence(self, look: Look, classes: Sequence[int]) -> torch.Tensor:
        """Return the (1, 1, h, w) probability that a cell shows any of the classes, at stride 4."""
        size = look.features.shape[-2:]
        found = [each[:, list(classes)].sum(1, keepdim=True) for each in look.classes]
        return torch.stack([resize(each, size) for each in found]).mean(0)

    def score(self, look: Look, classes: Sequence[int], evidence: torch.Tensor) -> float:
        """Return the probability of the classes for the mean of all cells, weighted by evidence."""
        scores = []
        for cells in look.hidden:
            weights = functional.adaptive_avg_pool2d(evidence, cells.shape[-2:])
            pooled = (cells * weights).sum((2, 3), keepdim=True) / weights.sum().clamp(min=_TINY)
            scores.append(self.classifier(pooled).softmax(1)[:, list(classes)].sum())
        return float(torch.stack(scores).mean())

    def calibrated(self, score: float, threshold: float) -> float:
        """Return a score that reaches `threshold` if the object counts as found."""
        factor, found = self.calibration
        distance = torch.tensor(score).logit(eps=_TINY) - found.logit(eps=_TINY)
        return float((factor * distance + torch.tensor(threshold).logit(eps=_TINY)).sigmoid())

    def segment(self, features: torch.Tensor, evidence: torch.Tensor) -> torch.Tensor:
        """Return (B, 1, h, w) mask logits for features (B, D, h, w) and evidence (B, 1, h, w)."""
        share = evidence / evidence.amax((2, 3), keepdim=True).clamp(min=_TINY)
        likely = (features * share).sum((2, 3), keepdim=True)
        typical = likely / share.sum((2, 3), keepdim=True).clamp(min=_TINY)
        joined = torch.cat([features, features * typical, share, share**3], dim=1)
        return self.mask(self.join(joined))


class NounFinder:
    """Answers instructions that name an object on a photograph; not thread-safe."""

    def __init__(
        self,
        network: NounNetwork,
        reader: NounReader,
        device: torch.device,
        *,
        threshold: float = 0.5,
    ) -> None:
        """Move the network to a device.

        Args:
            network: The network.
            reader: Reads instructions.
            device: Where the network runs.
            threshold: Score that an object gets which just counts as found.
        """
        self._threshold = threshold
        self._network = network.to(device, memory_format=torch.channels_last).eval()
        self._reader = reader
        self._device = device
        self._judged: deque[tuple[np.ndarray, bool]] = deque(maxlen=_CAMERAS)

    @classmethod
    def from_folder(
        cls,
        folder: Path,
        device: torch.device,
        *,
        threshold: float = 0.5,
        taught: Sequence[str] = (),
    ) -> NounFinder | None:
        """Load the finder of a model; None if it has none.

        Args:
            folder: Folder of the model.
            device, threshold: See the initialiser.
            taught: Nouns that the model was taught, see `NounReader`.
        """
        if not (folder / NOUN_WEIGHTS).is_file():
            return None
        reader = NounReader(json.loads((folder / NOUNS).read_text()), taught)
        return cls(NounNetwork.load(folder), reader, device, threshold=threshold)

    def read(self, text: str) -> NounQuery | None:
        """Return the object that an instruction names, if the classifier knows it."""
        return self._reader.read(text)

    def is_noun(self, word: str) -> bool:
        """Return whether a word in lower case is a noun that the classifier knows."""
        return self._reader.is_noun(word)

    def is_taught(self, word: str) -> bool:
        """Return whether a word in lower case belongs to a noun that the model was taught."""
        return self._reader.is_taught(word)

    @property
    def network(self) -> NounNetwork:
        """The network, which heads of taught nouns share."""
        return self._network

    @torch.inference_mode()
    def is_photograph(self, image: Image.Image) -> bool:
        """Return whether an image is a photograph and not rendered.

        The images of a camera are of one kind: its last result holds until its image changes.
        """
        thumbnail = np.asarray(image.resize((16, 12), Image.Resampling.BOX), np.float32)
        for known, result in self._judged:
            if np.abs(thumbnail - known).mean() < _SAME_SCENE:
                return result
        result = bool(self._network.photograph(self.summary(image)) > 0)
        self._judged.append((thumbnail, result))
        return result

    @torch.inference_mode()
    def summary(self, image: Image.Image) -> torch.Tensor:
        """Return the (1, 1280) mean of all cells, which tells photographs from renderings."""
        maps = self._network.backbone(self._pixels(image, _SMALL))
        return self._network.cells(maps).mean((2, 3))

    @torch.inference_mode()
    def scores(self, image: Image.Image, queries: Sequence[NounQuery]) -> list[float]:
        """Return the scores of what queries name, before they are calibrated."""
        look = self._look(image)
        return [
            self._network.score(look, each.classes, self._network.evidence(look, each.classes))
            for each in queries
        ]

    @torch.inference_mode()
    def find(
        self, image: Image.Image, queries: Sequence[NounQuery]
    ) -> list[tuple[torch.Tensor, float]]:
        """Find what each query names.

        Args:
            image: (H, W) RGB.
            queries: Results of `read`.

        Returns:
            For each query, (H, W) logits of its mask, and its score.
        """
        look = self._look(image)
        colors = None
        answers = []
        for query in queries:
            evidence = self._network.evidence(look, query.classes)
            score = self._network.score(look, query.classes, evidence)
            score = self._network.calibrated(score, self._threshold)
            logits = self._network.segment(look.features, evidence)[0, 0]
            if query.color and colors is None:
                small = image.resize(logits.shape[::-1], Image.Resampling.BOX)
                colors = named_colors(np.asarray(small))
            chosen = choose_objects(logits.cpu().numpy() > 0, colors, query)
            wanted = torch.from_numpy(chosen).to(logits.device)
            logits = torch.where(wanted | (logits <= 0), logits, -logits)
            full = resize(logits[None, None], (image.height, image.width))[0, 0]
            answers.append((full, 0.0 if query.unread or not chosen.any() else score))
        return answers

    def _look(self, image: Image.Image) -> Look:
        return self._network.look([self._pixels(image, size) for size in _SIZES])

    def _pixels(self, image: Image.Image, longest: int) -> torch.Tensor:
        return to_pixels([np.asarray(resize_to_cells(image, longest))]).to(self._device)


def resize_to_cells(image: Image.Image, longest: int) -> Image.Image:
    """Resize an image to a longer side of about `longest` pixels, and to whole cells."""
    scale = longest / max(image.size) / _CELL
    width, height = (max(1, round(side * scale)) * _CELL for side in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def to_pixels(images: Sequence[np.ndarray]) -> torch.Tensor:
    """Convert (H, W, 3) uint8 RGB images of equal size to (B, 3, H, W) normalised pixels."""
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    return normalize(pixels).contiguous(memory_format=torch.channels_last)


def choose_objects(mask: np.ndarray, colors: np.ndarray | None, query: NounQuery) -> np.ndarray:
    """Choose among the connected parts of a mask by color, size and side.

    Args:
        mask: (h, w) bool.
        colors: (h, w) indices in `COLORS`; None if the query has no color.
        query: The object to choose.

    Returns:
        (h, w) bool, a part of the mask.
    """
    labels, count = label_components(mask)
    parts = [labels == number for number in range(1, count + 1)]
    parts = choose_parts([part for part in parts if part.sum() >= _MIN_CELLS], colors, query)
    return np.any(parts, axis=0) if parts else np.zeros_like(mask)


def choose_parts(
    parts: list[np.ndarray],
    colors: np.ndarray | None,
    query: NounQuery,
    size_of: Callable[[np.ndarray], float] = np.sum,
) -> list[np.ndarray]:
    """Choose among the (h, w) bool masks of objects by color, size and side."""
    if query.color and colors is not None:
        wanted = colors == COLORS.index(query.color)
        shares = [float(wanted[part].mean()) for part in parts]
        # Shadows make a part of most objects black.
        least = _IS_BLACK if query.color == 'black' else _HAS_COLOR
        least = max(least, 0.5 * max(shares, default=0.0))
        parts = [part for part, share in zip(parts, shares, strict=True) if share >= least]
    if parts and (query.size or query.side):
        sign = -1 if query.size == 'largest' or query.side in ('right', 'bottom') else 1
        parts = [min(parts, key=lambda part: sign * _measure(part, query, size_of))]
    return parts


def _measure(part: np.ndarray, query: NounQuery, size_of: Callable[[np.ndarray], float]) -> float:
    """Return what decides between parts: their size or the place of their centre."""
    if query.size:
        return float(size_of(part))
    rows, columns = (float(axis.mean()) for axis in np.nonzero(part))
    if query.side == 'middle':
        return abs(columns - part.shape[1] / 2)
    return rows if query.side in ('top', 'bottom') else columns


# Hues in degrees up to which a color reaches; red continues at the other end.
_HUES: Final = (
    *((15, 'red'), (42, 'orange'), (70, 'yellow'), (165, 'green'), (255, 'blue')),
    *((290, 'purple'), (345, 'pink'), (360, 'red')),
)


def named_colors(pixels: np.ndarray) -> np.ndarray:
    """Name the colors of (h, w, 3) uint8 RGB pixels: (h, w) indices in `COLORS`."""
    hue, saturation, value = np.moveaxis(
        np.asarray(Image.fromarray(pixels).convert('HSV'), np.float32) / 255, -1, 0
    )
    index = {name: number for number, name in enumerate(COLORS)}
    ends = np.array([end for end, _ in _HUES]) / 360
    names = np.array([index[name] for _, name in _HUES])
    colors = names[np.searchsorted(ends, np.minimum(hue, 1.0))]
    warm = np.isin(colors, (index['red'], index['orange']))
    colors = np.where(warm & (value < 0.6) & (saturation < 0.8), index['brown'], colors)
    colors = np.where(warm & (value > 0.8) & (saturation < 0.45), index['pink'], colors)
    wine = (hue > 0.9) & (value < 0.75) & (saturation > 0.5)
    colors = np.where(wine, index['red'], colors)
    gray = saturation < 0.17
    colors = np.where(gray, index['gray'], colors)
    colors = np.where(gray & (value > 0.75), index['white'], colors)
    return np.where(value < 0.22, index['black'], colors)
