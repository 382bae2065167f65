"""Finds objects that a user taught the model, on renderings and on photographs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from instructseg_ros.model.composition import label_components, true_size
from instructseg_ros.model.noun_finder import (
    NounNetwork,
    choose_parts,
    named_colors,
    resize_to_cells,
    to_pixels,
)
from instructseg_ros.model.noun_query import COLORS, NounQuery
from instructseg_ros.model.pixel_branch import resize
from instructseg_ros.model.prediction import calibrated, log_odds
from instructseg_ros.model.processor import stretch_levels
from instructseg_ros.model.taught_network import TaughtNetwork, view_of

EVERY_OBJECT: Final = 'every object'  # finds what the view head names
_LONGEST: Final = 640  # longer side of a photograph, pixels
_MIN_SHARE: Final = 3e-4  # of an image, in one object
_SPECK: Final = 0.05  # share of the largest part; smaller parts are no objects
_MOST_PARTS: Final = 2  # of an object, of other colors
_SURE: Final = 4.0  # log-odds from which a name is certain
_COVERED: Final = 0.4  # share of an object from which a part of it shows nothing else
_SHARED: Final = 0.3  # of the smaller of two masks from which both show one object


class TaughtFinder:
    """Finds the objects of taught nouns; not thread-safe."""

    def __init__(self, network: TaughtNetwork, device: torch.device, *, threshold: float) -> None:
        """Move the network to a device.

        Args:
            network: The network.
            device: Where the network runs.
            threshold: Score that an object gets which just counts as found.
        """
        self._network = network.to(device).eval()
        self._device = device
        self._threshold = threshold
        self._index = {noun.name: index for index, noun in enumerate(network.nouns)}

    @classmethod
    def from_folder(
        cls, folder: Path, backbone: NounNetwork, device: torch.device, *, threshold: float
    ) -> TaughtFinder | None:
        """Load the finder of a model; None if it was taught nothing."""
        network = TaughtNetwork.load(folder, backbone)
        return None if network is None else cls(network, device, threshold=threshold)

    def choose(
        self, image: Image.Image, objects: Sequence[np.ndarray], queries: Sequence[NounQuery]
    ) -> list[tuple[list[np.ndarray], float]]:
        """Choose among the objects of a rendering.

        To InstructSeg, what lies in a bowl is often one object with it. Parts of another color and
        parts whose pixels have a taught name are candidates, too.

        Args:
            image: The picture.
            objects: (H, W) bool mask of each object in it.
            queries: Queries with taught nouns.

        Returns:
            For each query, the masks of the objects that it means, and its score.
        """
        colors = named_colors(np.asarray(image))
        parts = [part for each in self._name_pixels(image) for part in _parts(each)]
        parts += [part for mask in objects for part in _colored_parts(mask, colors)]
        candidates = [*objects, *(part for part in parts if not _is_known(part, objects))]
        found = self._name_objects(image, candidates)
        answers = []
        for query in queries:
            index = self._index[query.taught]
            threshold = self._network.nouns[index].view_threshold
            named = [
                (float(row[index]), mask)
                for mask, row in zip(candidates, found, strict=True)
                if row[index] == row.max()
            ]
            best = max((probability for probability, _ in named), default=0.0)
            mine = sorted((each for each in named if each[0] >= threshold), key=_rank, reverse=True)
            kept = _distinct([mask for _, mask in mine])
            answers.append(self._answer(kept, colors, query, best, threshold, size_of=true_size))
        return answers

    def find(
        self, image: Image.Image, queries: Sequence[NounQuery]
    ) -> list[tuple[torch.Tensor, float]]:
        """Find what queries with taught nouns name on a photograph.

        Returns:
            For each query, (H, W) logits of its mask, and its score.
        """
        probabilities = self._name_pixels(image)
        colors = named_colors(np.asarray(image)) if any(each.color for each in queries) else None
        answers = []
        for query in queries:
            index = self._index[query.taught]
            mine = probabilities[index]
            parts = _parts(mine)
            sure = [float(mine[part].mean()) for part in parts]
            threshold = self._network.nouns[index].pixel_threshold
            kept = [part for part, mean in zip(parts, sure, strict=True) if mean >= threshold]
            chosen, score = self._answer(kept, colors, query, max(sure, default=0.0), threshold)
            wanted = np.any(chosen, axis=0) if chosen else np.zeros(mine.shape, bool)
            logits = log_odds(np.where(wanted, np.maximum(mine, 0.51), np.minimum(mine, 0.49)))
            answers.append((torch.from_numpy(logits), score))
        return answers

    @torch.inference_mode()
    def _name_objects(self, image: Image.Image, masks: Sequence[np.ndarray]) -> np.ndarray:
        """Return (N, K) probabilities that N objects are called by the K taught nouns."""
        stretched = stretch_levels(image)
        features = self._network.view_features([view_of(stretched, mask) for mask in masks])
        return np.asarray(self._network.views(features).softmax(1)[:, 1:].cpu().numpy())

    @torch.inference_mode()
    def _name_pixels(self, image: Image.Image) -> np.ndarray:
        """Return (K, H, W) float32 probabilities that each pixel is called by a taught noun."""
        resized = stretch_levels(resize_to_cells(image, _LONGEST))
        logits = self._network.pixel_logits(to_pixels([np.asarray(resized)]).to(self._device))
        full = resize(logits, (image.height, image.width)).softmax(1)
        return np.asarray(full[0, 1:].cpu().numpy())

    def _answer(
        self,
        parts: list[np.ndarray],
        colors: np.ndarray | None,
        query: NounQuery,
        best: float,
        threshold: float,
        size_of: Callable[[np.ndarray], float] = np.sum,
    ) -> tuple[list[np.ndarray], float]:
        """Choose by color, size and place; return the chosen parts and the score.

        A score of `threshold` becomes the one from which the model counts objects as found.
        """
        chosen = choose_parts(parts, colors, query, size_of)
        if query.unread or (parts and not chosen):
            return [], 0.0
        shift = float(log_odds(self._threshold) - log_odds(threshold))
        return chosen, float(calibrated(best, 1.0, shift))


def _parts(probability: np.ndarray) -> list[np.ndarray]:
    """Return the connected parts of the likely pixels that are large enough to be objects."""
    labels, _ = label_components(probability > 0.5)
    areas = np.bincount(labels.ravel())[1:]
    least = max(_MIN_SHARE * labels.size, _SPECK * areas.max(initial=0))
    return [labels == number for number in np.flatnonzero(areas >= least) + 1]


def _colored_parts(mask: np.ndarray, colors: np.ndarray) -> list[np.ndarray]:
    """Return the largest parts of an object that differ from most of it in color, not by shade.

    Args:
        mask: (H, W) bool, the object.
        colors: (H, W) indices in `COLORS`.
    """
    counts = np.bincount(colors[mask], minlength=len(COLORS))
    others = np.flatnonzero(counts >= _MIN_SHARE * mask.size)
    parts = []
    for color in set(others.tolist()) - {int(counts.argmax()), COLORS.index('black')}:
        window = ndimage.find_objects(mask.astype(np.uint8))[0]
        closed = ndimage.binary_closing(mask[window] & (colors[window] == color), iterations=2)
        labels, _ = label_components(ndimage.binary_fill_holes(closed) & mask[window])
        areas = np.bincount(labels.ravel())[1:]
        if areas.max(initial=0) >= _MIN_SHARE * mask.size:
            part = np.zeros_like(mask)
            part[window] = labels == areas.argmax() + 1
            parts.append(part)
    return sorted(parts, key=np.sum)[-_MOST_PARTS:]


def _is_known(part: np.ndarray, objects: Sequence[np.ndarray]) -> bool:
    """Return whether a part covers most of an object, which then has the better outline."""
    return any(part[each].mean() >= _COVERED for each in objects)


def _rank(candidate: tuple[float, np.ndarray]) -> float:
    """Return how well a candidate shows an object: well named, and all of it."""
    probability, mask = candidate
    return min(float(log_odds(probability)), _SURE) + float(np.log(mask.sum()))


def _distinct(masks: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Drop masks that overlap an earlier one: both show one object."""
    kept: list[np.ndarray] = []
    for mask in masks:
        if all(mask[each].sum() < _SHARED * min(mask.sum(), each.sum()) for each in kept):
            kept.append(mask)
    return kept
