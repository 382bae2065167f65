"""Answers of the embedded model to words that change the meaning, and to unknown words."""

from __future__ import annotations

import numpy as np
import pytest

from instructseg_ros.model.composition import AllOf
from instructseg_ros.model.frame_buffer import Frame
from instructseg_ros.model.prediction import Prediction
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.model.session import VideoSession
from instructseg_ros.model.video_stream import ComputeBudget
from instructseg_ros.tabletop.instructions import generate, object_nouns
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


def overlap(mask: np.ndarray, truth: np.ndarray) -> float:
    return float((mask & truth).sum() / max(1, (mask | truth).sum()))


def test_what_an_instruction_rules_out_is_not_taken(segmenter: Segmenter) -> None:
    asked = taken = 0
    rng = np.random.default_rng(0)
    with Recording() as recording:
        frames = [recording.observe(time) for time in (1.0, 9.0, 17.0, 25.0)]
    for frame in frames:
        for _ in range(12):
            instruction = generate(frame.graph, rng, category='negation')
            if instruction is None or frame.labels is None:
                continue
            answer = segmenter.segment(frame.rgb, instruction.text)
            wanted, forbidden = (
                overlap(answer.mask, np.isin(frame.labels, list(objects)))
                for objects in (instruction.targets, instruction.anchors)
            )
            asked += 1
            taken += answer.found and forbidden > wanted
    assert asked >= 12
    assert taken <= 0.1 * asked


@pytest.mark.parametrize('noun', object_nouns())
def test_every_noun_of_the_training_can_be_one_of_two_targets(
    segmenter: Segmenter, noun: str
) -> None:
    assert segmenter.query(f'the red thing and the {noun}').operation == AllOf()


def test_a_noun_for_an_object_of_no_scene_is_not_found_and_named(
    segmenter: Segmenter, image: np.ndarray
) -> None:
    answer = segmenter.segment(image, 'bring me the umbrella because it may rain')
    assert not answer.found
    assert answer.unknown == ('umbrella',)
    assert 'unknown words: "umbrella"' in answer.reason


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


def test_a_stream_answers_an_instruction_of_parts_as_a_single_image_does(
    segmenter: Segmenter, image: np.ndarray, thing: str
) -> None:
    texts = [f'the {thing} and the book', f'the {thing}']
    queries = [segmenter.query(text) for text in texts]
    assert len(queries[0].parts) == 2
    session = VideoSession(segmenter)
    frame = Frame(image=image, stamp=0)
    [results] = session.step([session.open_stream().plan(frame, queries, ComputeBudget())])
    for (_, query, prediction), text in zip(results, texts, strict=True):
        assert isinstance(prediction, Prediction)
        alone = segmenter.segment(image, text)
        assert query.text == text and prediction.found == alone.found
        assert overlap(prediction.mask, alone.mask) > 0.99
