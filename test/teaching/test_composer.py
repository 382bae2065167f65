from __future__ import annotations

import numpy as np
import pytest

from instructseg_ros.teaching.backgrounds import Background
from instructseg_ros.teaching.composer import Composer
from instructseg_ros.teaching.examples import Example, LabelledObject

RED, BLUE = (250, 10, 10), (10, 10, 250)


def example(*, alone: bool = True) -> Example:
    """A picture with a red square, the star, on gray."""
    image = np.full((120, 160, 3), 128, np.uint8)
    mask = np.zeros((120, 160), bool)
    mask[40:80, 60:100] = True
    image[mask] = RED
    return Example(
        image=image, objects=(LabelledObject(name='star', mask=mask),), source='test', alone=alone
    )


def background() -> Background:
    """A black picture with a blue square that is another object."""
    image, labels = np.zeros((240, 320, 3), np.uint8), np.zeros((240, 320), np.uint8)
    labels[20:60, 20:60] = 1
    image[labels == 1] = BLUE
    return Background(image=image, labels=labels)


def composer(seed: int = 0, **options: bool) -> Composer:
    examples = [example(**options)]
    return Composer(examples, ['star'], [background()], np.random.default_rng(seed))


def test_equal_seeds_compose_equal_pictures() -> None:
    one, other = composer(1).draw(), composer(1).draw()
    assert np.array_equal(one.image, other.image)
    assert np.array_equal(one.names, other.names)
    assert not np.array_equal(one.image, composer(2).draw().image)


def test_named_pixels_belong_to_objects_unless_these_are_hidden() -> None:
    mine = composer()
    for _ in range(30):
        picture = mine.draw()
        assert picture.image.shape[:2] == picture.names.shape == picture.objects.shape
        assert set(np.unique(picture.names)) <= {0, 1}
        for value in np.unique(picture.objects[picture.objects > 0]):
            inside = picture.names[picture.objects == value]
            assert inside.min() == inside.max()  # an object has one name


def test_drawing_does_not_change_the_examples_and_backgrounds() -> None:
    mine = composer(alone=False)
    first = [base[1].copy() for base in mine._bases]
    for _ in range(20):
        mine.draw()
    assert all(np.array_equal(base[1], kept) for base, kept in zip(mine._bases, first, strict=True))


def test_objects_that_are_mostly_hidden_are_not_among_the_objects() -> None:
    mine, hidden = composer(3), 0
    for _ in range(40):
        picture = mine.draw()
        hidden += bool(((picture.names > 0) & (picture.objects == 0)).any())
    assert hidden > 0


def test_pictures_contain_other_objects_as_well_as_taught_ones() -> None:
    mine = composer()
    pictures = [mine.draw() for _ in range(30)]
    assert any((each.names == 1).any() for each in pictures)
    assert any(((each.objects > 0) & (each.names == 0)).any() for each in pictures)
    assert any(not (each.names == 1).any() for each in pictures)


@pytest.mark.parametrize('alone', [True, False])
def test_only_objects_that_were_shown_alone_change_their_color(alone: bool) -> None:
    mine = composer(alone=alone)
    hues = set()
    for _ in range(40):
        colors, alpha = mine._varied(mine._taught[0][0])
        red, _, blue = colors[alpha > 0.9].mean(0)
        hues.add(bool(red > blue))
    assert hues == ({True, False} if alone else {True})
