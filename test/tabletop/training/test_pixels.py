from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.tabletop.training.pixel_stage import (
    PixelStage,
    draw_prompts,
    keep_full_precision,
)
from instructseg_ros.tabletop.training.scene_store import CATEGORY, COLOR, EXISTS, SceneStore, U, V
from instructseg_ros.tabletop.world.catalogue import COLORS, OBJECT_CATEGORIES

COUNT = 40


def drawn(objects: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    prompts, members = draw_prompts(objects, COUNT, np.random.default_rng(seed))
    return prompts.numpy(), members.numpy()


@pytest.fixture
def objects(store: SceneStore) -> np.ndarray:
    return np.array(store.objects[:])


def flags(prompts: np.ndarray) -> np.ndarray:
    """(B, Q, 3) bool: the prompt gives a place, a kind, a colour."""
    return prompts[..., -3:] > 0


def looks(prompts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One-hot kind and colour of each prompt; all zero where it does not say."""
    end = prompts.shape[-1] - 3
    colors = prompts[..., end - len(COLORS) : end]
    return prompts[..., end - len(COLORS) - len(OBJECT_CATEGORIES) : end - len(COLORS)], colors


def test_a_place_means_the_one_thing_that_is_there(objects: np.ndarray) -> None:
    prompts, members = drawn(objects)
    by_place = flags(prompts)[..., 0]
    assert (members[by_place].sum(axis=-1) == 1).all()
    scene, _ = np.nonzero(by_place)
    meant = objects[scene, members[by_place].argmax(axis=-1)]
    assert (meant[:, EXISTS] == 1).all()
    # The lowest octave of the sine and cosine of half a turn tells the place apart.
    angle = np.arctan2(prompts[by_place][:, 0], prompts[by_place][:, 8])
    np.testing.assert_allclose(angle / (np.pi / 2), meant[:, U], atol=0.05)
    angle = np.arctan2(prompts[by_place][:, 16], prompts[by_place][:, 24])
    np.testing.assert_allclose(angle / (np.pi / 2), meant[:, V], atol=0.05)


def test_looks_mean_everything_that_looks_so(objects: np.ndarray) -> None:
    prompts, members = drawn(objects)
    place, kind, color = (flags(prompts)[..., column] for column in range(3))
    kinds, colors = looks(prompts)
    for scene, query in np.argwhere(~place):
        fits = objects[scene, :, EXISTS] > 0
        if kind[scene, query]:
            fits &= objects[scene, :, CATEGORY] == kinds[scene, query].argmax()
        if color[scene, query]:
            fits &= objects[scene, :, COLOR] == colors[scene, query].argmax()
        assert np.array_equal(members[scene, query] > 0, fits)
    assert (kind | color)[~place].all()


def test_what_a_prompt_does_not_give_is_blank(objects: np.ndarray) -> None:
    prompts, _ = drawn(objects)
    place, kind, color = (flags(prompts)[..., column] for column in range(3))
    kinds, colors = looks(prompts)
    assert not prompts[~place][:, :32].any()
    assert np.array_equal(kinds.sum(axis=-1) == 1, kind)
    assert np.array_equal(colors.sum(axis=-1) == 1, color)


def test_a_place_with_looks_gives_the_looks_of_its_thing(objects: np.ndarray) -> None:
    prompts, members = drawn(objects)
    everything = flags(prompts).all(axis=-1)
    assert everything.any()
    scene, _ = np.nonzero(everything)
    meant = objects[scene, members[everything].argmax(axis=-1)]
    kinds, colors = looks(prompts)
    assert np.array_equal(kinds[everything].argmax(axis=-1), meant[:, CATEGORY])
    assert np.array_equal(colors[everything].argmax(axis=-1), meant[:, COLOR])


def test_prompts_come_in_their_shares_and_some_mean_nothing(objects: np.ndarray) -> None:
    batches = [drawn(objects, seed) for seed in range(5)]
    given = np.concatenate([flags(prompts).reshape(-1, 3) for prompts, _ in batches])
    members = np.concatenate([members.reshape(-1, objects.shape[1]) for _, members in batches])
    place = given[:, 0]
    assert 0.55 < place.mean() < 0.65
    assert 0.1 < given.all(axis=-1).mean() < 0.2
    assert 0.05 < (members[~place].sum(axis=-1) == 0).mean() < 0.25


def test_a_scene_without_things_has_no_members() -> None:
    prompts, members = drawn(np.zeros((2, 14, 11), np.float32))
    assert not members.any() and np.isfinite(prompts).all()


def test_a_step_teaches_pixel_branch_and_mask_decoder(
    store: SceneStore, taught_model: InstructSegModel
) -> None:
    stage = PixelStage(taught_model, store).train()
    with torch.autocast('cpu', torch.bfloat16):
        output = stage(np.array([1, 6]), np.random.default_rng(0))
    assert output.loss.isfinite() and set(output.parts) == {'dice', 'category'}
    output.loss.backward()
    untouched = {name for name, p in stage.named_parameters() if p.grad is None}
    # Scores are taught in the last stage, with the text that they depend on.
    assert all('score_embed' in name for name in untouched), untouched
    assert any('backbone' in name for name, _ in stage.named_parameters())


def test_a_module_kept_keep_full_precision_ignores_autocast() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(8, 8)
    x = torch.randn(4, 8)
    exact = layer(x)
    with torch.autocast('cpu', torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
        keep_full_precision(layer)
        kept = layer(input=x)
        from_half = layer(input=x.bfloat16())
    assert kept.dtype == from_half.dtype == torch.float32
    assert torch.equal(kept, exact)
