"""Text answers of a small model in the released layout, with its tokenizer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from released_checkpoint import write_released_checkpoint

from instructseg_ros.model.checkpoints import load_head, load_model
from instructseg_ros.model.conversion.released import convert_released
from instructseg_ros.model.generation import TextGenerator
from instructseg_ros.model.model_files import ModelError, find_model
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.model.stage_outputs import VisualContext
from instructseg_ros.model.tasks import IMAGE_ID

QUESTION = 'What is on the table?'


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    parent = tmp_path_factory.mktemp('released')
    convert_released(write_released_checkpoint(parent / 'source'), parent / 'ours')
    return find_model(str(parent / 'ours'))


@pytest.fixture(scope='module')
def loaded(folder: Path) -> tuple[InstructSegModel, InstructSegProcessor]:
    return load_model(folder)


@pytest.fixture(scope='module')
def generator(folder: Path, loaded: tuple[InstructSegModel, InstructSegProcessor]) -> TextGenerator:
    return TextGenerator(*loaded, load_head(folder))


@pytest.fixture(scope='module')
def tokens(loaded: tuple[InstructSegModel, InstructSegProcessor]) -> torch.Tensor:
    model, processor = loaded
    with torch.inference_mode():
        return model.encode_frame(processor.vision_values(picture())[None])[0]


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@torch.inference_mode()
def likeliest_one_by_one(
    folder: Path,
    loaded: tuple[InstructSegModel, InstructSegProcessor],
    tokens: torch.Tensor,
    *,
    explain: bool,
    count: int,
) -> str:
    """The whole sequence again for every token, without a cache."""
    model, processor = loaded
    prompt = processor.conversation(QUESTION, explain=explain)
    context = VisualContext(image_tokens=tokens[None], reference_tokens=None)
    if explain:
        context = model.perceive(tokens[None], None, prompt)
    _, rest = model.assemble(context, prompt)
    head = load_head(folder).to(rest)[: len(processor.tokenizer)]
    end = {processor.tokenizer.eos_token_id, processor.seg_token_id}
    ids: list[int] = []
    while len(ids) < count and not end & set(ids):
        words = model.language_model.embed_tokens(torch.tensor([ids], dtype=torch.long))
        states = model.language_model.prefill(torch.cat([rest[:, 0], words], dim=1))[-1]
        ids.append(int((head @ states[0, -1]).argmax()))
    return str(processor.tokenizer.decode([i for i in ids if i not in end])).strip()


@pytest.mark.parametrize('explain', [False, True])
def test_an_answer_takes_the_likeliest_token_each_time(
    explain: bool,
    folder: Path,
    loaded: tuple[InstructSegModel, InstructSegProcessor],
    generator: TextGenerator,
    tokens: torch.Tensor,
) -> None:
    expected = likeliest_one_by_one(folder, loaded, tokens, explain=explain, count=6)
    assert generator.generate(tokens, QUESTION, explain=explain, max_new_tokens=6) == expected
    assert expected


def test_the_question_stands_in_the_conversation_after_the_image(
    loaded: tuple[InstructSegModel, InstructSegProcessor],
) -> None:
    processor = loaded[1]
    ids = processor.conversation(f'  {QUESTION}\nA. a mug <image>\n').input_ids[0, 0]
    image = ids == IMAGE_ID
    assert image.sum() == processor.config.image_tokens
    before, after = ids[: image.nonzero()[0]], ids[image.nonzero()[-1] + 1 :]
    decode = processor.tokenizer.decode
    assert decode(before).endswith('questions. USER: ')
    assert decode(after) == f'\n{QUESTION}\nA. a mug <image> ASSISTANT:'


def test_the_image_changes_the_answer(generator: TextGenerator, tokens: torch.Tensor) -> None:
    answer = generator.generate(tokens, QUESTION, max_new_tokens=6)
    assert generator.generate(-4 * tokens, QUESTION, max_new_tokens=6) != answer


def test_sampling_repeats_itself_only_from_the_same_seed(
    generator: TextGenerator, tokens: torch.Tensor
) -> None:
    def sample(seed: int) -> str:
        torch.manual_seed(seed)
        return generator.generate(tokens, QUESTION, max_new_tokens=5, temperature=1.5)

    assert sample(0) == sample(0) != sample(1)


def ends_at_once(
    token: int, folder: Path, loaded: tuple[InstructSegModel, InstructSegProcessor]
) -> TextGenerator:
    """A generator whose likeliest token is always the same one."""
    model, processor = loaded
    head = torch.zeros_like(load_head(folder), dtype=torch.float32)
    generator = TextGenerator(model, processor, head)
    bias = torch.full((len(processor.tokenizer),), -1.0)
    bias[token] = 1.0
    generator._phi.lm_head.bias = torch.nn.Parameter(bias, requires_grad=False)
    return generator


@pytest.mark.parametrize('token', ['<|endoftext|>', '[SEG]'])
def test_the_end_of_text_ends_the_answer_and_is_not_part_of_it(
    token: str,
    folder: Path,
    loaded: tuple[InstructSegModel, InstructSegProcessor],
    tokens: torch.Tensor,
) -> None:
    ending = loaded[1].tokenizer.convert_tokens_to_ids(token)
    generator = ends_at_once(ending, folder, loaded)
    assert generator.generate(tokens, QUESTION, explain=True) == ''


def test_an_answer_stays_within_the_models_context(
    folder: Path, loaded: tuple[InstructSegModel, InstructSegProcessor], tokens: torch.Tensor
) -> None:
    word = loaded[1].tokenizer.convert_tokens_to_ids('the')
    generator = ends_at_once(word, folder, loaded)
    limit = loaded[0].config.text_config.max_position_embeddings
    question = 'why ' * (limit - 800)
    length = loaded[1].conversation(question).input_ids.shape[-1]
    assert length < limit
    answer = generator.generate(tokens, question, max_new_tokens=10_000)
    assert answer == 'the' * (limit - length)


def test_a_question_that_fills_the_context_is_refused(
    generator: TextGenerator, tokens: torch.Tensor
) -> None:
    with pytest.raises(ValueError, match=r'no room for an answer.*Shorten'):
        generator.generate(tokens, 'why ' * 4000)


def test_a_segmenter_answers_in_words_and_still_segments(folder: Path) -> None:
    segmenter = Segmenter.from_pretrained(str(folder), device='cpu')
    before = segmenter.segment(picture(), 'the red mug')
    assert segmenter.generate(picture(), QUESTION, max_new_tokens=4)
    after = segmenter.segment(picture(), 'the red mug')
    assert np.array_equal(before.probability, after.probability)


def test_a_packed_model_answers_in_words_too(folder: Path) -> None:
    segmenter = Segmenter.from_pretrained(str(folder), device='cpu', dtype='bfloat16')
    assert segmenter.generate(picture(), QUESTION, max_new_tokens=4)


def test_the_embedded_model_says_that_it_has_no_words() -> None:
    with pytest.raises(ModelError, match=r'no lm_head\.safetensors.*instructseg convert'):
        Segmenter.from_pretrained('embedded', device='cpu').generate(picture(), QUESTION)
