"""Frames of several cameras in one batch, beside each of them by itself."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from small_models import SmallModel

from instructseg_ros.model.query import FrameFeatures, InstructionEmbedding, PixelBatch
from instructseg_ros.model.segmenter import Prediction, Segmenter

STAGES = (
    'encode_frame',
    'encode_pixels',
    'perceive_frames',
    'prefill_references',
    'reason',
    'decode',
)
TOLERANCE = {'atol': 1e-4, 'rtol': 1e-4}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Camera:
    """A frame, what is asked about it, and how many reference frames come before it."""

    size: tuple[int, int]
    texts: tuple[str, ...]
    references: int

    def pictures(self) -> list[np.ndarray]:
        """The reference frames and the frame."""
        seed = (*self.size, len(self.texts), self.references)
        shape = (1 + self.references, *self.size, 3)
        return list(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


ALIKE = (
    Camera(size=(48, 64), texts=('the red mug', 'all'), references=2),
    Camera(size=(101, 37), texts=('where is the left ball of all?', 'the blue ball'), references=2),
    Camera(size=(37, 101), texts=('mug', 'where is the mug?'), references=2),
)
STILL = tuple(dataclasses.replace(camera, references=0) for camera in ALIKE)
RAGGED = (
    ALIKE[0],
    Camera(size=(60, 60), texts=(), references=2),
    Camera(size=(30, 90), texts=('the red ball',), references=1),
    ALIKE[1],
    Camera(size=(90, 30), texts=('where is the red mug?', 'all', 'ball'), references=0),
    Camera(size=(64, 48), texts=('the mug',), references=1),
    Camera(size=(64, 64), texts=('the left mug', 'ball'), references=0),
)
GROUPS = {'alike': ALIKE, 'still': STILL, 'ragged': RAGGED}


@pytest.fixture(params=GROUPS)
def cameras(request: pytest.FixtureRequest) -> Sequence[Camera]:
    """Cameras with as many of everything, still images, and all at once."""
    return GROUPS[request.param]


@pytest.fixture
def segmenter(small: SmallModel) -> Segmenter:
    return Segmenter(small.model, small.processor, name='small', device=torch.device('cpu'))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """Output of the stages for some cameras."""

    tokens: Sequence[FrameFeatures]
    embeddings: Sequence[Sequence[InstructionEmbedding]]
    pixels: PixelBatch
    predictions: Sequence[Sequence[Prediction]]


def answer(segmenter: Segmenter, cameras: Sequence[Camera], *, keep: bool = False) -> Answer:
    """Each stage once for all cameras."""
    videos = [camera.pictures() for camera in cameras]
    tokens = segmenter.encode([image for video in videos for image in video])
    rest = iter(tokens)
    seen = [[next(rest) for _ in video] for video in videos]
    embeddings = segmenter.reason(
        [[segmenter.query(text) for text in camera.texts] for camera in cameras],
        [frames[-1] for frames in seen],
        [frames[:-1] for frames in seen],
        keep_references=keep,
    )
    pixels = segmenter.encode_pixels([video[-1] for video in videos])
    predictions = segmenter.decode(embeddings, pixels)
    return Answer(tokens=tokens, embeddings=embeddings, pixels=pixels, predictions=predictions)


def assert_same(mine: Prediction, its: Prediction) -> None:
    # Batches round otherwise: which side of the edge a pixel is on that is on it may change.
    sure = abs(its.probability - 0.5) > 1e-4
    assert np.array_equal(mine.mask[sure], its.mask[sure])
    np.testing.assert_allclose(mine.probability, its.probability, atol=1e-4)
    assert mine.score == pytest.approx(its.score, abs=1e-4)
    assert mine.found == its.found


def assert_embedded_alike(mine: InstructionEmbedding, its: InstructionEmbedding) -> None:
    torch.testing.assert_close(mine.mask_tokens, its.mask_tokens, **TOLERANCE)
    torch.testing.assert_close(mine.pooled, its.pooled, **TOLERANCE)
    assert (mine.cells is None) == (its.cells is None)
    if mine.cells is not None:
        torch.testing.assert_close(mine.cells, its.cells, **TOLERANCE)


class Passes:
    """Frames and instructions of each pass through a model's stages since the last look."""

    def __init__(self, small: SmallModel, patch: pytest.MonkeyPatch) -> None:
        self._seen: dict[str, list[tuple[int, ...]]] = {}
        for stage in STAGES:
            patch.setattr(small.model, stage, self._noting(stage, getattr(small.model, stage)))

    def _noting(self, stage: str, work: Any) -> Any:
        def noted(*inputs: Any, **options: Any) -> Any:
            self._seen.setdefault(stage, []).append(_size(stage, inputs))
            return work(*inputs, **options)

        return noted

    def take(self) -> dict[str, list[tuple[int, ...]]]:
        """Passes of each stage that ran: (F,) frames, or (F, K) instructions."""
        seen, self._seen = self._seen, {}
        return seen


def _size(stage: str, inputs: Sequence[Any]) -> tuple[int, ...]:
    if stage in ('encode_frame', 'encode_pixels'):
        return (len(inputs[0]),)
    if stage == 'decode':
        return tuple(inputs[0].mask_tokens.shape[:2])
    prompt = inputs[0] if stage == 'prefill_references' else inputs[1]
    return tuple(prompt.input_ids.shape[:2])


@pytest.fixture
def passes(small: SmallModel) -> Iterator[Passes]:
    with pytest.MonkeyPatch.context() as patch:
        yield Passes(small, patch)


@pytest.mark.parametrize('keep', [False, True])
def test_frames_in_a_batch_are_answered_as_each_by_itself(
    segmenter: Segmenter, cameras: Sequence[Camera], keep: bool
) -> None:
    together = answer(segmenter, cameras, keep=keep)
    assert [len(each) for each in together.predictions] == [len(each.texts) for each in cameras]
    for number, camera in enumerate(cameras):
        alone = answer(segmenter, [camera])
        for mine, its in zip(together.embeddings[number], alone.embeddings[0], strict=True):
            assert_embedded_alike(mine, its)
        for prediction, its, text in zip(
            together.predictions[number], alone.predictions[0], camera.texts, strict=True
        ):
            assert prediction.mask.shape == camera.size
            assert_same(prediction, its)
            [*earlier, image] = camera.pictures()
            assert_same(prediction, segmenter.segment(image, text, segmenter.encode(earlier)))


def test_logits_of_frames_in_a_batch_are_those_of_each_by_itself(
    small: SmallModel, segmenter: Segmenter, cameras: Sequence[Camera]
) -> None:
    found: list[torch.Tensor] = []
    decode = small.model.decode

    def noted(*inputs: Any, **options: Any) -> Any:
        output = decode(*inputs, **options)
        found.extend(output.final.mask_logits.flatten(0, 1))
        return output

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(small.model, 'decode', noted)
        answer(segmenter, cameras)
        together, found = found, []
        for camera in cameras:
            answer(segmenter, [camera])
    count = sum(len(camera.texts) for camera in cameras)
    assert len(together) == len(found) == count
    for logits in found:
        nearest = min((logits - other).abs().max().item() for other in together)
        assert nearest < 2e-4


def test_frames_with_as_many_of_everything_take_one_pass_through_each_stage(
    small: SmallModel, segmenter: Segmenter, passes: Passes
) -> None:
    answer(segmenter, ALIKE)
    seen = passes.take()
    read = {} if small.model.config.motion_perceiver else {'perceive_frames': [(3, 2)]}
    assert seen == {
        'encode_frame': [(9,)],
        'encode_pixels': [(3,)],
        'reason': [(3, 2)],
        'decode': [(3, 2)],
        **read,
    }


def test_only_frames_with_other_numbers_take_passes_of_their_own(
    segmenter: Segmenter, passes: Passes
) -> None:
    answer(segmenter, RAGGED)
    seen = passes.take()
    assert seen['encode_frame'] == [(15,)] and seen['encode_pixels'] == [(7,)]
    assert Counter(seen['reason']) == Counter([(2, 2), (1, 2), (2, 1), (1, 3)])
    # Queries in one batch may have different numbers of reference frames.
    assert Counter(seen['decode']) == Counter([(3, 2), (2, 1), (1, 3)])


def test_where_nothing_is_asked_no_pass_is_made(segmenter: Segmenter, passes: Passes) -> None:
    silent = [dataclasses.replace(camera, texts=()) for camera in ALIKE]
    assert answer(segmenter, silent).predictions == [[], [], []]
    assert set(passes.take()) == {'encode_frame', 'encode_pixels'}
    assert segmenter.encode([]) == []
    assert segmenter.reason([], [], []) == []
    assert passes.take() == {}


def test_kept_references_of_all_frames_are_read_once_and_in_one_pass(released: SmallModel) -> None:
    segmenter = Segmenter(
        released.model, released.processor, name='small', device=torch.device('cpu')
    )
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (7, 48, 64, 3), dtype=np.uint8)
    *earlier, first, second, third = segmenter.encode(list(images))
    references = [earlier[:2], earlier[2:]]
    asked = [[segmenter.query(text) for text in camera.texts] for camera in ALIKE[:2]]
    with pytest.MonkeyPatch.context() as patch:
        passes = Passes(released, patch)
        segmenter.reason(asked, [first, second], references, keep_references=True)
        seen = passes.take()
        assert (seen['perceive_frames'], seen['prefill_references']) == ([(2, 2)], [(4, 1)])
        later = segmenter.reason(asked, [second, third], references, keep_references=True)
        assert passes.take() == {'reason': [(2, 2)]}
        # One that comes is read by itself.
        asked[1][0] = segmenter.query('ball')
        newest = segmenter.reason(asked, [second, third], references, keep_references=True)
        seen = passes.take()
        assert (seen['perceive_frames'], seen['prefill_references']) == ([(1, 1)], [(1, 1)])
    for frame, tokens in enumerate((second, third)):
        fresh = [segmenter.query(each.text) for each in asked[frame]]
        [plain] = segmenter.reason([fresh], [tokens], [references[frame]])
        for mine, its in zip(newest[frame], plain, strict=True):
            assert_embedded_alike(mine, its)
    for mine, its in zip(later[0], newest[0], strict=True):
        assert_embedded_alike(mine, its)


def test_embeddings_of_different_frames_are_decoded_in_few_passes(
    small: SmallModel, segmenter: Segmenter, passes: Passes
) -> None:
    before, now = answer(segmenter, ALIKE), answer(segmenter, STILL)
    # Two cameras have an old and a new instruction, the third has two new ones.
    mixed = [
        [before.embeddings[0][1], now.embeddings[0][0]],
        [now.embeddings[1][0], before.embeddings[1][1]],
        list(now.embeddings[2]),
    ]
    passes.take()
    together = segmenter.decode(mixed, now.pixels)
    shared = small.model.config.pointer
    assert passes.take()['decode'] == ([(2, 1), (2, 1), (1, 2)] if shared else [(3, 2)])
    for number, camera in enumerate(STILL):
        alone = segmenter.encode_pixels(camera.pictures())
        for each, mine in zip(mixed[number], together[number], strict=True):
            [[its]] = segmenter.decode([[each]], alone)
            assert_same(mine, its)


def test_the_order_of_a_frames_answers_is_that_of_its_embeddings(segmenter: Segmenter) -> None:
    before, now = answer(segmenter, ALIKE), answer(segmenter, STILL)
    (red_now, all_now), (red_before, all_before) = now.embeddings[0], before.embeddings[0]
    mixed = [red_now, all_before, all_now, red_before, red_now]
    [together, _, _] = segmenter.decode([mixed, [], []], now.pixels)
    for each, mine in zip(mixed, together, strict=True):
        assert_same(mine, segmenter.decode([[each], [], []], now.pixels)[0][0])
    for one, other in itertools.combinations(together[:4], 2):  # or the order would not show
        assert np.abs(one.probability - other.probability).max() > 2e-4


def test_what_is_kept_of_a_frame_does_not_hold_that_of_others(segmenter: Segmenter) -> None:
    given = answer(segmenter, ALIKE)
    for each in given.tokens:
        assert each.vision.untyped_storage().nbytes() == each.vision.nbytes
    for row in given.embeddings:
        assert len({id(each.cells) for each in row}) == 1
        for each in row:
            assert each.mask_tokens.untyped_storage().nbytes() == 2 * each.mask_tokens.nbytes
            if each.cells is not None:
                assert each.cells.untyped_storage().nbytes() == each.cells.nbytes


def test_as_many_frames_are_decoded_as_there_are_pixels_of(segmenter: Segmenter) -> None:
    given = answer(segmenter, STILL)
    with pytest.raises(ValueError, match='2 frames and pixels of 3'):
        segmenter.decode(given.embeddings[:2], given.pixels)
