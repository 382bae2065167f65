from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from instructseg_ros.model.query import Query
from instructseg_ros.model.segmenter import Prediction, Segmenter
from instructseg_ros.model.tasks import Task
from instructseg_ros.research.data.sample import ImageFile, Sample, SampleTask
from instructseg_ros.research.evaluation.predictor import (
    Predictor,
    single_sentences,
    whole_instruction,
)
from instructseg_ros.research.training.smoke import write_tiny_model


@pytest.fixture(scope='module')
def segmenter() -> Segmenter:
    # It was trained, so it sees in which frames and words inputs differ; it wants two references.
    return Segmenter.from_pretrained('embedded', device='cpu')


@pytest.fixture
def frames(tmp_path: Path) -> tuple[ImageFile, ...]:
    rng = np.random.default_rng(0)
    files = [tmp_path / f'{index:03}.png' for index in range(6)]
    for file in files:
        Image.fromarray(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(file)
    return tuple(ImageFile(file) for file in files)


def sample(
    task: SampleTask, *sentences: str, joined: bool = False, verbatim: bool = False
) -> Sample:
    return Sample(
        key='0', task=task, frames=(), instructions=sentences, joined=joined, verbatim=verbatim
    )


def asked(segmenter: Segmenter, *texts: str) -> list[Query]:
    return [segmenter.query(text, Task.REFERRING) for text in texts]


def shown_with(
    segmenter: Segmenter,
    frames: tuple[ImageFile, ...],
    index: int,
    references: tuple[int, ...],
    queries: list[Query],
) -> list[Prediction]:
    image = frames[index].load()
    tokens = segmenter.encode([frames[place].load() for place in references])
    embeddings = segmenter.reason([queries], segmenter.encode([image]), [tokens])
    return segmenter.decode(embeddings, segmenter.encode_pixels([image]))[0]


def test_all_sentences_are_one_instruction_or_one_each(segmenter: Segmenter) -> None:
    both = sample(SampleTask.IMAGE_REFERRING, 'man in red', 'left  guy', joined=True)
    assert whole_instruction(both, segmenter).prompt_text == 'man in red. left  guy.'
    assert [each.prompt_text for each in single_sentences(both, segmenter)] == [
        'man in red.',
        'left  guy.',
    ]


def test_a_sentence_is_put_as_its_benchmark_has_it(segmenter: Segmenter) -> None:
    as_it_is = sample(SampleTask.VIDEO_REFERRING, 'the red mug', verbatim=True)
    assert whole_instruction(as_it_is, segmenter).prompt_text == 'the red mug'
    of_a_person = sample(SampleTask.VIDEO_REFERRING, 'the red mug')
    assert whole_instruction(of_a_person, segmenter).prompt_text == 'the red mug.'


@pytest.mark.parametrize(
    ('task', 'prompt'),
    [
        (SampleTask.IMAGE_REFERRING, Task.REFERRING),
        (SampleTask.VIDEO_REFERRING, Task.REFERRING),
        (SampleTask.IMAGE_REASONING, Task.REASONING),
        (SampleTask.VIDEO_REASONING, Task.REASONING),
    ],
)
def test_reasoning_has_its_own_prompt(task: SampleTask, prompt: Task, segmenter: Segmenter) -> None:
    asked_about = sample(task, 'the red mug')
    assert whole_instruction(asked_about, segmenter).task is prompt
    assert [each.task for each in single_sentences(asked_about, segmenter)] == [prompt]


def test_a_mask_has_the_size_of_its_image(
    segmenter: Segmenter, frames: tuple[ImageFile, ...]
) -> None:
    [prediction] = Predictor(segmenter).still(frames[0], asked(segmenter, 'red mug'))
    assert prediction.mask.shape == prediction.probability.shape == (48, 64)
    assert prediction.mask.dtype == bool and prediction.probability.dtype == np.float32


def test_a_frame_is_seen_with_its_neighbours(
    segmenter: Segmenter, frames: tuple[ImageFile, ...]
) -> None:
    queries = asked(segmenter, 'red mug', 'blue mug')
    predictor = Predictor(segmenter)
    cases = ((0, (1, 2), (2, 3)), (3, (2, 4), (1, 2)), (5, (3, 4), (2, 4)))
    for index, neighbours, others in cases:
        found = predictor.frame(frames, index, queries)
        expected = shown_with(segmenter, frames, index, neighbours, queries)
        for mine, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(mine.probability, theirs.probability, atol=1e-5)
        wrong = shown_with(segmenter, frames, index, others, queries)
        assert np.abs(found[0].probability - wrong[0].probability).max() > 1e-4


def test_a_video_of_one_frame_is_seen_with_itself_and_not_as_a_still(
    frames: tuple[ImageFile, ...], tmp_path: Path
) -> None:
    # Only models of the release's layout have a prompt for videos.
    write_tiny_model(tmp_path / 'model', ['the red mug'])
    segmenter = Segmenter.from_pretrained(str(tmp_path / 'model'), device='cpu')
    queries = asked(segmenter, 'red mug')
    predictor = Predictor(segmenter)
    [moving] = predictor.frame(frames[:1], 0, queries)
    [still] = predictor.still(frames[0], queries)
    [expected] = shown_with(segmenter, frames, 0, (0,), queries)
    np.testing.assert_array_equal(moving.probability, expected.probability)
    assert np.abs(moving.probability - still.probability).max() > 0


def test_more_instructions_than_fit_one_pass_are_all_answered(
    segmenter: Segmenter, frames: tuple[ImageFile, ...]
) -> None:
    queries = asked(segmenter, *('red mug', 'blue mug', 'all cubes') * 7)
    many = Predictor(segmenter).still(frames[0], queries)
    few = Predictor(segmenter).still(frames[0], queries[:3])
    assert len(many) == 21
    for index, each in enumerate(many):
        np.testing.assert_allclose(each.probability, few[index % 3].probability, atol=1e-5)
        other = few[(index + 1) % 3].probability
        assert np.abs(each.probability - other).max() > 1e-3


def test_a_frame_that_is_kept_is_not_opened_again_as_a_reference(
    segmenter: Segmenter, frames: tuple[ImageFile, ...]
) -> None:
    predictor = Predictor(segmenter)
    queries = asked(segmenter, 'red mug')
    predictor.frame(frames, 0, queries)
    for frame in (frames[0], frames[2]):
        frame.path.unlink()
    # It opens only itself; it is shown with frames 0 and 2.
    assert len(predictor.frame(frames, 1, queries)) == 1


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[ImageFile]:
    """Image files in the order in which they are decoded."""
    files: list[ImageFile] = []
    load = ImageFile.load
    monkeypatch.setattr(ImageFile, 'load', lambda self: (files.append(self), load(self))[1])
    return files


def test_an_image_is_decoded_once(
    segmenter: Segmenter, frames: tuple[ImageFile, ...], opened: list[ImageFile]
) -> None:
    Predictor(segmenter).still(frames[0], asked(segmenter, 'red mug'))
    assert opened == [frames[0]]


@pytest.mark.parametrize('causal', [False, True])
def test_every_frame_of_a_video_is_decoded_once(
    causal: bool, segmenter: Segmenter, frames: tuple[ImageFile, ...], opened: list[ImageFile]
) -> None:
    predictor = Predictor(segmenter)
    for index in range(len(frames)):
        predictor.frame(frames, index, asked(segmenter, 'red mug'), causal=causal)
    assert sorted(opened, key=str) == list(frames)


def test_a_robot_sees_a_frame_with_those_before_it(
    segmenter: Segmenter, frames: tuple[ImageFile, ...]
) -> None:
    queries = asked(segmenter, 'red mug')
    predictor = Predictor(segmenter)
    for index, earlier in ((0, ()), (1, (0,)), (5, (3, 4))):
        [found] = predictor.frame(frames, index, queries, causal=True)
        [expected] = shown_with(segmenter, frames, index, earlier, queries)
        np.testing.assert_allclose(found.probability, expected.probability, atol=1e-5)


def test_a_picture_that_is_broken_is_named(
    segmenter: Segmenter, frames: tuple[ImageFile, ...]
) -> None:
    frames[2].path.write_bytes(b'no picture')
    with pytest.raises(ValueError, match=r'002\.png cannot be read as an image'):
        Predictor(segmenter).frame(frames, 0, asked(segmenter, 'red mug'))
