from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from PIL import Image

from instructseg_ros.model.noun_finder import NounNetwork
from instructseg_ros.model.noun_query import NounQuery
from instructseg_ros.model.taught_finder import TaughtFinder
from instructseg_ros.model.taught_network import TaughtNetwork, TaughtNoun

THRESHOLD = 0.42
STAR = NounQuery(noun='star', classes=(), taught='star')
SHAPE = (90, 120)


def square(left: int, top: int = 30, side: int = 20) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[top : top + side, left : left + side] = True
    return mask


OBJECTS = [square(5), square(45, side=30), square(90)]
COLORS = ((200, 20, 20), (20, 20, 200), (200, 20, 20))


@pytest.fixture
def image() -> Image.Image:
    pixels = np.full((*SHAPE, 3), 255, np.uint8)
    for mask, color in zip(OBJECTS, COLORS, strict=True):
        pixels[mask] = color
    return Image.fromarray(pixels)


@pytest.fixture
def finder(monkeypatch: pytest.MonkeyPatch) -> TaughtFinder:
    """A finder whose heads are sure that the first two objects are stars, and the third is not."""
    nouns = [TaughtNoun(name='star', view_threshold=0.3, pixel_threshold=0.6)]
    network = TaughtNetwork(nouns, NounNetwork())
    finder = TaughtFinder(network, torch.device('cpu'), threshold=THRESHOLD)
    sure = (0.9, 0.5, 0.1)

    def name_objects(image: Image.Image, masks: Sequence[np.ndarray]) -> np.ndarray:
        overlaps = [[(mask & each).sum() for each in OBJECTS] for mask in masks]
        return np.array([[sure[int(np.argmax(row))]] for row in overlaps]).reshape(-1, 1)

    monkeypatch.setattr(finder, '_name_objects', name_objects)
    pixels = sum(p * mask for p, mask in zip(sure, OBJECTS, strict=True))
    pixels = np.where(OBJECTS[1], 0.7, pixels)
    monkeypatch.setattr(finder, '_name_pixels', lambda image: pixels[None].astype(np.float32))
    return finder


def chosen(finder: TaughtFinder, image: Image.Image, query: NounQuery) -> list[int]:
    [(masks, _)] = finder.choose(image, OBJECTS, [query])
    return [
        next(i for i, each in enumerate(OBJECTS) if np.array_equal(each, mask)) for mask in masks
    ]


def test_all_objects_above_the_threshold_of_the_noun_are_chosen(
    finder: TaughtFinder, image: Image.Image
) -> None:
    assert chosen(finder, image, STAR) == [0, 1]


@pytest.mark.parametrize(
    ('words', 'wanted'),
    [
        ({'color': 'red'}, [0]),
        ({'color': 'blue'}, [1]),
        ({'color': 'green'}, []),
        ({'side': 'left'}, [0]),
        ({'side': 'right'}, [1]),
        ({'size': 'largest'}, [1]),
        ({'size': 'smallest'}, [0]),
    ],
)
def test_color_side_and_size_choose_among_them(
    finder: TaughtFinder, image: Image.Image, words: dict[str, str], wanted: list[int]
) -> None:
    query = NounQuery(noun='star', classes=(), taught='star', **words)  # type: ignore[arg-type]
    assert chosen(finder, image, query) == wanted


def test_scores_reach_the_threshold_of_the_model_exactly_where_the_noun_is_found(
    finder: TaughtFinder, image: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    [(_, score)] = finder.choose(image, OBJECTS, [STAR])
    assert score > THRESHOLD
    monkeypatch.setattr(finder, '_name_pixels', lambda image: np.zeros((1, *SHAPE), np.float32))
    [(masks, score)] = finder.choose(image, OBJECTS[2:], [STAR])
    assert masks == []
    assert score < THRESHOLD


def test_what_lacks_the_color_has_the_score_zero(finder: TaughtFinder, image: Image.Image) -> None:
    query = NounQuery(noun='star', classes=(), taught='star', color='green')
    assert finder.choose(image, OBJECTS, [query]) == [([], 0.0)]


def test_a_word_that_is_not_understood_finds_nothing(
    finder: TaughtFinder, image: Image.Image
) -> None:
    query = NounQuery(noun='star', classes=(), taught='star', unread='not')
    assert finder.choose(image, OBJECTS, [query]) == [([], 0.0)]


def test_on_photographs_parts_with_sure_pixels_are_found(
    finder: TaughtFinder, image: Image.Image
) -> None:
    [(logits, score)] = finder.find(image, [STAR])
    assert logits.shape == SHAPE
    assert score > THRESHOLD
    mask = (logits > 0).numpy()
    assert np.array_equal(mask, OBJECTS[0] | OBJECTS[1])
