from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_models import SmallModel

from instructseg_ros.model.device import DeviceMemoryError
from instructseg_ros.model.mask_decoder import best_mask
from instructseg_ros.model.model_files import ModelError
from instructseg_ros.model.query import FrameFeatures, InstructionEmbedding, Query
from instructseg_ros.model.segmenter import Prediction, Segmenter
from instructseg_ros.model.tasks import Task
from instructseg_ros.tabletop.world.recording import Recording

INSTRUCTIONS = ['the red mug', 'where is the blue mug?', 'all']


@pytest.fixture(scope='module')
def segmenter(tiny_model_dir: Path) -> Segmenter:
    return Segmenter.from_pretrained(str(tiny_model_dir), device='cpu')


def segmenter_of(small: SmallModel, threshold: float | None = None) -> Segmenter:
    return Segmenter(
        small.model, small.processor, name='small', device=torch.device('cpu'), threshold=threshold
    )


def picture(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def assert_same(first: Prediction, second: Prediction) -> None:
    np.testing.assert_allclose(first.probability, second.probability, atol=1e-3)
    assert first.score == pytest.approx(second.score, abs=1e-3)
    assert first.found == second.found


@pytest.mark.parametrize(
    ('height', 'width'), [(480, 640), (101, 37), (37, 101), (1, 1), (3, 200), (200, 3)]
)
def test_a_prediction_has_the_images_size(segmenter: Segmenter, height: int, width: int) -> None:
    prediction = segmenter.segment(picture(height, width), 'the red mug')
    assert prediction.mask.shape == prediction.probability.shape == (height, width)
    assert prediction.mask.dtype == np.bool_
    assert prediction.probability.dtype == np.float32
    assert isinstance(prediction.score, float) and isinstance(prediction.found, bool)
    assert 0 <= prediction.score <= 1
    assert np.isfinite(prediction.probability).all()


def test_the_mask_is_where_the_probability_is_above_a_half(segmenter: Segmenter) -> None:
    prediction = segmenter.segment(picture(), 'the red mug')
    away = np.abs(prediction.probability - 0.5) > 1e-6
    assert (prediction.mask == (prediction.probability > 0.5))[away].all()
    assert prediction.probability.min() >= 0 and prediction.probability.max() <= 1


def test_a_prediction_cannot_be_changed(segmenter: Segmenter) -> None:
    prediction = segmenter.segment(picture(), 'mug')
    assert [field.name for field in fields(prediction)] == [
        'mask',
        'probability',
        'score',
        'found',
        'unknown',
        'repaired',
        'reason',
        'centres',
        'is_nameless',
        'missing',
    ]
    with pytest.raises(AttributeError):
        prediction.score = 1.0  # type: ignore[misc]


def test_the_same_question_gets_the_same_answer(segmenter: Segmenter) -> None:
    first = segmenter.segment(picture(), 'the red mug')
    segmenter.segment(picture(seed=1), 'all')
    again = segmenter.segment(picture(), 'the red mug')
    assert np.array_equal(first.probability, again.probability)
    assert first.score == again.score


@pytest.mark.parametrize('references', [0, 1, 2])
def test_several_instructions_in_one_pass_are_answered_as_one_by_one(
    small: SmallModel, references: int
) -> None:
    segmenter = segmenter_of(small)
    earlier = encode_all(segmenter, *range(1, 1 + references))
    together = segmenter.segment_all(picture(), INSTRUCTIONS, earlier)
    assert len(together) == len(INSTRUCTIONS)
    for instruction, prediction in zip(INSTRUCTIONS, together, strict=True):
        assert_same(prediction, segmenter.segment(picture(), instruction, earlier))


def test_features_that_are_given_are_not_computed_again(small: SmallModel) -> None:
    segmenter = segmenter_of(small)
    image = picture()
    [features] = segmenter.encode([image])
    config = small.model.config
    assert features.vision.shape == (config.image_tokens, config.hidden_size)
    given = segmenter.segment(image, 'the red mug', features=features)
    assert np.array_equal(given.probability, segmenter.segment(image, 'the red mug').probability)
    [others] = encode_all(segmenter, 9)
    other = segmenter.segment(image, 'the red mug', features=others)
    assert not np.array_equal(given.probability, other.probability)


def test_reference_frames_change_the_answer(small: SmallModel) -> None:
    segmenter = segmenter_of(small)
    earlier = encode_all(segmenter, 1, 2)
    still = segmenter.segment(picture(), 'the red mug')
    moving = segmenter.segment(picture(), 'the red mug', earlier)
    assert still.score != moving.score


def test_no_instruction_has_no_answer(segmenter: Segmenter) -> None:
    assert segmenter.segment_all(picture(), []) == []


@pytest.mark.parametrize('text', ['', '   ', '?!', 'qwertz ' * 300, '[SEG]', 'żółty kubek'])
def test_any_text_is_answered(segmenter: Segmenter, text: str) -> None:
    prediction = segmenter.segment(picture(), text)
    assert np.isfinite(prediction.probability).all() and 0 <= prediction.score <= 1


def test_an_instruction_without_a_known_word_is_not_found(segmenter: Segmenter) -> None:
    segmenter.threshold = 0.0001
    for text in ('qwertz', '123', 'żółty kubek'):
        prediction = segmenter.segment(picture(), text)
        assert prediction.score == 0 and not prediction.found
    assert segmenter.segment(picture(), 'the red qwertz').unknown == ('qwertz',)
    assert segmenter.segment(picture(), 'the red mug').unknown == ()


def test_a_prediction_says_why_nothing_was_found(
    segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segmenter, 'threshold', 1.0)
    missed = segmenter.segment(picture(), 'the red \u676f\u5b50')
    assert 'nothing in the image matches' in missed.reason and 'threshold 1.00' in missed.reason
    assert 'unknown words: "\u676f\u5b50"; rephrase them' in missed.reason
    monkeypatch.setattr(segmenter, 'threshold', 0.0)
    assert segmenter.segment(picture(), 'the red mug').reason == ''


@pytest.mark.parametrize(
    'text',
    ['\u676f\u5b50', '\u043a\u0440\u0443\u0436\u043a\u0430', '\u0627\u0644\u0643\u0648\u0628'],
)
def test_a_text_of_another_script_is_named_as_unknown(segmenter: Segmenter, text: str) -> None:
    prediction = segmenter.segment(picture(), text)
    assert prediction.unknown == (text,) and not prediction.found
    assert f'unknown words: "{text}"' in prediction.reason


def test_quotation_marks_change_nothing(segmenter: Segmenter) -> None:
    plain = segmenter.segment(picture(), 'the red mug')
    for text in ("the 'red' mug", 'the \u2018red mug\u2019', 'the `red mug`', '"the red mug"'):
        quoted = segmenter.segment(picture(), text)
        assert np.array_equal(quoted.probability, plain.probability)
        assert quoted.unknown == ()


def test_an_unknown_word_is_named_once(segmenter: Segmenter) -> None:
    assert segmenter.segment(picture(), 'the qwertz on the qwertz').unknown.count('qwertz') == 1


def test_an_image_of_pil_is_as_good_as_an_array(segmenter: Segmenter) -> None:
    array = segmenter.segment(picture(), 'the red mug')
    image = segmenter.segment(Image.fromarray(picture()), 'the red mug')
    assert np.array_equal(array.probability, image.probability)


@pytest.mark.parametrize('shape', [(40, 60), (40, 60, 4), (0, 60, 3)])
def test_an_array_that_is_no_picture_is_named(segmenter: Segmenter, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r'\(H, W, 3\) uint8 RGB'):
        segmenter.segment(np.zeros(shape, np.uint8), 'the red mug')


def test_unknown_words_are_all_the_same(segmenter: Segmenter) -> None:
    first = segmenter.segment(picture(), 'the crimson mug')
    second = segmenter.segment(picture(), 'the scarlet mug')
    assert np.array_equal(first.probability, second.probability)


def test_the_task_matters_where_prompts_differ(compact: SmallModel, released: SmallModel) -> None:
    def scores(small: SmallModel) -> set[float]:
        tasks = (Task.REFERRING, Task.REASONING)
        return {segmenter_of(small).segment(picture(), 'mug', task=task).score for task in tasks}

    assert len(scores(compact)) == 1
    assert len(scores(released)) == 2


def test_a_target_is_found_from_the_threshold_on(small: SmallModel) -> None:
    image = picture()
    for instruction in INSTRUCTIONS:
        score = segmenter_of(small).segment(image, instruction).score
        at = segmenter_of(small, score).segment(image, instruction)
        above = segmenter_of(small, float(np.nextafter(score, 2))).segment(image, instruction)
        assert at.found == at.mask.any()
        assert not above.found


def test_an_empty_mask_is_never_found(compact: SmallModel) -> None:
    blind = SmallModel(model=copy.deepcopy(compact.model), processor=compact.processor)
    with torch.no_grad():
        for parameter in blind.model.mask_decoder.mask_embed.parameters():
            parameter.zero_()
    prediction = segmenter_of(blind, 0.0).segment(picture(), 'the red mug')
    assert not prediction.mask.any()
    assert not prediction.found and prediction.score == 0


def test_what_the_model_wants_is_shown_to_its_user(
    segmenter: Segmenter, tiny_model_dir: Path
) -> None:
    assert segmenter.name == str(tiny_model_dir)
    assert segmenter.reference_frames == 2
    assert segmenter.reference_stride == pytest.approx(0.2)
    assert 0 < segmenter.threshold < 1


def test_answers_need_no_memory_for_gradients(segmenter: Segmenter) -> None:
    assert segmenter.encode([picture()])[0].vision.is_inference()


def test_a_read_only_image_is_no_problem(segmenter: Segmenter) -> None:
    image = picture()
    image.flags.writeable = False
    assert_same(segmenter.segment(image, 'mug'), segmenter.segment(picture(), 'mug'))


def assert_near(folder: Path, dtype: str) -> None:
    """Answers on a still image and on moving ones are nearly those of float32."""
    clear = INSTRUCTIONS[:2]  # for the third, two masks are as good as each other
    exact, half = (
        Segmenter.from_pretrained(str(folder), device='cpu', dtype=name)
        for name in ('float32', dtype)
    )
    for seeds in ((), (1, 2)):
        first, second = (
            x.segment_all(picture(), clear, encode_all(x, *seeds)) for x in (exact, half)
        )
        for wanted, near in zip(first, second, strict=True):
            assert near.probability.dtype == np.float32
            np.testing.assert_allclose(near.probability, wanted.probability, atol=0.05)
            assert near.score == pytest.approx(wanted.score, abs=0.03)
            assert (near.mask == wanted.mask).mean() > 0.95


@pytest.mark.parametrize('dtype', ['bfloat16', 'mixed'])
def test_half_precision_answers_nearly_as_float32(
    small: SmallModel, dtype: str, tmp_path: Path
) -> None:
    small.model.save_pretrained(tmp_path)
    small.processor.save_pretrained(tmp_path)
    assert_near(tmp_path, dtype)


@pytest.mark.parametrize('dtype', ['bfloat16', 'mixed'])
def test_the_embedded_layout_answers_in_half_precision(tiny_model_dir: Path, dtype: str) -> None:
    assert_near(tiny_model_dir, dtype)


def test_a_small_model_is_computed_in_float32_of_itself(
    segmenter: Segmenter, tiny_model_dir: Path
) -> None:
    exact = Segmenter.from_pretrained(str(tiny_model_dir), device='cpu', dtype='float32')
    mine, its = (x.segment(picture(), 'the red mug') for x in (segmenter, exact))
    assert np.array_equal(mine.probability, its.probability)


@pytest.mark.parametrize(('dtype', 'remedy'), [('float16', '"bfloat16"'), ('half', 'mixed')])
def test_a_precision_that_cannot_be_had_is_refused_with_the_remedy(
    tiny_model_dir: Path, dtype: str, remedy: str
) -> None:
    with pytest.raises(ModelError, match=remedy):
        Segmenter.from_pretrained(str(tiny_model_dir), device='cpu', dtype=dtype)


def encode_all(segmenter: Segmenter, *seeds: int) -> list[FrameFeatures]:
    return segmenter.encode([picture(seed=seed) for seed in seeds])


def query_all(segmenter: Segmenter, *instructions: str) -> list[Query]:
    return [segmenter.query(text) for text in instructions]


def reason(
    segmenter: Segmenter,
    given: Sequence[Query],
    features: FrameFeatures,
    earlier: Sequence[FrameFeatures] = (),
    *,
    keep_references: bool = False,
) -> list[InstructionEmbedding]:
    """On one frame."""
    return segmenter.reason([given], [features], [earlier], keep_references=keep_references)[0]


def decode(
    segmenter: Segmenter,
    embeddings: Sequence[InstructionEmbedding],
    image: np.ndarray,
    *,
    scale: float = 1.0,
) -> list[Prediction]:
    """On one frame."""
    pixels = segmenter.encode_pixels([image], scale=scale)
    return segmenter.decode([embeddings], pixels)[0]


@torch.inference_mode()
def straight(
    small: SmallModel, seeds: Sequence[int], instruction: str, *, decoded_on: int
) -> tuple[torch.Tensor, float]:
    """Mask probabilities and score by the model alone, of one instruction.

    Args:
        seeds: pictures that the language model sees, the key frame last.
        decoded_on: picture whose mask it is.
    """
    model, processor = small.model, small.processor
    vision = [processor.vision_values(picture(seed=seed)) for seed in seeds]
    *earlier, tokens = model.encode_frame(torch.stack(vision)).unsqueeze(1)
    prompt = small.prompt(instruction, references=len(earlier))
    context = model.perceive(tokens, torch.stack(earlier, dim=1) if earlier else None, prompt)
    image = picture(seed=decoded_on)
    features = model.encode_pixels(processor.pixel_values(image)[None])
    answer = model.decode(model.reason(context, prompt), features).final
    masks = answer.mask_logits[0, 0]
    logits, score = best_mask(
        masks,
        answer.score_logits[0, 0],
        lambda masks: processor.restore_masks(masks, *image.shape[:2]),
    )
    sharp = processor.sharpen_mask(logits, image, masks.shape[-2:])
    return sharp.sigmoid(), score


@pytest.mark.parametrize('references', [0, 2])
def test_the_stages_one_by_one_answer_as_in_one_call(small: SmallModel, references: int) -> None:
    segmenter = segmenter_of(small)
    earlier = encode_all(segmenter, *range(1, 1 + references))
    given = query_all(segmenter, *INSTRUCTIONS)
    [features] = encode_all(segmenter, 0)
    embeddings = reason(segmenter, given, features, earlier)
    by_stages = decode(segmenter, embeddings, picture())
    at_once = segmenter.segment_all(picture(), INSTRUCTIONS, earlier)
    for mine, its in zip(by_stages, at_once, strict=True):
        assert_same(mine, its)


@pytest.mark.parametrize('seeds', [[0], [2, 1, 0]])
def test_embeddings_is_decoded_on_a_later_frame(small: SmallModel, seeds: list[int]) -> None:
    segmenter = segmenter_of(small)
    *earlier, features = encode_all(segmenter, *seeds)
    embeddings = reason(segmenter, query_all(segmenter, *INSTRUCTIONS), features, earlier)
    for later in (0, 5):
        predictions = decode(segmenter, embeddings, picture(seed=later))
        for instruction, prediction in zip(INSTRUCTIONS, predictions, strict=True):
            probability, score = straight(small, seeds, instruction, decoded_on=later)
            np.testing.assert_allclose(prediction.probability, probability, atol=1e-3)
            assert prediction.score == pytest.approx(score, abs=1e-3)


def test_embeddings_of_different_frames_are_decoded_together_in_their_order(
    small: SmallModel,
) -> None:
    segmenter = segmenter_of(small)
    red, blue, everything = query_all(segmenter, *INSTRUCTIONS)
    first, second = encode_all(segmenter, 1, 2)
    [red_first, all_first] = reason(segmenter, [red, everything], first)
    [blue_second, red_second] = reason(segmenter, [blue, red], second)
    mixed = [red_first, blue_second, all_first, red_second]
    together = decode(segmenter, mixed, picture())
    alone = [decode(segmenter, [each], picture())[0] for each in mixed]
    for one, other in itertools.combinations(alone, 2):  # or the order would not show
        assert np.abs(one.probability - other.probability).max() > 2e-3
    for mine, its in zip(together, alone, strict=True):
        assert_same(mine, its)


def test_no_embedding_has_no_mask(segmenter: Segmenter) -> None:
    assert decode(segmenter, [], picture()) == []


def test_answers_are_the_same_where_reference_frames_are_kept(small: SmallModel) -> None:
    segmenter = segmenter_of(small)
    keys = encode_all(segmenter, 5, 6, 7, 8)
    earlier = encode_all(segmenter, 1, 2, 3)
    plain, kept = (query_all(segmenter, *INSTRUCTIONS) for _ in range(2))
    # Frames and instructions change from answer to answer, apart and together.
    for key, shown, asked in zip(
        keys, ([0, 1], [0, 1], [0, 1, 2], [1, 2]), ([0, 1], [2, 0, 1], [1, 2], [0, 2]), strict=True
    ):
        references = [earlier[index] for index in shown]
        expected = reason(segmenter, [plain[index] for index in asked], key, references)
        answers = reason(
            segmenter, [kept[index] for index in asked], key, references, keep_references=True
        )
        for mine, its in zip(answers, expected, strict=True):
            torch.testing.assert_close(mine.mask_tokens, its.mask_tokens, atol=1e-4, rtol=1e-3)
            torch.testing.assert_close(mine.pooled, its.pooled, atol=1e-4, rtol=1e-3)


def test_a_still_image_has_no_references_to_keep(small: SmallModel) -> None:
    segmenter = segmenter_of(small)
    [features] = encode_all(segmenter, 0)
    plain, kept = (
        reason(segmenter, query_all(segmenter, *INSTRUCTIONS), features, keep_references=keep)
        for keep in (False, True)
    )
    for mine, its in zip(plain, kept, strict=True):
        torch.testing.assert_close(mine.mask_tokens, its.mask_tokens, atol=1e-5, rtol=1e-4)


def test_a_query_is_prepared_for_its_text_and_task(segmenter: Segmenter) -> None:
    phrase, question = query_all(segmenter, 'the red qwertz', 'where is the mug?')
    assert phrase.task is Task.REFERRING and phrase.known and phrase.unknown == ('qwertz',)
    assert question.task is Task.REASONING and question.unknown == ()
    assert segmenter.query('the red mug', Task.REASONING).task is Task.REASONING
    assert not segmenter.query('qwertz').known


@pytest.mark.parametrize('scale', [0.5, 0.75, 1.5])
@pytest.mark.parametrize(('height', 'width'), [(48, 64), (101, 37), (37, 101)])
def test_a_mask_has_the_images_size_at_any_input_size(
    small: SmallModel, scale: float, height: int, width: int
) -> None:
    segmenter = segmenter_of(small)
    image = picture(height, width)
    pixels = segmenter.encode_pixels([image], scale=scale)
    assert len(pixels.images) == 1 and pixels.images[0] is image
    assert pixels.canvas == small.processor.scaled_canvas(scale)
    given = reason(segmenter, query_all(segmenter, *INSTRUCTIONS), *segmenter.encode([image]))
    for prediction in decode(segmenter, given, image, scale=scale):
        assert prediction.mask.shape == prediction.probability.shape == (height, width)
        assert np.isfinite(prediction.probability).all()


def test_the_full_input_size_is_the_models_own(small: SmallModel) -> None:
    segmenter = segmenter_of(small)
    pixels = segmenter.encode_pixels([picture()], scale=1.0)
    assert pixels.canvas == small.processor.config.mask_size
    assert torch.equal(
        pixels.features.mask_features, segmenter.encode_pixels([picture()]).features.mask_features
    )


def test_the_embedded_model_sees_the_same_things_in_a_smaller_picture() -> None:
    with Recording() as recording:
        image = recording.observe(0.0, truth=False).rgb
    segmenter = Segmenter.from_pretrained('embedded', device='cpu')
    given = query_all(segmenter, 'the brown book', 'every black item', 'something I could drive')
    embeddings = reason(segmenter, given, *segmenter.encode([image]))
    full, small = (decode(segmenter, embeddings, image, scale=scale) for scale in (1.0, 0.75))
    for wanted, near in zip(full, small, strict=True):
        assert wanted.found and near.found
        union = np.count_nonzero(wanted.mask | near.mask)
        assert np.count_nonzero(wanted.mask & near.mask) / union > 0.7


def test_a_target_is_lost_at_the_threshold_where_the_model_names_no_other(
    compact: SmallModel,
) -> None:
    assert compact.model.config.release_threshold is None
    segmenter = segmenter_of(compact, 0.3)
    assert segmenter.release_threshold == segmenter.threshold == 0.3
    segmenter.threshold = 0.7
    assert segmenter.release_threshold == 0.7


def test_the_score_at_which_a_target_is_lost_moves_with_the_threshold(
    compact: SmallModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compact.model.config, 'score_threshold', 0.5)
    monkeypatch.setattr(compact.model.config, 'release_threshold', 0.4)
    segmenter = segmenter_of(compact)
    assert (segmenter.threshold, segmenter.release_threshold) == (0.5, pytest.approx(0.4))
    segmenter.threshold = 0.25
    assert segmenter.release_threshold == pytest.approx(0.2)
    assert segmenter_of(compact, 0.8).release_threshold == pytest.approx(0.64)


@pytest.fixture
def crowded(small: SmallModel) -> Iterator[SmallModel]:
    """A model whose device has no memory for the language model, as a GPU says it."""

    def fail(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError('CUDA out of memory.')

    hook = small.model.language_model.layers[0].register_forward_pre_hook(fail)
    yield small
    hook.remove()


def test_memory_that_runs_out_in_the_model_is_reported_in_plain_words(crowded: SmallModel) -> None:
    segmenter = segmenter_of(crowded)
    with pytest.raises(DeviceMemoryError, match='fewer instructions'):
        segmenter.segment(picture(), 'the red mug', encode_all(segmenter, 1))


def test_a_model_that_forgot_answers_as_before(small: SmallModel) -> None:
    segmenter = segmenter_of(small)

    def answers() -> list[Prediction]:
        given = query_all(segmenter, *INSTRUCTIONS)
        *earlier, features = encode_all(segmenter, 1, 2, 0)
        embeddings = reason(segmenter, given, features, earlier, keep_references=True)
        plain = segmenter.segment_all(picture(), INSTRUCTIONS, earlier)
        return plain + decode(segmenter, embeddings, picture())

    before = answers()
    segmenter.forget()
    segmenter.forget()
    for mine, its in zip(answers(), before, strict=True):
        assert_same(mine, its)


def test_embeddings_before_forgetting_can_still_be_decoded(small: SmallModel) -> None:
    segmenter = segmenter_of(small)
    pixels = segmenter.encode_pixels([picture()])
    given = query_all(segmenter, *INSTRUCTIONS)
    embeddings = segmenter.reason([given], encode_all(segmenter, 0), [()])
    [before] = segmenter.decode(embeddings, pixels)
    segmenter.forget()
    [after] = segmenter.decode(embeddings, pixels)
    for mine, its in zip(after, before, strict=True):
        assert_same(mine, its)
