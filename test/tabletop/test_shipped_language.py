"""Answers of the embedded model to words that it did not learn."""

from __future__ import annotations

import numpy as np
import pytest

from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.tabletop.world.recording import Recording


@pytest.fixture(scope='module')
def segmenter() -> Segmenter:
    return Segmenter.from_pretrained('embedded')


@pytest.fixture(scope='module')
def image() -> np.ndarray:
    with Recording() as recording:
        return recording.observe(1.0).rgb


@pytest.fixture(scope='module')
def thing(segmenter: Segmenter, image: np.ndarray) -> str:
    """The category and color of an object that the model finds."""
    with Recording() as recording:
        graph = recording.observe(1.0).graph
    texts = [f'{obj.color} {obj.category}' for obj in graph]
    found = [text for text in texts if segmenter.segment(image, f'the {text}').found]
    return found[0]


@pytest.mark.parametrize(
    ('text', 'word'),
    [
        ('the {} that is not red', 'not'),
        ('anything but the {}', 'anything but'),
        ('the other {}', 'other'),
        ('the second {} from the left', 'second'),
    ],
)
def test_a_word_that_changes_the_meaning_is_named_and_nothing_is_found(
    segmenter: Segmenter, image: np.ndarray, thing: str, text: str, word: str
) -> None:
    answer = segmenter.segment(image, text.format(thing))
    assert not answer.found and answer.score == 0.0
    assert f'unknown words: "{word}"' in answer.reason


def test_a_typing_error_is_repaired_and_reported(
    segmenter: Segmenter, image: np.ndarray, thing: str
) -> None:
    pytest.importorskip('rapidfuzz')
    answer = segmenter.segment(image, f'plese bring me the {thing}')
    assert answer.found
    assert answer.reason == 'read "plese" as "please"'


def test_a_look_alike_is_not_taken_for_a_known_word(
    segmenter: Segmenter, image: np.ndarray
) -> None:
    answer = segmenter.segment(image, 'the boot')
    assert not answer.found
    assert answer.unknown == ('boot',) and not answer.repaired
