from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from training_start import Start

from instructseg_ros.model.processor import InstructSegProcessor, denormalize
from instructseg_ros.model.prompt_builder import IGNORED
from instructseg_ros.research.data.dataset import data_set
from instructseg_ros.research.data.sample import Sample
from instructseg_ros.research.data.targets import EmptyMask
from instructseg_ros.research.training.examples import Batch, ExampleConfig, ExampleMaker, form_of


def maker(start: Start, **config: float) -> ExampleMaker:
    processor = InstructSegProcessor.from_pretrained(start.model)
    return ExampleMaker(processor, ExampleConfig(**config))  # type: ignore[arg-type]


def samples(start: Start, name: str) -> list[Sample]:
    return data_set(name).read(start.folders[name], 'train').samples


def said(batch: Batch, row: int, maker: ExampleMaker) -> str:
    labels = batch.labels[row]
    return maker.processor.tokenizer.decode(labels[labels != IGNORED])


def test_a_target_lies_on_the_canvas_as_its_picture_does(start: Start) -> None:
    made = maker(start)
    sample = samples(start, 'refcoco')[0]
    batch = made.batch([made.make(sample, 0)])
    [target] = batch.targets
    assert target.shape == (1, *made.processor.config.mask_size)
    picture = denormalize(batch.pixel_values[0])
    inside = picture[:, target[0]].mean(dim=1)
    truth = np.array(sample.frames[0].load())[sample.targets[0].mask()].mean(axis=0)
    np.testing.assert_allclose(inside, truth, atol=12)


def test_what_is_not_there_has_no_mask(start: Start) -> None:
    made = maker(start)
    sample = samples(start, 'refcoco')[0]
    nothing = dataclasses.replace(sample.targets[0], rings=())
    example = made.make(dataclasses.replace(sample, targets=(nothing,)), 0)
    assert example.target.shape[0] == 0


@pytest.mark.parametrize(
    ('name', 'references'), [('refcoco', None), ('revos', 4), ('ref-davis17', 4), ('llava', None)]
)
def test_a_batch_has_what_its_kind_needs(start: Start, name: str, references: int | None) -> None:
    made = maker(start)
    batch = made.batch(
        [made.make(sample, seed) for seed, sample in enumerate(samples(start, name)[:3])]
    )
    conversation = name == 'llava'
    assert (batch.pixel_values is None) == conversation
    shape = None if batch.reference_values is None else batch.reference_values.shape[1]
    assert shape == references
    assert len(batch.targets) == (0 if conversation else 3)
    assert batch.labels.shape == (3, batch.prompt.input_ids.shape[-1])


@pytest.mark.parametrize('name', ['revos', 'ref-youtube-vos'])
def test_clips_are_drawn_until_the_target_is_in_the_key_frame(start: Start, name: str) -> None:
    sample = samples(start, name)[0]
    seen = len(sample.frames) // 2
    nothing = EmptyMask(sample.targets[0].mask().shape)
    targets = tuple(
        target if index == seen else nothing for index, target in enumerate(sample.targets)
    )
    sample = dataclasses.replace(sample, targets=targets)
    redrawn, first = maker(start), maker(start, key_frame_has_target=False)
    assert all(redrawn.make(sample, seed).target.shape[0] == 1 for seed in range(20))
    assert {first.make(sample, seed).target.shape[0] for seed in range(20)} == {0, 1}
    alike = redrawn.make(sample, 3)
    assert torch.equal(alike.vision_values, redrawn.make(sample, 3).vision_values)


def test_a_video_whose_target_is_in_no_key_frame_is_named(start: Start) -> None:
    sample = samples(start, 'revos')[0]
    nothing = EmptyMask(sample.targets[0].mask().shape)
    sample = dataclasses.replace(sample, targets=(nothing,) * len(sample.frames))
    with pytest.raises(ValueError, match='in the key frames of 200 random clips'):
        maker(start).make(sample, 0)
    assert maker(start, key_frame_has_target=False).make(sample, 0).target.shape[0] == 0


def test_only_answers_are_to_be_said(start: Start) -> None:
    made = maker(start, authors_labels=False)
    sample = samples(start, 'llava')[0]
    batch = made.batch([made.make(sample, 0)])
    first, second = sample.turns
    end = made.processor.tokenizer.eos_token
    assert said(batch, 0, made) == f' {first.answer}{end} {second.answer}{end}'


def test_a_reasoning_answer_may_explain_itself(start: Start) -> None:
    sample = samples(start, 'reasonseg')[0]
    always, never = (
        maker(start, explained_share=share, authors_labels=False) for share in (1.0, 0.0)
    )
    explained = said(always.batch([always.make(sample, 0)]), 0, always)
    assert explained.startswith(' \nSure, the segmentation result is ')
    assert f'{sample.explanation}[SEG]' in explained
    plain = said(never.batch([never.make(sample, 0)]), 0, never)
    end = never.processor.tokenizer.eos_token
    assert plain == f' \nSure, the segmentation result is [SEG]{end}'


def test_referring_segmentation_teaches_no_words(start: Start) -> None:
    made = maker(start)
    batch = made.batch([made.make(samples(start, 'refcoco')[0], 0)])
    assert (batch.labels == IGNORED).all()


def test_an_example_depends_on_its_seed_alone(start: Start) -> None:
    made = maker(start)
    sample = samples(start, 'revos')[0]
    first, again, other = (made.make(sample, seed) for seed in (1, 1, 2))
    assert torch.equal(first.vision_values, again.vision_values)
    assert torch.equal(first.reference_values, again.reference_values)
    assert not torch.equal(first.reference_values, other.reference_values)


def test_forms_tell_conversations_and_lengths_of_videos_apart(start: Start) -> None:
    config = ExampleConfig()
    forms = {name: form_of(samples(start, name)[0], config) for name in start.folders}
    assert forms['refcoco'] == forms['reasonseg'] == (False, 0)
    assert forms['revos'] == (False, 4)
    assert forms['llava'] == (True, 0)
