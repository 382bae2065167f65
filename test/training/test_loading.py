from __future__ import annotations

from pathlib import Path

import pytest
from training_start import Start

from instructseg_ros.data import folder
from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.training.examples import ExampleConfig, ExampleMaker, form_of
from instructseg_ros.training.loading import Steps
from instructseg_ros.training.mixture import Mixture, Source


def steps_of(start: Start, data: Path) -> Steps:
    """Steps with a batch of one sample of a folder each."""
    maker = ExampleMaker(InstructSegProcessor.from_pretrained(start.model), ExampleConfig())
    source = Source(name='mine', share=1, samples=folder.read(data, 'train').samples)
    mixture = Mixture([source], lambda sample: form_of(sample, maker.config), batch=1, seed=0)
    return Steps(mixture, maker, rank=0, batch=1)


def pictures(data: Path, *, broken: int, whole: int) -> None:
    """Write a set, first of all things of one broken picture."""
    folder.make_sample(data, 0)
    entry = {'image': 'images/0.jpg', 'mask': 'masks/0.png', 'sentences': ['the mug']}
    other = {'image': 'images/1.jpg', 'mask': 'masks/1.png', 'sentences': ['the cup']}
    folder.write_entries(data / 'train', [entry] * broken + [other] * whole)
    (data / 'train' / 'images' / '0.jpg').write_bytes(b'')


def test_many_broken_samples_in_a_row_do_not_end_a_training(start: Start, tmp_path: Path) -> None:
    pictures(tmp_path, broken=50, whole=50)
    steps = steps_of(start, tmp_path)
    batches = [steps[step] for step in range(20)]
    assert any(batch.skipped for batch in batches)
    assert all('0.jpg' in problem for batch in batches for problem in batch.skipped)


def test_where_all_is_broken_it_is_said(start: Start, tmp_path: Path) -> None:
    pictures(tmp_path, broken=50, whole=0)
    with pytest.raises(ValueError, match=r'20 broken samples in a row: .*0\.jpg'):
        steps_of(start, tmp_path)[0]
