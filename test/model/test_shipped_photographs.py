"""Answers of the embedded model on the photographs of the package."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.research.evaluation.photographs import (
    PHOTOGRAPHS,
    Photograph,
    evaluate_photographs,
    read_photographs,
)
from instructseg_ros.research.evaluation.runner import Processes
from instructseg_ros.tabletop.world.recording import Recording


@pytest.fixture(scope='module')
def segmenter() -> Segmenter:
    return Segmenter.from_pretrained('embedded')


@pytest.fixture(scope='module')
def photographs() -> dict[str, Photograph]:
    return {one.file.stem: one for one in read_photographs(PHOTOGRAPHS)}


@pytest.fixture(scope='module')
def figures(segmenter: Segmenter, photographs: dict[str, Photograph]) -> dict[str, Any]:
    return evaluate_photographs(segmenter, [*photographs.values()], processes=Processes())


def test_most_nouns_are_found_and_absent_ones_are_not(figures: dict[str, Any]) -> None:
    assert figures['found'] >= 0.75
    assert figures['IoU>=0.5'] >= 0.5
    assert figures['centred'] >= 0.6
    assert figures['absent_found'] <= 0.05


def test_a_hypernym_is_found_as_well(
    segmenter: Segmenter, photographs: dict[str, Photograph]
) -> None:
    image, truth = photographs['dog'].image(), photographs['dog'].truth('dog')
    for noun in ('dog', 'animal'):
        mask = segmenter.segment(image, f'please show me the {noun}').mask
        assert (mask & truth).sum() > 0.5 * (mask | truth).sum(), noun


def test_a_wrong_color_is_not_found(
    segmenter: Segmenter, photographs: dict[str, Photograph]
) -> None:
    image = photographs['dog'].image()
    assert not segmenter.segment(image, 'the green dog').found


def test_an_exclusion_in_unknown_words_is_not_found_and_its_word_is_named(
    segmenter: Segmenter, photographs: dict[str, Photograph]
) -> None:
    answer = segmenter.segment(photographs['dog'].image(), 'the dog, never the brown one')
    assert not answer.found and 'unknown words: "never"' in answer.reason


def test_two_nouns_are_found_together_and_what_is_missing_is_named(
    segmenter: Segmenter, photographs: dict[str, Photograph]
) -> None:
    image = photographs['teapot'].image()
    pot, cup = segmenter.segment_all(image, ['the teapot', 'the cup'])
    assert pot.found and cup.found
    both = segmenter.segment(image, 'the teapot and the cup')
    assert np.array_equal(both.mask, pot.mask | cup.mask)
    assert both.score == pytest.approx(min(pot.score, cup.score), abs=1e-4)
    one = segmenter.segment(image, 'the teapot and the zebra')
    assert one.found and np.array_equal(one.mask, pot.mask)
    assert one.reason == 'only a part was found: nothing matches "the zebra"'


def test_an_object_is_found_by_its_neighbor_and_by_what_it_is_not(
    segmenter: Segmenter, photographs: dict[str, Photograph]
) -> None:
    image = photographs['teapot'].image()
    cup = segmenter.segment(image, 'the cup').mask
    beside = segmenter.segment(image, 'the cup next to the teapot')
    assert beside.found and not (beside.mask & ~cup).any()
    assert segmenter.segment(image, 'the cup that is not purple').found


@pytest.mark.parametrize('text', ['something I can drink from', 'the thing on the left'])
def test_an_instruction_without_a_noun_is_not_found_and_the_reason_says_so(
    segmenter: Segmenter, photographs: dict[str, Photograph], text: str
) -> None:
    answer = segmenter.segment(photographs['coffee'].image(), text)
    assert not answer.found and not answer.mask.any()
    assert answer.reason.startswith('the image is a photograph')


def test_several_instructions_get_the_answers_that_each_gets_alone(
    segmenter: Segmenter, photographs: dict[str, Photograph]
) -> None:
    image = photographs['teapot'].image()
    texts = ['the teapot', 'something to eat', 'the cup', 'the zebra']
    together = segmenter.segment_all(image, texts)
    for text, one in zip(texts, together, strict=True):
        alone = segmenter.segment(image, text)
        assert np.array_equal(one.mask, alone.mask)
        assert one.score == pytest.approx(alone.score, abs=1e-4)


def test_the_tabletop_is_no_photograph(segmenter: Segmenter) -> None:
    with Recording() as recording:
        frames = [recording.observe(time).rgb for time in (0.5, 1.0, 1.5)]
    assert segmenter._finder is not None
    assert not any(segmenter._finder.is_photograph(Image.fromarray(one)) for one in frames)


def test_an_order_that_a_photograph_does_not_have_is_not_found(
    segmenter: Segmenter, photographs: dict[str, Photograph]
) -> None:
    image = photographs['dog'].image()
    assert segmenter.segment(image, 'the first dog from the left').found
    assert not segmenter.segment(image, 'the third dog from the left').found
