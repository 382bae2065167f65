from __future__ import annotations

import string
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_models import WORDS, SmallModel
from tokenizers import Regex, Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from instructseg_ros.model.embedded_model import word_tokenizer
from instructseg_ros.model.processor import InstructSegProcessor, ProcessorConfig, stretch_levels
from instructseg_ros.model.tasks import COMPACT, IMAGE_ID, SEG_ID, TEMPORAL_ID, Task

SIZES = [(97, 61), (31, 203), (64, 64), (1, 1), (1, 50), (50, 1), (480, 640), (241, 319)]
MEAN = np.array([123.675, 116.28, 103.53])
STD = np.array([58.395, 57.12, 57.375])


def picture(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng((height, width))
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def released_size_rule(height: int, width: int, side: int) -> tuple[int, int]:
    """The released pre-processing scales the shortest side, then bounds the longest."""
    scale = side / min(height, width)
    tall, wide = (side, scale * width) if height < width else (scale * height, side)
    if max(tall, wide) > side:
        tall, wide = (length * (side / max(tall, wide)) for length in (tall, wide))
    return int(tall + 0.5), int(wide + 0.5)


@pytest.fixture(scope='module')
def processor() -> InstructSegProcessor:
    config = ProcessorConfig(
        vision_size=28,
        mask_size=(96, 128),
        image_tokens=4,
        num_latents=2,
        num_queries=3,
        prompts=dict(COMPACT),
    )
    return InstructSegProcessor(word_tokenizer(WORDS), config)


def with_canvas(processor: InstructSegProcessor, height: int, width: int) -> InstructSegProcessor:
    values = {**vars(processor.config), 'mask_size': (height, width)}
    return InstructSegProcessor(processor.tokenizer, ProcessorConfig(**values))


@pytest.mark.parametrize(('height', 'width'), SIZES)
def test_the_vision_tower_sees_pillows_bicubic_squash(
    processor: InstructSegProcessor, height: int, width: int
) -> None:
    image = picture(height, width)
    squashed = Image.fromarray(image).resize((28, 28), Image.Resampling.BICUBIC)
    expected = np.asarray(squashed).transpose(2, 0, 1) / 255
    values = processor.vision_values(image)
    assert values.shape == (3, 28, 28) and values.dtype == torch.float32
    np.testing.assert_allclose(values.numpy(), (expected - 0.5) / 0.5, atol=1e-6)


@pytest.mark.parametrize(('height', 'width'), SIZES)
def test_the_mask_branch_sees_pillows_bilinear_letterbox(
    processor: InstructSegProcessor, height: int, width: int
) -> None:
    image = picture(height, width)
    tall, wide = processor.resized_size(height, width)
    canvas = np.full((96, 128, 3), 128, np.uint8)
    resized = Image.fromarray(image).resize((wide, tall), Image.Resampling.BILINEAR)
    canvas[:tall, :wide] = np.asarray(resized)
    values = processor.pixel_values(image)
    assert values.shape == (3, 96, 128) and values.dtype == torch.float32
    expected = ((canvas - MEAN) / STD).transpose(2, 0, 1)
    np.testing.assert_allclose(values.numpy(), expected, atol=1e-5)


def test_padding_is_grey_before_it_is_normalised(processor: InstructSegProcessor) -> None:
    values = processor.pixel_values(picture(20, 100))
    np.testing.assert_allclose(values[:, -1, -1].numpy(), (128 - MEAN) / STD, atol=1e-6)
    np.testing.assert_allclose(values[:, -1, -1].numpy(), [0.074, 0.205, 0.426], atol=1e-3)


def test_sizes_on_a_square_canvas_follow_the_released_rule(processor: InstructSegProcessor) -> None:
    square = with_canvas(processor, 1024, 1024)
    rng = np.random.default_rng(0)
    sizes = [(int(h), int(w)) for h, w in rng.integers(8, 2500, (2000, 2))]
    sizes += [(480, 640), (1080, 1920), (3, 1024), (1024, 3), (1023, 1025), (683, 1024), (9, 512)]
    sizes += [(93, 2048), (2048, 93), (2160, 3840)]
    wrong = [
        size for size in sizes if square.resized_size(*size) != released_size_rule(*size, 1024)
    ]
    assert wrong == []


def test_a_needle_keeps_at_least_one_row_and_one_column(processor: InstructSegProcessor) -> None:
    assert processor.resized_size(1, 5000) == (1, 128)
    assert processor.resized_size(5000, 1) == (96, 1)
    assert processor.pixel_values(picture(5000, 1)).isfinite().all()


def test_a_canvas_that_is_not_square_is_filled_along_one_side(
    processor: InstructSegProcessor,
) -> None:
    assert processor.resized_size(480, 640) == (96, 128)
    assert processor.resized_size(640, 480) == (96, 72)
    assert processor.resized_size(100, 400) == (32, 128)


def test_pillow_images_of_any_mode_are_read_as_rgb(processor: InstructSegProcessor) -> None:
    image = picture(20, 30)
    expected = processor.vision_values(image)
    assert torch.equal(processor.vision_values(Image.fromarray(image)), expected)
    grey = Image.fromarray(image[..., 0])
    repeated = np.repeat(image[..., :1], 3, axis=-1)
    assert torch.equal(processor.vision_values(grey), processor.vision_values(repeated))
    assert torch.equal(
        processor.pixel_values(Image.fromarray(image).convert('RGBA')),
        processor.pixel_values(image),
    )


def test_an_image_in_any_memory_layout_is_read_the_same(processor: InstructSegProcessor) -> None:
    image = picture(40, 60)
    view = np.ascontiguousarray(image[::-1, :, ::-1])[::-1, :, ::-1]
    assert not view.flags.c_contiguous
    assert torch.equal(processor.pixel_values(view), processor.pixel_values(image))
    assert torch.equal(processor.vision_values(view), processor.vision_values(image))


def words_of(processor: InstructSegProcessor, *instructions: str, **options: object) -> list[str]:
    """The tokens under the instruction mask of a prompt with one frame, row after row."""
    prompt = processor.prompt([instructions], **options)  # type: ignore[arg-type]
    rows = zip(prompt.input_ids[0], prompt.refer_mask[0], strict=True)
    return [
        ' '.join(processor.tokenizer.convert_ids_to_tokens(row[mask].tolist()))
        for row, mask in rows
    ]


def test_seg_is_the_last_token_of_every_instruction(processor: InstructSegProcessor) -> None:
    assert words_of(processor, 'the red mug', 'where is the ball?', '') == [
        'the red mug [SEG]',
        'where is the ball [SEG]',
        '[SEG]',
    ]


def test_unknown_words_keep_their_place(processor: InstructSegProcessor) -> None:
    assert words_of(processor, 'the crimson mug') == ['the [UNK] mug [SEG]']


def character_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer that shows every character of a text."""
    vocabulary = {token: index for index, token in enumerate(['[SEG]', *string.printable])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token='~'))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex('(?m).'), behavior='isolated')
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, additional_special_tokens=['[SEG]'])


@pytest.mark.parametrize(
    ('instruction', 'task', 'text'),
    [
        ('the red mug', Task.AUTO, 'the red mug.'),
        ('the red mug.', Task.AUTO, 'the red mug.'),
        ('the red mug!', Task.AUTO, 'the red mug!'),
        ('where is the mug', Task.AUTO, 'where is the mug'),
        ('where is the mug?', Task.AUTO, 'where is the mug?'),
        ('the red mug?', Task.REFERRING, 'the red mug?'),
        ('where is the mug', Task.REFERRING, 'where is the mug.'),
        ('the red mug', Task.REASONING, 'the red mug'),
        ('  the\t red \n\n mug  ', Task.AUTO, 'the red mug.'),
        ('the\u00a0red\u2003mug', Task.AUTO, 'the red mug.'),
        ('where  is\tit ? ', Task.AUTO, 'where is it ?'),
    ],
)
def test_a_phrase_gets_its_full_stop_and_whitespace_is_normalised(
    processor: InstructSegProcessor, instruction: str, task: Task, text: str
) -> None:
    by_character = InstructSegProcessor(character_tokenizer(), processor.config)
    prompt = by_character.prompt([[instruction]], task=task)
    ids = prompt.input_ids[prompt.refer_mask].tolist()
    assert ''.join(by_character.tokenizer.convert_ids_to_tokens(ids)) == f'{text}[SEG]'


def test_rows_are_padded_on_the_right(processor: InstructSegProcessor) -> None:
    prompt = processor.prompt([['the red mug', 'mug'], ['all', 'the mug']])
    assert prompt.input_ids.shape == prompt.refer_mask.shape == (2, 2, 4 + 4 + 3)
    assert prompt.refer_mask.dtype == torch.bool
    mug, the = (int(processor.tokenizer.convert_tokens_to_ids(word)) for word in ('mug', 'the'))
    assert prompt.input_ids[0, 1].tolist() == [IMAGE_ID] * 4 + [mug, 2] + [SEG_ID] * 3 + [0] * 2
    assert prompt.input_ids[1, 1].tolist() == [IMAGE_ID] * 4 + [the, mug, 2] + [SEG_ID] * 3 + [0]
    assert prompt.refer_mask[0, 1].nonzero().flatten().tolist() == [4, 5]


def test_a_compact_prompt_shares_the_image_among_its_instructions(
    processor: InstructSegProcessor,
) -> None:
    prompt = processor.prompt([['the red mug', 'mug']], reference_frames=2)
    assert prompt.prefix_length == 4
    assert (prompt.input_ids[..., :4] == IMAGE_ID).all()
    assert not (prompt.input_ids == TEMPORAL_ID).any()


def test_a_released_prompt_shares_nothing_among_its_instructions(released: SmallModel) -> None:
    assert released.prompt('the red mug', 'mug').prefix_length == 0
    assert released.prompt('the red mug', references=3).prefix_length == 0


@pytest.mark.parametrize('references', [0, 1, 4])
def test_a_released_prompt_has_places_for_every_reference_frame(
    released: SmallModel, references: int
) -> None:
    config = released.processor.config
    ids = released.prompt('the red mug', references=references).input_ids[0, 0]
    places = {
        TEMPORAL_ID: config.num_latents * max(1, references),
        IMAGE_ID: config.image_tokens,
        SEG_ID: config.num_queries,
    }
    for place, count in places.items():
        where = (ids == place).nonzero().flatten()
        assert len(where) == count
        assert where[-1] - where[0] == count - 1  # in one piece
    assert ids[-1] == SEG_ID


def test_the_seg_of_the_answer_is_no_part_of_the_instruction(released: SmallModel) -> None:
    prompt = released.prompt('the red mug')
    segs = (prompt.input_ids[0, 0] == released.processor.seg_token_id).nonzero().flatten()
    assert len(segs) == 2
    assert prompt.refer_mask[0, 0, segs].tolist() == [True, False]


def test_the_task_chooses_the_wording_of_the_prompt(released: SmallModel) -> None:
    processor = released.processor
    words = ['referring', 'reasoning', 'segmentation', 'reference', 'frames', 'an']
    other = InstructSegProcessor(word_tokenizer(words), processor.config)

    def wording(instruction: str, **options: object) -> str:
        ids = other.prompt([[instruction]], **options).input_ids[0, 0]  # type: ignore[arg-type]
        tokens = other.tokenizer.convert_ids_to_tokens(ids[ids > 2].tolist())
        return ' '.join(tokens)

    assert wording('cup') == 'an an referring segmentation segmentation'
    assert wording('what?') == 'an an reasoning segmentation segmentation'
    assert wording('cup', task=Task.REASONING) == wording('what?')
    assert wording('what', reference_frames=2) == (
        'an reference frames reasoning segmentation segmentation'
    )


@pytest.mark.parametrize(('height', 'width'), [(97, 61), (31, 203), (480, 640), (241, 319)])
def test_a_mask_comes_back_to_where_it_was_drawn(
    processor: InstructSegProcessor, height: int, width: int
) -> None:
    truth = np.zeros((height, width), bool)
    truth[height // 4 : height // 2, width // 3 : 3 * width // 4] = True
    canvas = processor.pixel_values(np.repeat(truth[..., None] * np.uint8(255), 3, axis=-1))
    logits = torch.where(canvas[:1] > (150 - MEAN[0]) / STD[0], 5.0, -5.0)
    # The model's masks are coarser than its canvas.
    coarse = torch.nn.functional.avg_pool2d(logits, 2)
    restored = processor.restore_masks(torch.cat([coarse, -coarse]), height, width)
    assert restored.shape == (2, height, width) and restored.dtype == torch.float32
    mask = restored[0].numpy() > 0
    assert np.count_nonzero(mask & truth) / np.count_nonzero(mask | truth) > 0.8
    rows, columns = np.nonzero(mask)
    truth_rows, truth_columns = np.nonzero(truth)
    tolerance = 1.5 * max(height / 96, width / 128)
    assert abs(rows.mean() - truth_rows.mean()) < tolerance / 2
    assert abs(columns.mean() - truth_columns.mean()) < tolerance / 2
    assert torch.equal(restored[1], -restored[0])


def test_masks_are_resized_to_the_canvas_cropped_and_resized_to_the_image(
    processor: InstructSegProcessor,
) -> None:
    logits = torch.randn(3, 24, 32, generator=torch.Generator().manual_seed(0))

    def resize(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        return torch.nn.functional.interpolate(
            x[None], size=size, mode='bilinear', align_corners=False
        )[0]

    expected = resize(resize(logits, (96, 128))[:, :96, :72], (101, 76))
    assert torch.allclose(processor.restore_masks(logits, 101, 76), expected)


def test_mask_pixels_on_the_padding_never_reach_the_image(processor: InstructSegProcessor) -> None:
    logits = torch.full((1, 24, 32), -3.0)
    logits[:, 8:] = 3.0  # a 100 x 400 image fills a third of the canvas
    assert (processor.restore_masks(logits, 100, 400) < 0).all()


def test_masks_are_sharpened_if_the_configuration_enables_it(
    processor: InstructSegProcessor,
) -> None:
    truth = np.zeros((120, 160), bool)
    truth[40:90, 50:120] = True
    image = np.where(truth[..., None], np.uint8((30, 60, 200)), np.uint8((200, 160, 120)))
    blunt = np.zeros((15, 20), np.float32)
    blunt[5:11, 6:15] = 1
    grid = torch.from_numpy(8 * blunt - 4)
    [logits] = processor.restore_masks(grid[None], 120, 160)
    assert processor.sharpen_mask(logits, image, grid.shape) is logits
    values = {**vars(processor.config), 'guided_filter': True}
    sharpening = InstructSegProcessor(processor.tokenizer, ProcessorConfig(**values))
    sharp = sharpening.sharpen_mask(logits, Image.fromarray(image), grid.shape)
    assert np.count_nonzero((logits > 0).numpy() != truth) > 200
    assert np.count_nonzero((sharp > 0).numpy() != truth) < 20


def test_half_precision_logits_are_restored_in_full_precision(
    processor: InstructSegProcessor,
) -> None:
    restored = processor.restore_masks(torch.ones(1, 24, 32, dtype=torch.bfloat16), 48, 64)
    assert restored.dtype == torch.float32 and (restored == 1).all()


def test_a_saved_processor_comes_back_the_same(small: SmallModel, tmp_path: Path) -> None:
    small.processor.save_pretrained(tmp_path)
    again = InstructSegProcessor.from_pretrained(tmp_path)
    assert again.config == small.processor.config
    assert again.seg_token_id == small.processor.seg_token_id
    instructions = [['the red mug', 'where is the left ball?']]
    mine = small.processor.prompt(instructions, reference_frames=2)
    its = again.prompt(instructions, reference_frames=2)
    assert torch.equal(mine.input_ids, its.input_ids)
    assert torch.equal(mine.refer_mask, its.refer_mask)
    image = picture(33, 77)
    assert torch.equal(small.processor.pixel_values(image), again.pixel_values(image))
    assert torch.equal(small.processor.vision_values(image), again.vision_values(image))


@pytest.mark.parametrize('scale', [0.7, 0.75, 0.9, 1.0, 1.5, 2.0])
def test_a_smaller_canvas_is_the_nearest_of_whole_cells(
    processor: InstructSegProcessor, scale: float
) -> None:
    for side, whole in zip(processor.scaled_canvas(scale), (96, 128), strict=True):
        assert side % 16 == 0 and abs(side - scale * whole) <= 8
    if scale in (1.0, 2.0):
        assert processor.scaled_canvas(scale) == (96 * scale, 128 * scale)


def test_a_canvas_has_at_least_four_cells_a_side(processor: InstructSegProcessor) -> None:
    assert processor.scaled_canvas(0.001) == (64, 64)


@pytest.mark.parametrize('scale', [0.25, 0.5, 0.75])
@pytest.mark.parametrize(('height', 'width'), SIZES)
def test_on_another_canvas_all_is_as_for_a_processor_of_that_size(
    processor: InstructSegProcessor, scale: float, height: int, width: int
) -> None:
    canvas = processor.scaled_canvas(scale)
    other = with_canvas(processor, *canvas)
    image = picture(height, width)
    values = processor.pixel_values(image, canvas)
    assert values.shape == (3, *canvas)
    assert torch.equal(values, other.pixel_values(image))
    assert processor.resized_size(height, width, canvas) == other.resized_size(height, width)
    shape = (2, canvas[0] // 4, canvas[1] // 4)
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    restored = processor.restore_masks(logits, height, width, canvas)
    assert restored.shape == (2, height, width)
    assert torch.equal(restored, other.restore_masks(logits, height, width))


def test_each_instruction_may_have_a_task_of_its_own(released: SmallModel) -> None:
    texts, tasks = ['the mug', 'the ball'], [Task.REASONING, Task.REFERRING]
    mixed = released.processor.prompt([texts] * 2, task=[tasks] * 2, reference_frames=2)
    for row, (text, task) in enumerate(zip(texts, tasks, strict=True)):
        alone = released.processor.prompt([[text]], task=task, reference_frames=2)
        length = alone.input_ids.shape[-1]
        for frame in range(2):
            assert torch.equal(mixed.input_ids[frame, row, :length], alone.input_ids[0, 0])
            assert torch.equal(mixed.refer_mask[frame, row, :length], alone.refer_mask[0, 0])
    # A task for all is that task for each.
    one = released.processor.prompt([texts], task=Task.REASONING)
    each = released.processor.prompt([texts], task=[[Task.REASONING] * 2])
    assert torch.equal(one.input_ids, each.input_ids)


def test_each_frame_may_have_instructions_and_tasks_of_its_own(released: SmallModel) -> None:
    texts = [['the mug', 'the ball'], ['where is the left ball of all', 'mug']]
    tasks = [[Task.REASONING, Task.REFERRING], [Task.REASONING, Task.REASONING]]
    prompt = released.processor.prompt(texts, task=tasks, reference_frames=1)
    assert prompt.input_ids.shape[:2] == (2, 2)
    for frame, (its_texts, its_tasks) in enumerate(zip(texts, tasks, strict=True)):
        alone = released.processor.prompt([its_texts], task=[its_tasks], reference_frames=1)
        length = alone.input_ids.shape[-1]
        assert torch.equal(prompt.input_ids[frame, :, :length], alone.input_ids[0])
        assert torch.equal(prompt.refer_mask[frame, :, :length], alone.refer_mask[0])
        assert not prompt.refer_mask[frame, :, length:].any()


def test_as_many_tasks_as_instructions_are_asked_for(released: SmallModel) -> None:
    with pytest.raises(ValueError, match='argument'):
        released.processor.prompt([['mug', 'ball']], task=[[Task.REFERRING]])


@pytest.mark.parametrize('references', [0, 1, 4])
def test_prompts_lead_up_to_the_image(released: SmallModel, references: int) -> None:
    instructions = ('the red mug', 'where is the left ball of all?')
    prompt = released.prompt(*instructions, references=references)
    count = released.processor.config.num_latents * max(1, references)
    assert prompt.start_ids.count(TEMPORAL_ID) == count
    assert prompt.text == prompt.start_ids[: prompt.start_ids.index(TEMPORAL_ID)]
    for ids in prompt.input_ids[0].tolist():
        assert tuple(ids[: len(prompt.start_ids)]) == prompt.start_ids
        assert ids.index(IMAGE_ID) == len(prompt.start_ids)


def test_a_prompt_that_begins_with_the_image_has_no_lead(processor: InstructSegProcessor) -> None:
    prompt = processor.prompt([['the red mug', 'mug']], reference_frames=2)
    assert prompt.start_ids == prompt.text == ()


def test_prompts_share_a_lead_up_to_where_their_tasks_differ(
    processor: InstructSegProcessor,
) -> None:
    values = {
        **vars(processor.config),
        'prompts': {
            'image_referring': 'the left <temporal><image><refer><seg>',
            'image_reasoning': 'the ball <temporal><image><refer><seg>',
        },
    }
    other = InstructSegProcessor(processor.tokenizer, ProcessorConfig(**values))
    tasks = [Task.REFERRING, Task.REASONING]
    mixed = other.prompt([['mug', 'mug']], task=[tasks])
    assert other.tokenizer.convert_ids_to_tokens(list(mixed.start_ids)) == ['the']
    one = other.prompt([['mug']], task=Task.REASONING)
    assert other.tokenizer.convert_ids_to_tokens(list(one.text)) == ['the', 'ball']
    assert one.start_ids == (*one.text, TEMPORAL_ID, TEMPORAL_ID)


@pytest.mark.parametrize('references', [0, 2])
def test_the_bounds_of_a_prompts_instructions_hold_all_of_them(
    small: SmallModel, references: int
) -> None:
    prompt = small.processor.prompt(
        [['where is the left ball of all', 'mug']],
        task=[[Task.REASONING, Task.REFERRING]],
        reference_frames=references,
    )
    places = prompt.refer_mask[0].nonzero()[:, 1]
    assert (prompt.read_from, prompt.refer_stop) == (int(places.min()), int(places.max()) + 1)


@pytest.mark.parametrize('references', [0, 2])
def test_a_padded_prompt_has_lengths_of_whole_multiples_and_the_same_tokens(
    small: SmallModel, references: int
) -> None:
    texts = [['the red mug', 'all']]
    plain = small.processor.prompt(texts, reference_frames=references)
    padded = small.processor.prompt(texts, reference_frames=references, multiple_of=8)
    length = plain.input_ids.shape[-1]
    assert padded.input_ids.shape[-1] % 8 == 0
    assert 0 <= padded.input_ids.shape[-1] - length < 8
    assert torch.equal(padded.input_ids[..., :length], plain.input_ids)
    assert not padded.refer_mask[..., length:].any()
    assert padded.read_from == plain.read_from
    assert plain.refer_stop <= padded.refer_stop <= padded.input_ids.shape[-1]


def test_an_image_of_low_contrast_is_stretched_and_others_stay() -> None:
    rng = np.random.default_rng(0)
    clear = Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8))
    assert stretch_levels(clear) is clear
    hazy = Image.fromarray((0.3 * np.asarray(clear) + 140).astype(np.uint8))
    stretched = np.asarray(stretch_levels(hazy)).astype(int)
    assert np.abs(stretched - np.asarray(clear)).max() <= 6
    plain = Image.new('RGB', (40, 60), (90, 90, 90))
    assert stretch_levels(plain) is plain


def test_levels_are_stretched_for_both_branches_if_the_configuration_enables_it(
    processor: InstructSegProcessor,
) -> None:
    rng = np.random.default_rng(0)
    hazy = (0.2 * rng.integers(0, 256, (96, 128, 3)) + 180).astype(np.uint8)
    values = {**vars(processor.config), 'stretch_levels': True}
    stretching = InstructSegProcessor(processor.tokenizer, ProcessorConfig(**values))
    for prepare in ('vision_values', 'pixel_values'):
        before, after = (getattr(each, prepare)(hazy) for each in (processor, stretching))
        assert after.std() > 2 * before.std()


def test_look_alikes_are_saved_with_the_processor(
    processor: InstructSegProcessor, tmp_path: Path
) -> None:
    pytest.importorskip('rapidfuzz')

    repairing = InstructSegProcessor(processor.tokenizer, processor.config, ['mog'])
    repairing.save_pretrained(tmp_path)
    again = InstructSegProcessor.from_pretrained(tmp_path)
    assert again.repair_spelling('the mugg, a mog', ['mugg', 'mog'])[1] == {'mugg': 'mug'}
    assert processor.repair_spelling('the mugg', ['mugg']) == ('the mugg', {})
