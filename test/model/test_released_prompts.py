"""The released prompts under the tokenizer of the release have the token ids of the authors."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import pytest
from released_tokenizer import END_ID, SEG_ID, write_tokenizer
from transformers import PreTrainedTokenizerFast

from instructseg_ros.model.processor import InstructSegProcessor, ProcessorConfig
from instructseg_ros.model.prompt_builder import IGNORED, PromptRow
from instructseg_ros.model.tasks import IMAGE_ID, TEMPORAL_ID, Task
from instructseg_ros.model.tasks import SEG_ID as MASK_ID

# Written out: another implementation of GPT-2's encoding gave them.
SYSTEM = [
    *(32, 8537, 1022, 257, 11040, 2836, 290, 281, 11666, 4430, 8796, 13),
    *(383, 8796, 3607, 7613, 11, 6496, 11, 290, 23507, 7429, 284, 262, 2836, 338, 2683, 13),
    *(1294, 1137, 25),
]
LEAD_IN = {
    'image': [*SYSTEM, 770, 318, 281, 2939, 220],
    'video': [*SYSTEM, 1318, 389, 4941, 13431, 290, 1994, 5739, 220],
}
KIND = {Task.REFERRING: [33973, 1806], Task.REASONING: [23219, 278]}
MIDDLE = {
    'image': ([198, 11, 3387, 1804], [1001, 5154, 341, 1864, 284, 262, 1708, 12064, 25, 198]),
    'video': (
        [198, 13, 4222, 1804],
        [
            *(1001, 5154, 341, 1864, 284, 262, 1708, 12064, 13, 198),
            *(1212, 318, 477, 262, 12064, 25, 220),
        ],
    ),
}
_SURE = [24994, 8808, 8643, 25, 220, 198, 19457, 11, 262, 10618, 341, 1255, 318, 220, 50295]
ANSWER = {'image': _SURE, 'video': [198, *_SURE]}

TASKS = [
    pytest.param(Task.REFERRING, 'image', id='RES'),
    pytest.param(Task.REASONING, 'image', id='ReasonSeg'),
    pytest.param(Task.REFERRING, 'video', id='R-VOS'),
    pytest.param(Task.REASONING, 'video', id='ReasonVOS'),
]
FRAMES = {'image': 0, 'video': 4}
TEXTS = {Task.REFERRING: 'the red mug', Task.REASONING: 'What could I drink from?'}
REFER = {
    Task.REFERRING: [1169, 2266, 25152, 13, 50295],  # with its full stop
    Task.REASONING: [2061, 714, 314, 4144, 422, 30, 50295],
}


@pytest.fixture(scope='session')
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    folder = write_tokenizer(tmp_path_factory.mktemp('released_tokenizer'))
    return PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)


@pytest.fixture(scope='session')
def processor(tokenizer: PreTrainedTokenizerFast) -> InstructSegProcessor:
    config = ProcessorConfig(
        vision_size=384, mask_size=(1024, 1024), image_tokens=729, num_latents=128, num_queries=100
    )
    return InstructSegProcessor(tokenizer, config)


def ids_of(
    processor: InstructSegProcessor, text: str, task: Task = Task.AUTO, frames: int = 0
) -> list[int]:
    prompt = processor.prompt([[text]], task=task, reference_frames=frames)
    ids: list[int] = prompt.input_ids[0, 0].tolist()
    return ids


def instruction_ids(
    processor: InstructSegProcessor, text: str, task: Task = Task.AUTO
) -> list[int]:
    prompt = processor.prompt([[text]], task=task)
    ids: list[int] = prompt.input_ids[prompt.refer_mask].tolist()
    return ids


@pytest.mark.parametrize(('task', 'kind'), TASKS)
def test_a_prompt_has_the_released_token_ids(
    processor: InstructSegProcessor, task: Task, kind: str
) -> None:
    before, after = MIDDLE[kind]
    expected = [
        *LEAD_IN[kind],
        *[TEMPORAL_ID] * (128 * max(1, FRAMES[kind])),
        198,
        *[IMAGE_ID] * 729,
        *(*before, *KIND[task], *after),
        *REFER[task],
        *ANSWER[kind],
        *[MASK_ID] * 100,
    ]
    assert ids_of(processor, TEXTS[task], task, FRAMES[kind]) == expected


@pytest.mark.parametrize(('task', 'kind'), TASKS)
def test_a_prompt_s_segments_are_as_long_as_the_released_ones(
    processor: InstructSegProcessor, task: Task, kind: str
) -> None:
    ids = ids_of(processor, TEXTS[task], task, FRAMES[kind])
    groups = groupby(ids, lambda token: min(token, 0))  # places are below 0
    lengths = [len(list(group)) for _, group in groups]
    refer = len(REFER[task])
    expected = {
        'image': [36, 128, 1, 729, 16 + refer + 15, 100],
        'video': [39, 512, 1, 729, 23 + refer + 16, 100],
    }
    assert lengths == expected[kind]
    with_end_of_text = len(ids) + 1  # nothing that is read comes after it: left off
    assert with_end_of_text == {'image': 1026, 'video': 1421}[kind] + refer


def test_eight_reference_frames_fit_the_language_model(processor: InstructSegProcessor) -> None:
    assert len(ids_of(processor, 'the red mug', frames=8)) == 1932 + len(REFER[Task.REFERRING])


@pytest.mark.parametrize('text', ['the red mug', 'What could I drink from?', '', "naïve café's"])
@pytest.mark.parametrize('task', [Task.REFERRING, Task.REASONING])
def test_every_instruction_ends_with_seg(
    processor: InstructSegProcessor, text: str, task: Task
) -> None:
    ids = instruction_ids(processor, text, task)
    assert ids[-1] == SEG_ID and ids.count(SEG_ID) == 1


@pytest.mark.parametrize('text', ['  the red mug ', 'the  red\tmug', 'the\n\n red \t\t\t mug'])
def test_whitespace_in_an_instruction_is_normalised(
    processor: InstructSegProcessor, tokenizer: PreTrainedTokenizerFast, text: str
) -> None:
    assert instruction_ids(processor, text) == REFER[Task.REFERRING]
    assert tokenizer(text)['input_ids'] != REFER[Task.REFERRING][:-2]  # else nothing is tested


def test_runs_of_whitespace_have_tokens_of_their_own(tokenizer: PreTrainedTokenizerFast) -> None:
    runs = [' ' * length for length in range(31, 1, -1)]
    runs += ['\t' * length for length in range(9, 1, -1)]
    assert [tokenizer(run)['input_ids'] for run in runs] == [[i] for i in range(50257, SEG_ID)]


def test_the_tokenizer_has_the_released_ids(tokenizer: PreTrainedTokenizerFast) -> None:
    assert len(tokenizer) == 50296
    assert tokenizer.convert_tokens_to_ids('[SEG]') == SEG_ID == 50295
    names = ('bos', 'eos', 'unk', 'pad')
    assert {getattr(tokenizer, f'{name}_token_id') for name in names} == {END_ID}
    assert tokenizer.bos_token == '<|endoftext|>'


def test_no_word_is_unknown(processor: InstructSegProcessor) -> None:
    known, unknown = processor.known_and_unknown("the naïve café's 杯子")
    assert known and unknown == []


def test_a_saved_processor_gives_the_same_ids(
    processor: InstructSegProcessor, tmp_path: Path
) -> None:
    processor.save_pretrained(tmp_path)
    loaded = InstructSegProcessor.from_pretrained(tmp_path)
    for text in ('the red mug', 'Which  of these is naïve?'):
        assert ids_of(loaded, text, frames=4) == ids_of(processor, text, frames=4)


def said(processor: InstructSegProcessor, row: PromptRow, *, as_authors: bool) -> str:
    labels = row.labels(END_ID, as_authors=as_authors)
    assert len(labels) == len(row.ids)
    return processor.tokenizer.decode([label for label in labels if label != IGNORED])


def test_the_authors_labels_of_a_conversation_begin_early_and_later_ones_late(
    processor: InstructSegProcessor,
) -> None:
    row = processor.dialogue([('What is it?', 'A bus.'), ('Whose?', 'My own.'), ('Sure?', 'Yes')])
    end = processor.tokenizer.eos_token
    assert said(processor, row, as_authors=False) == f' A bus.{end} My own.{end} Yes{end}'
    assert said(processor, row, as_authors=True) == f': A bus.{end} own.{end}{end}'


@pytest.mark.parametrize('explanation', ['', 'It holds coffee.'])
def test_the_authors_labels_of_a_reasoning_answer_begin_early(
    processor: InstructSegProcessor, explanation: str
) -> None:
    row = processor.row('What is it?', Task.REASONING, verbatim=True, explanation=explanation)
    whole = said(processor, row, as_authors=False)
    assert whole.startswith(' \nSure, the segmentation result is ')
    assert said(processor, row, as_authors=True) == f':{whole}'


def test_a_row_without_an_answer_has_no_labels() -> None:
    row = PromptRow()
    row.add([5, 6], 'ask')
    assert row.labels(END_ID, as_authors=True) == [IGNORED, IGNORED]
