"""Runs a frozen encoder over all scenes and keeps what it says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from tqdm import tqdm

from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.training.tabletop import parallel
from instructseg_ros.training.tabletop.joint import FeatureStore
from instructseg_ros.training.tabletop.pictures import mask_batch, vision_batch
from instructseg_ros.training.tabletop.scenes import FRAMES, SceneStore

_BATCH = 16


def cache_tokens(model: InstructSegModel, store: SceneStore) -> np.ndarray:
    """Vision tokens of every frame: (N, 3, V, D) float16."""
    config = model.config
    tokens = store.feature('tokens', (FRAMES, config.image_tokens, config.hidden_size))

    def encode(indices: np.ndarray) -> None:
        pictures = vision_batch(store.vision[indices].reshape(-1, *store.vision.shape[2:]), None)
        out = model.encode_frame(pictures.contiguous(memory_format=torch.channels_last))
        tokens[indices] = out.float().numpy().reshape(len(indices), *tokens.shape[1:])

    _over_scenes('tokens', store, model, encode)
    return tokens


def cache_motion(model: InstructSegModel, store: SceneStore, tokens: np.ndarray) -> np.ndarray:
    """Motion at every cell of the key frame: (N, V, D) float16."""
    motion = store.feature('motion', tokens.shape[2:])

    def encode(indices: np.ndarray) -> None:
        frames = torch.from_numpy(tokens[indices]).float()
        motion[indices] = model.perceiver(frames[:, -1], frames[:, :-1]).float().numpy()

    _over_scenes('motion', store, model, encode)
    return motion


def cache_pixels(model: InstructSegModel, store: SceneStore, scenes: int) -> FeatureStore:
    """Features of the pixel branch of the key frames of the first `scenes` scenes."""
    features = FeatureStore(store, model)

    def encode(indices: np.ndarray) -> None:
        pictures = mask_batch(store.image[indices], None)
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        features.write(indices, model.encode_pixels(pictures))

    _over_scenes('pixels', store, model, encode, scenes)
    return features


def _over_scenes(
    name: str,
    store: SceneStore,
    model: InstructSegModel,
    encode: Callable[[np.ndarray], None],
    scenes: int | None = None,
) -> None:
    """Encode the scenes, once; a marker file says that it is done."""
    marker = store.folder / f'{name}.done'
    parallel.wait()  # for every process to have opened the arrays
    if marker.exists():
        return
    model.eval()
    count = scenes or store.shape.scenes
    starts = parallel.share(np.arange(0, count, _BATCH))
    with torch.inference_mode(), torch.autocast('cpu', torch.bfloat16):
        for start in tqdm(starts, f'cache {name}', disable=parallel.rank() > 0):
            encode(np.arange(start, min(start + _BATCH, count)))
    parallel.wait()
    marker.touch()
