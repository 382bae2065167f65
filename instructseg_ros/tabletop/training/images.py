"""Converts images of scenes to tensors, and caches the features that a frozen encoder computes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from accelerate import PartialState
from PIL import Image
from tqdm import tqdm

from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.precision import computes_bfloat16
from instructseg_ros.model.processor import normalize
from instructseg_ros.tabletop.training.scene_store import DEPTH, EXISTS, SceneStore, U, V

_BATCH = 16  # scenes that are encoded together


def flipped(images: np.ndarray, *, mirrored: bool) -> np.ndarray:
    """Return (..., H, W, 3) images, or their mirror images."""
    return images[..., ::-1, :] if mirrored else images


def vision_batch(images: np.ndarray, rng: np.random.Generator | None) -> torch.Tensor:
    """Convert images for the vision tower, with random colors and noise if `rng` is given.

    The frames of one scene share their exposure, as those of one camera do.

    Args:
        images: (B, ..., S, S, 3) uint8.
        rng: Source of the augmentation; None: no augmentation.

    Returns:
        (B, ..., 3, S, S) in [-1, 1].
    """
    return _augmented(images, rng) / 127.5 - 1


def mask_batch(images: np.ndarray, rng: np.random.Generator | None) -> torch.Tensor:
    """Convert (B, H, W, 3) uint8 images to (B, 3, H, W) for the mask branch; see `vision_batch`."""
    return normalize(_augmented(images, rng)).contiguous(memory_format=torch.channels_last)


def _augmented(images: np.ndarray, rng: np.random.Generator | None) -> torch.Tensor:
    x = torch.from_numpy(np.ascontiguousarray(images)).movedim(-1, -3).float()
    if rng is None:
        return x
    size = (len(x), *[1] * (x.dim() - 1))
    gain = torch.from_numpy(rng.uniform(0.85, 1.15, size)).float()
    balance = torch.from_numpy(rng.uniform(0.96, 1.04, (*size[:-3], 3, 1, 1))).float()
    strength = torch.from_numpy(rng.uniform(0, 10, size)).float()
    noise = strength * torch.empty_like(x).uniform_(-1, 1)
    return (x * gain * balance + noise).clamp(0, 255)


_WHOLE_SHARE = 0.5  # share of the images that are not cropped
_MAX_ZOOM = 1.3


def random_crops(
    store: SceneStore, indices: np.ndarray, rng: np.random.Generator, *, mirrored: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Crop some key frames or their mirror images at random, and resize the crops to full size.

    Returns:
        (B, S, S, 3) uint8 images, (B, MAX_OBJECTS, 11) objects and (B, H, W) labels.
    """
    objects, labels = store.key_frames(indices, mirrored=mirrored)
    images = flipped(store.vision[indices, -1], mirrored=mirrored)
    for one in np.flatnonzero(rng.random(len(indices)) >= _WHOLE_SHARE):
        zoom = float(np.exp(rng.uniform(0, np.log(_MAX_ZOOM))))
        corner = rng.uniform(0, 1 - 1 / zoom, 2)
        image = flipped(store.image[indices[one]], mirrored=mirrored)
        images[one] = _crop(image, corner, zoom, images.shape[1:3], 'BICUBIC')
        labels[one] = _crop(labels[one], corner, zoom, labels.shape[1:], 'NEAREST')
        _crop_objects(objects[one], corner, zoom)
    return images, objects, labels


def _crop(
    image: np.ndarray, corner: np.ndarray, zoom: float, size: tuple[int, ...], method: str
) -> np.ndarray:
    height, width = image.shape[:2]
    left, top = corner * (width, height)
    box = (left, top, left + width / zoom, top + height / zoom)
    whole = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(whole.resize(size[::-1], Image.Resampling[method], box))


def _crop_objects(objects: np.ndarray, corner: np.ndarray, zoom: float) -> None:
    """Adapt (MAX_OBJECTS, 11) objects to a crop; those with a centre outside it become absent.

    The crop looks like an image taken from 1 / zoom of the distance: depths shrink, and sizes in
    metres stay. The array is changed in place.
    """
    objects[:, [U, V]] = (objects[:, [U, V]] - corner) * zoom
    objects[:, DEPTH] /= zoom
    objects[:, EXISTS] *= ((objects[:, [U, V]] >= 0) & (objects[:, [U, V]] < 1)).all(axis=-1)


def encode_once(
    name: str,
    store: SceneStore,
    model: InstructSegModel,
    encode: Callable[[np.ndarray], None],
    scenes: int | None = None,
) -> None:
    """Encode the scenes of a store unless an earlier call has left its marker file.

    Args:
        name: Name of the features, for the marker file `NAME.done` and the progress bar.
        encode: Encodes the scenes with the given indices and stores their features.
        scenes: Number of scenes, counted from the first; None: all.
    """
    marker = store.folder / f'{name}.done'
    processes = PartialState(cpu=True)
    processes.wait_for_everyone()  # every process has opened the arrays
    if marker.exists():
        return
    model.eval()
    count = scenes or store.shape.scenes
    starts = range(_BATCH * processes.process_index, count, _BATCH * processes.num_processes)
    cpu = torch.device('cpu')
    with torch.inference_mode(), torch.autocast('cpu', enabled=computes_bfloat16(cpu)):
        for start in tqdm(starts, f'cache {name}', disable=not processes.is_main_process):
            encode(np.arange(start, min(start + _BATCH, count)))
    processes.wait_for_everyone()
    marker.touch()
