"""The stream's answers beside the model's own `forward` on the same frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from small_models import SmallModel, compact_model, released_model

from instructseg_ros.model.camera_motion import remove_camera_motion
from instructseg_ros.model.mask_decoder import best_mask
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.streaming.instruction import Instruction
from instructseg_ros.streaming.offline_engine import OfflineEngine
from instructseg_ros.streaming.schedule import EngineSettings, Schedule
from instructseg_ros.streaming.segmentation import Segmentation, Source

FRAMES = 50
STRIDE = 0.2
SIZE = (40, 56)
# Frame -> texts that come or go there.
COMES = {0: ['the red mug'], 7: ['where is the blue mug?'], 12: ['all'], 30: ['the ball']}
GOES = {20: ['the red mug'], 33: ['all', 'the ball']}
LAYOUTS = {'compact': compact_model, 'released': released_model}


@pytest.fixture(scope='module', params=LAYOUTS)
def small(request: pytest.FixtureRequest) -> SmallModel:
    return LAYOUTS[request.param]()


def pictures() -> list[np.ndarray]:
    """A noisy square that wanders."""
    rng = np.random.default_rng(0)
    images = []
    for number in range(FRAMES):
        image = rng.integers(0, 90, (*SIZE, 3), dtype=np.uint8)
        image[5:15, number : number + 9] = (200, 40, 40)
        images.append(image)
    return images


def stream(
    small: SmallModel, images: Sequence[np.ndarray], **settings: Any
) -> list[list[Segmentation]]:
    """The answers on each frame, while instructions come and go."""
    segmenter = Segmenter(small.model, small.processor, name='small', device=torch.device('cpu'))
    frames = small.model.config.reference_frames
    engine = OfflineEngine(
        segmenter, EngineSettings(reference_frames=frames, reference_stride=STRIDE, **settings)
    )
    given = {text: Instruction(text=text) for texts in COMES.values() for text in texts}
    answers = []
    for number, image in enumerate(images):
        for text in COMES.get(number, ()):
            engine.give(given[text])
        for text in GOES.get(number, ()):
            engine._camera.drop(given[text])
        answers.append(engine.segment(image, stamp=round(number * STRIDE * 1e9)))
    return answers


@torch.inference_mode()
def straight(
    small: SmallModel,
    image: np.ndarray,
    references: Sequence[np.ndarray],
    text: str,
    seen: np.ndarray | None = None,
) -> tuple[torch.Tensor, float]:
    """Mask logits and score by the model alone; `seen`: what the language model looks at."""
    model, processor = small.model, small.processor
    seen = image if seen is None else seen
    if model.config.motion_perceiver:
        references = [np.asarray(each) for each in remove_camera_motion(references, seen)]
    vision = torch.stack([processor.vision_values(each) for each in [seen, *references]])
    tokens = model.encode_frame(vision)
    prompt = small.prompt(text, references=len(references))
    context = model.perceive(tokens[:1], tokens[None, 1:] if references else None, prompt)
    features = model.encode_pixels(processor.pixel_values(image)[None])
    answer = model.decode(model.reason(context, prompt), features).final
    masks = answer.mask_logits[0, 0]
    logits, score = best_mask(
        masks,
        answer.score_logits[0, 0],
        lambda few: processor.restore_masks(few, *SIZE),
        restore_one=processor.config.guided_filter,
    )
    return processor.sharpen_mask(logits, image, masks.shape[-2:]), score


def assert_equal(result: Segmentation, expected: tuple[torch.Tensor, float]) -> None:
    logits, score = expected
    assert result.mask is not None and result.probability is not None
    edge = logits.abs() < 1e-5  # where rounding may decide
    assert torch.equal(torch.from_numpy(result.mask)[~edge], (logits > 0)[~edge])
    assert edge.float().mean() < 1e-3
    np.testing.assert_allclose(result.probability, logits.sigmoid(), atol=1e-4)
    assert result.score == pytest.approx(score, abs=1e-4)


def newest(images: Sequence[np.ndarray], number: int, small: SmallModel) -> Sequence[np.ndarray]:
    return images[max(0, number - small.model.config.reference_frames) : number]


def test_exact_answers_are_those_of_forward_while_instructions_come_and_go(
    small: SmallModel,
) -> None:
    images = pictures()
    answers = stream(small, images)
    assert sum(map(len, answers)) > FRAMES
    for number, results in enumerate(answers):
        references = newest(images, number, small)
        for result in results:
            assert result.source is Source.INFERRED and result.mask_age == 0
            assert result.reference_frames == len(references)
            assert_equal(
                result, straight(small, images[number], references, result.instruction.text)
            )


def test_fixed_references_are_exact_for_the_references_that_were_kept(small: SmallModel) -> None:
    images = pictures()
    every, most = 6, small.model.config.reference_frames
    answers = stream(small, images, schedule=Schedule.FIXED_REFERENCES, refresh_every=every)
    references: Sequence[np.ndarray] = ()
    kept_since = 0
    for number, results in enumerate(answers):
        if len(references) < most or number - kept_since == every:
            references, kept_since = newest(images, number, small), number
        for result in results:
            assert_equal(
                result, straight(small, images[number], references, result.instruction.text)
            )


def test_two_rate_decodes_new_frames_with_the_last_embedding(small: SmallModel) -> None:
    images = pictures()
    answers = stream(small, images, schedule=Schedule.TWO_RATE, reason_every=4, scene_change=1.0)
    reasoned_on: dict[str, int] = {}
    sources = set()
    for number, results in enumerate(answers):
        for result in results:
            text = result.instruction.text
            if number % 4 == 0 or text not in reasoned_on:
                reasoned_on[text] = number
            last = reasoned_on[text]
            sources.add(result.source)
            assert result.source is (Source.INFERRED if last == number else Source.PROPAGATED)
            assert result.mask_age == pytest.approx((number - last) * STRIDE)
            assert_equal(
                result,
                straight(
                    small, images[number], newest(images, last, small), text, seen=images[last]
                ),
            )
    assert sources == {Source.INFERRED, Source.PROPAGATED}
