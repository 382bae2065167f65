from __future__ import annotations

import numpy as np
import pytest

from instructseg_ros.streaming.instruction import Instruction
from instructseg_ros.streaming.overlay import COLORS, MASK_COLOR, draw_overlay, outline
from instructseg_ros.streaming.segmentation import Segmentation, State

IMAGE = np.full((120, 160, 3), 100, np.uint8)


def found(mask: np.ndarray, text: str = 'the red mug') -> Segmentation:
    return Segmentation(instruction=Instruction(text=text), state=State.FOUND, score=0.9, mask=mask)


def square() -> np.ndarray:
    mask = np.zeros((120, 160), bool)
    mask[20:40, 30:60] = True
    return mask


def test_the_outline_is_one_pixel_wide_and_inside_the_mask() -> None:
    edge = outline(square())
    assert edge.sum() == 2 * 20 + 2 * 30 - 4
    assert not (edge & ~square()).any()


def test_a_mask_that_fills_the_image_is_outlined_at_its_border() -> None:
    assert outline(np.ones((5, 5), bool)).sum() == 16


def test_the_mask_is_tinted_and_the_rest_above_the_caption_is_untouched() -> None:
    drawn = draw_overlay(IMAGE, found(square()), opacity=0.5)
    assert tuple(drawn[20, 30]) == MASK_COLOR
    assert tuple(drawn[30, 45]) == (177, 82, 130)
    assert (drawn[:90][~square()[:90]] == 100).all()
    assert (IMAGE == 100).all()


def test_what_is_not_found_is_only_captioned() -> None:
    result = Segmentation(
        instruction=Instruction(text='the cat'),
        state=State.NOT_FOUND,
        reason='nothing matches',
        mask=square(),
    )
    drawn = draw_overlay(IMAGE, result)
    assert (drawn[:90] == 100).all()
    assert (drawn[90:] != 100).any()


@pytest.mark.parametrize('text', ['x' * 512, '\u6700\u5927\u306e\u7bb1'])
@pytest.mark.parametrize('shape', [(120, 160, 3), (8, 8, 3), (1, 1, 3)])
def test_any_text_fits_any_image(text: str, shape: tuple[int, int, int]) -> None:
    mask = np.ones(shape[:2], bool)
    assert draw_overlay(np.zeros(shape, np.uint8), found(mask, text)).shape == shape


def test_several_answers_have_their_own_colours_and_captions() -> None:
    other = np.roll(square(), 40, axis=1)
    drawn = draw_overlay(IMAGE, found(square()), found(other, 'the bowl'), colors=[0, 3])
    assert tuple(drawn[20, 30]) == COLORS[0]
    assert tuple(drawn[20, 70]) == COLORS[3]
    one = draw_overlay(IMAGE, found(square()))
    assert (drawn[:76] != IMAGE[:76]).any(-1).sum() > (one[:76] != IMAGE[:76]).any(-1).sum()


def test_answers_whose_numbers_stand_for_one_colour_differ() -> None:
    other = np.roll(square(), 40, axis=1)
    drawn = draw_overlay(IMAGE, found(square()), found(other, 'the bowl'), colors=[1, 9])
    assert tuple(drawn[20, 30]) == COLORS[1]
    assert tuple(drawn[20, 70]) == COLORS[2]


def test_of_many_answers_only_those_are_captioned_that_fit_half_of_the_image() -> None:
    answers = [found(square(), f'thing {number}') for number in range(8)]
    drawn = draw_overlay(IMAGE, *answers)
    assert (drawn[:20] == 100).all()
