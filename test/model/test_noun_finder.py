from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from instructseg_ros.model.model_files import NOUN_WEIGHTS, NOUNS
from instructseg_ros.model.noun_finder import NounFinder, NounNetwork, choose_objects, named_colors
from instructseg_ros.model.noun_query import COLORS, NounQuery

DOG = NounQuery(noun='dog', classes=(1, 2))


@pytest.fixture(scope='module')
def finder(tmp_path_factory: pytest.TempPathFactory) -> NounFinder:
    """A finder with random weights, loaded from a folder with half-precision weights."""
    folder = tmp_path_factory.mktemp('model')
    torch.manual_seed(0)
    weights = {name: value.half() for name, value in NounNetwork().state_dict().items()}
    save_file(weights, folder / NOUN_WEIGHTS)
    (folder / NOUNS).write_text(json.dumps({'dog': [1, 2]}))
    finder = NounFinder.from_folder(folder, torch.device('cpu'))
    assert finder is not None
    return finder


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_a_model_without_the_files_has_no_finder(tmp_path: Path) -> None:
    assert NounFinder.from_folder(tmp_path, torch.device('cpu')) is None


@pytest.mark.parametrize('size', [(64, 48), (30, 90), (401, 300)])
def test_masks_have_the_size_of_the_image(finder: NounFinder, size: tuple[int, int]) -> None:
    [(logits, score)] = finder.find(picture(*size), [DOG])
    assert logits.shape == size[::-1]
    assert 0 <= score <= 1


def test_an_instruction_that_excludes_something_finds_nothing(finder: NounFinder) -> None:
    unread = NounQuery(noun='dog', classes=(1, 2), unread='not')
    [(_, score)] = finder.find(picture(64, 48), [unread])
    assert score == 0


def test_a_similar_picture_is_not_judged_again(
    finder: NounFinder, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    whole = NounNetwork.cells
    monkeypatch.setattr(
        NounNetwork, 'cells', lambda self, maps: looks.append(1) or whole(self, maps)
    )
    image = picture(64, 48, seed=1)
    first = finder.is_photograph(image)
    darker = Image.fromarray(np.asarray(image) // 10 * 9 + 5)
    assert finder.is_photograph(darker) is first and len(looks) == 1
    finder.is_photograph(Image.new('RGB', (64, 48), 'white'))
    assert len(looks) == 2


def squares() -> np.ndarray:
    """A small square at the top left, a larger one at the bottom right."""
    mask = np.zeros((40, 60), dtype=bool)
    mask[4:8, 5:9] = True
    mask[20:32, 40:52] = True
    return mask


@pytest.mark.parametrize(
    ('wanted', 'area'),
    [
        ({}, 160),
        ({'side': 'left'}, 16),
        ({'side': 'right'}, 144),
        ({'side': 'top'}, 16),
        ({'side': 'bottom'}, 144),
        ({'size': 'largest'}, 144),
        ({'size': 'smallest'}, 16),
    ],
)
def test_objects_are_chosen_by_place_and_size(wanted: dict[str, str], area: int) -> None:
    query = NounQuery(noun='dog', classes=(1,), **wanted)
    assert choose_objects(squares(), None, query).sum() == area


def test_objects_are_chosen_by_color() -> None:
    colors = np.full((40, 60), COLORS.index('blue'))
    colors[:10] = COLORS.index('red')
    red = NounQuery(noun='dog', classes=(1,), color='red')
    green = NounQuery(noun='dog', classes=(1,), color='green')
    assert choose_objects(squares(), colors, red).sum() == 16
    assert not choose_objects(squares(), colors, green).any()


@pytest.mark.parametrize(
    ('rgb', 'name'),
    [
        ((220, 20, 20), 'red'),
        ((130, 20, 65), 'red'),  # wine
        ((250, 140, 10), 'orange'),
        ((240, 220, 30), 'yellow'),
        ((30, 160, 40), 'green'),
        ((30, 60, 200), 'blue'),
        ((120, 30, 180), 'purple'),
        ((240, 130, 190), 'pink'),
        ((110, 70, 40), 'brown'),
        ((15, 15, 18), 'black'),
        ((128, 128, 128), 'gray'),
        ((245, 245, 245), 'white'),
    ],
)
def test_colors_have_the_names_that_people_use(rgb: tuple[int, int, int], name: str) -> None:
    pixels = np.full((2, 3, 3), rgb, dtype=np.uint8)
    assert (named_colors(pixels) == COLORS.index(name)).all()
