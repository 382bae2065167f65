from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from instructseg_ros.model.noun_finder import NounNetwork, to_pixels
from instructseg_ros.model.taught_network import (
    VIEW,
    TaughtNetwork,
    TaughtNoun,
    read_taught,
    view_of,
)

NOUNS = [TaughtNoun(name='star', examples=3), TaughtNoun(name='paper clip', view_threshold=0.4)]


def picture(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def rectangle(width: int, height: int, box: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    left, top, right, bottom = box
    mask[top:bottom, left:right] = True
    return mask


def test_saved_heads_give_the_same_answers_when_they_are_loaded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    backbone = NounNetwork().eval()
    network = TaughtNetwork(NOUNS, backbone).eval()
    network.save(tmp_path)
    loaded = TaughtNetwork.load(tmp_path, backbone)
    assert loaded is not None
    assert list(loaded.nouns) == NOUNS == read_taught(tmp_path)
    pixels = to_pixels([np.asarray(picture(64, 64))])
    with torch.no_grad():
        assert torch.equal(loaded.eval().pixel_logits(pixels), network.pixel_logits(pixels))
    views = [view_of(picture(80, 60), rectangle(80, 60, (20, 10, 50, 40)))]
    assert torch.equal(loaded.view_features(views), network.view_features(views))


def test_a_saved_model_does_not_repeat_the_backbone(tmp_path: Path) -> None:
    TaughtNetwork(NOUNS, NounNetwork()).save(tmp_path)
    assert (tmp_path / 'taught.safetensors').stat().st_size < 2e6


def test_a_model_that_was_taught_nothing_has_no_heads(tmp_path: Path) -> None:
    assert read_taught(tmp_path) == []
    assert TaughtNetwork.load(tmp_path, NounNetwork()) is None


def test_pixel_logits_have_a_quarter_of_the_size_and_a_background() -> None:
    network = TaughtNetwork(NOUNS, NounNetwork()).eval()
    with torch.no_grad():
        logits = network.pixel_logits(to_pixels([np.asarray(picture(96, 64))]))
    assert logits.shape == (1, 1 + len(NOUNS), 16, 24)


def test_no_views_have_no_features() -> None:
    network = TaughtNetwork(NOUNS, NounNetwork()).eval()
    features = network.view_features([])
    assert network.views(features).shape == (0, 1 + len(NOUNS))


def test_a_view_shows_the_object_in_its_middle_at_any_size_and_place() -> None:
    for size, box in (((640, 480), (300, 200, 340, 240)), ((100, 80), (0, 0, 40, 20))):
        view = view_of(picture(*size), rectangle(*size, box))
        assert view.image.shape == (VIEW, VIEW, 3)
        rows, columns = np.nonzero(view.mask > 0.5)
        assert abs(rows.mean() - VIEW / 2) < 3
        assert abs(columns.mean() - VIEW / 2) < 3
        covered = max(np.ptp(rows), np.ptp(columns)) / VIEW
        assert 0.55 < covered < 0.8


def test_a_view_is_gray_where_the_picture_ends() -> None:
    view = view_of(Image.new('RGB', (60, 60), (255, 0, 0)), rectangle(60, 60, (0, 0, 30, 30)))
    assert tuple(view.image[0, 0]) == (124, 116, 104)
    assert tuple(view.image[VIEW // 2, VIEW // 2]) == (255, 0, 0)
