from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.tabletop.training.encoder_stages import cache_motion, cache_tokens
from instructseg_ros.tabletop.training.images import mask_batch, vision_batch
from instructseg_ros.tabletop.training.pixel_stage import cache_pixels
from instructseg_ros.tabletop.training.scene_store import SceneStore


@pytest.fixture
def own(filled: Path, tmp_path: Path) -> SceneStore:
    """A store to write to."""
    return SceneStore.open(Path(shutil.copytree(filled, tmp_path / 'scenes')))


@torch.no_grad()
def test_cached_tokens_are_those_of_every_frame(
    own: SceneStore, taught_model: InstructSegModel
) -> None:
    tokens = cache_tokens(taught_model, own)
    assert tokens.shape == (12, 3, 16, 40)
    expected = taught_model.encode_frame(vision_batch(own.vision[11], None))
    np.testing.assert_allclose(tokens[11], expected.numpy(), atol=0.1)


@torch.no_grad()
def test_cached_motion_is_that_of_the_key_frame(
    own: SceneStore, taught_model: InstructSegModel
) -> None:
    tokens = cache_tokens(taught_model, own)
    motion = cache_motion(taught_model, own, tokens)
    frames = torch.from_numpy(tokens[4:5]).float()
    expected = taught_model.perceiver(frames[:, 2], frames[:, :2])
    assert motion.shape == (12, 16, 40)
    np.testing.assert_allclose(motion[4:5], expected.numpy(), atol=0.1)


@torch.no_grad()
def test_cached_pixel_features_are_read_back(
    own: SceneStore, taught_model: InstructSegModel
) -> None:
    features = cache_pixels(taught_model, own, 6)
    read = features.read(np.array([5, 0]))
    expected = taught_model.encode_pixels(mask_batch(own.image[[5, 0]], None))
    for mine, its in zip(
        (read.coarse, *read.levels, read.mask_features),
        (expected.coarse, *expected.levels, expected.mask_features),
        strict=True,
    ):
        assert mine.shape == its.shape and mine.dtype == torch.float32
        # Encoded in bfloat16.
        assert (mine - its).square().mean() < 0.01 * its.square().mean()
    assert not features.read(np.array([7])).coarse.any()  # only the first six were encoded


def test_what_is_cached_is_not_encoded_again(
    own: SceneStore, taught_model: InstructSegModel
) -> None:
    tokens = cache_tokens(taught_model, own)
    tokens[0] = 7
    again = cache_tokens(taught_model, own)
    assert (again[0] == 7).all() and np.array_equal(again[1:], tokens[1:])
