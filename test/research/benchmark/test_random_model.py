from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from released_tokenizer import write_tokenizer
from transformers import AutoTokenizer

from instructseg_ros.model.model_files import ModelError
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.precision import Precision
from instructseg_ros.model.processor import InstructSegProcessor, ProcessorConfig
from instructseg_ros.model.tasks import IMAGE_ID, RELEASED, SEG_ID, TEMPORAL_ID, Task
from instructseg_ros.research.benchmark.random_model import (
    configuration,
    random_model,
    released_prompt,
)

CPU = torch.device('cpu')
PRECISIONS = {
    'float32': Precision(),
    'bfloat16': Precision(dtype=torch.bfloat16, language=torch.bfloat16),
    'mixed': Precision(language=torch.bfloat16),
}
LANGUAGE = ('vision_tower', 'projector', 'language_model')


@pytest.fixture(scope='module')
def built() -> InstructSegModel:
    """The tiny model as transformers builds it."""
    return InstructSegModel(configuration('tiny'))


@pytest.fixture
def poisoned_memory() -> Iterator[None]:
    """Let torch fill the memory that it hands out with NaN."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


@pytest.fixture(params=list(PRECISIONS))
def precision(request: pytest.FixtureRequest) -> Precision:
    return PRECISIONS[request.param]


@pytest.mark.usefixtures('poisoned_memory')
def test_every_value_of_a_random_model_is_set(precision: Precision) -> None:
    assert torch.empty(1).isnan()
    model = random_model(configuration('tiny'), precision, CPU)
    tensors = [*model.named_parameters(), *model.named_buffers()]
    assert {x.device.type for _, x in tensors} == {'cpu'}
    assert [name for name, x in tensors if not x.isfinite().all()] == []


def test_random_weights_are_not_rounded_to_float16_and_the_remedy_is_named() -> None:
    with pytest.raises(ModelError, match='"float32"'):
        random_model(configuration('tiny'), Precision(rounded=True), CPU)


def test_its_weights_have_the_precision_that_was_asked_for(precision: Precision) -> None:
    model = random_model(configuration('tiny'), precision, CPU)
    for name, weight in model.named_parameters():
        of_language = name.split('.')[0] in LANGUAGE
        assert weight.dtype == (precision.language if of_language else precision.dtype), name


@pytest.mark.usefixtures('poisoned_memory')
def test_its_buffers_are_those_of_a_model_that_was_built_as_usual(
    built: InstructSegModel, precision: Precision
) -> None:
    mine = dict(random_model(configuration('tiny'), precision, CPU).named_buffers())
    expected = dict(built.named_buffers())
    assert mine.keys() == expected.keys()
    for ending in ('rotary_emb.inv_freq', 'relative_position_index', 'position_ids'):
        assert any(name.endswith(ending) for name in mine)
    for name, buffer in expected.items():
        torch.testing.assert_close(mine[name], buffer, rtol=0, atol=0)


def test_rotations_by_position_stay_in_float32(precision: Precision) -> None:
    model = random_model(configuration('tiny'), precision, CPU)
    assert model.language_model.rotary_emb.inv_freq.dtype == torch.float32


def test_it_is_for_inference() -> None:
    model = random_model(configuration('tiny'), Precision(), CPU)
    assert not any(part.training for part in model.modules())
    assert not any(weight.requires_grad for weight in model.parameters())


def test_the_default_precision_of_torch_is_left_alone() -> None:
    random_model(configuration('tiny'), PRECISIONS['bfloat16'], CPU)
    assert torch.get_default_dtype() == torch.float32
    impossible = configuration('tiny')
    impossible.vision_config.num_attention_heads = 3
    with pytest.raises(ValueError, match='divisible'):
        random_model(impossible, PRECISIONS['bfloat16'], CPU)
    assert torch.get_default_dtype() == torch.float32


def test_the_full_size_is_the_released_models() -> None:
    with torch.device('meta'):
        model = InstructSegModel(configuration('full'))
    assert sum(weight.numel() for weight in model.parameters()) == pytest.approx(3.3e9, rel=0.01)


@pytest.mark.parametrize(
    ('references', 'reference_tokens', 'length'),
    [(0, 128, 1025 + 6), (1, 128, 1036 + 6), (4, 512, 1420 + 6)],
)
def test_a_prompt_has_as_many_tokens_as_the_released_one(
    references: int, reference_tokens: int, length: int
) -> None:
    ids = released_prompt(configuration('full'), references=references).input_ids
    assert ids.shape == (1, 1, length)
    counts = {place: int((ids == place).sum()) for place in (IMAGE_ID, TEMPORAL_ID, SEG_ID)}
    assert counts == {IMAGE_ID: 729, TEMPORAL_ID: reference_tokens, SEG_ID: 100}


@pytest.mark.parametrize('references', [0, 4])
def test_what_is_read_of_a_prompt_begins_with_its_instruction(references: int) -> None:
    prompt = released_prompt(configuration('full'), references=references)
    places = prompt.refer_mask[0, 0].nonzero()[:, 0].tolist()
    assert places == list(range(prompt.read_from, prompt.read_from + 6))
    ids = prompt.input_ids[0, 0]
    assert (ids[places] >= 0).all()
    assert (ids[: prompt.read_from] == IMAGE_ID).sum() == 729


@pytest.fixture(scope='module')
def released_processor(tmp_path_factory: pytest.TempPathFactory) -> InstructSegProcessor:
    """The released prompts in the released tokens."""
    config = configuration('full')
    return InstructSegProcessor(
        AutoTokenizer.from_pretrained(write_tokenizer(tmp_path_factory.mktemp('tokenizer'))),
        ProcessorConfig(
            vision_size=config.vision_config.image_size,
            mask_size=(1024, 1024),
            image_tokens=config.image_tokens,
            num_latents=config.num_latents,
            num_queries=config.num_queries,
            prompts=dict(RELEASED),
        ),
    )


@pytest.mark.parametrize('references', [0, 1, 4])
def test_a_prompt_is_laid_out_as_the_processor_lays_it_out(
    released_processor: InstructSegProcessor, references: int
) -> None:
    # Five tokens and their [SEG].
    instruction = 'where is the red mug'
    expected = released_processor.prompt(
        [[instruction]], task=Task.REASONING, reference_frames=references
    )
    mine = released_prompt(configuration('full'), references=references)
    assert torch.equal(mine.input_ids.clamp(max=0), expected.input_ids.clamp(max=0))
    assert torch.equal(mine.refer_mask, expected.refer_mask)
    assert mine.prefix_length == expected.prefix_length
    assert mine.read_from == expected.read_from
    assert mine.refer_stop == expected.refer_stop
    assert [min(token, 0) for token in mine.start_ids] == [
        min(token, 0) for token in expected.start_ids
    ]
