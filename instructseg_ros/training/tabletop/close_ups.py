"""Key frames seen from nearer: more pictures of the same scenes for the tower."""

from __future__ import annotations

import numpy as np
from PIL import Image

from instructseg_ros.training.tabletop.pictures import as_seen
from instructseg_ros.training.tabletop.scenes import DEPTH, EXISTS, SceneStore, U, V

_WHOLE = 0.5  # share of the pictures that stay as they are
_MOST = 1.3  # how much nearer others come


def close_ups(
    store: SceneStore, indices: np.ndarray, rng: np.random.Generator, *, mirrored: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parts of key frames or of their mirror images, each as large as the whole was.

    Returns:
        (B, S, S, 3) uint8 pictures, (B, MAX_THINGS, 11) things and (B, H, W) labels.
    """
    things, labels = store.key_frames(indices, mirrored=mirrored)
    pictures = as_seen(store.vision[indices, -1], mirrored=mirrored)
    for one in np.flatnonzero(rng.random(len(indices)) >= _WHOLE):
        nearer = float(np.exp(rng.uniform(0, np.log(_MOST))))
        corner = rng.uniform(0, 1 - 1 / nearer, 2)
        image = as_seen(store.image[indices[one]], mirrored=mirrored)
        pictures[one] = _part(image, corner, nearer, pictures.shape[1:3], 'BICUBIC')
        labels[one] = _part(labels[one], corner, nearer, labels.shape[1:], 'NEAREST')
        _come_nearer(things[one], corner, nearer)
    return pictures, things, labels


def _part(
    picture: np.ndarray, corner: np.ndarray, nearer: float, size: tuple[int, ...], method: str
) -> np.ndarray:
    height, width = picture.shape[:2]
    left, top = corner * (width, height)
    box = (left, top, left + width / nearer, top + height / nearer)
    image = Image.fromarray(np.ascontiguousarray(picture))
    return np.asarray(image.resize(size[::-1], Image.Resampling[method], box))


def _come_nearer(things: np.ndarray, corner: np.ndarray, nearer: float) -> None:
    """Move (MAX_THINGS, 11) things in place; a thing whose centre is left out counts as gone.

    A camera that much nearer would see such a picture: depths shrink, sizes in metres stay.
    """
    things[:, [U, V]] = (things[:, [U, V]] - corner) * nearer
    things[:, DEPTH] /= nearer
    things[:, EXISTS] *= ((things[:, [U, V]] >= 0) & (things[:, [U, V]] < 1)).all(axis=-1)
