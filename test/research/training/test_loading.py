from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from PIL import Image
from training_start import Start

from instructseg_ros.cli.main import main
from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.research.data import coco
from instructseg_ros.research.data import image_folder as folder
from instructseg_ros.research.training.batches import Mixture, Source, Steps
from instructseg_ros.research.training.examples import ExampleConfig, ExampleMaker, form_of


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


def test_a_training_skips_what_data_check_calls_a_problem_and_says_so(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    coco.make_sample(tmp_path / 'coco', 0)
    file = tmp_path / 'coco' / 'annotations' / 'instances_train.json'
    content = json.loads(file.read_text())
    for annotation in content['annotations'][::3]:
        annotation['segmentation'] = {'size': [96, 128], 'counts': [5, 7]}
    content['annotations'][1]['segmentation'] = {'size': [10**6] * 2, 'counts': [10**12]}
    content['annotations'][2]['segmentation'].append([1, 2, 3, 4])
    file.write_text(json.dumps(content))
    arguments = [
        'train',
        '--recipe',
        'smoke',
        '--model',
        str(start.model),
        '--set',
        'steps=6',
        '--set',
        'sources=[{sets: [coco]}]',
        '--data',
        f'coco={tmp_path / "coco"}',
        '--workers',
        '0',
        '--output',
        str(tmp_path / 'output'),
    ]
    with caplog.at_level(logging.WARNING):
        assert main(arguments) == 0
    assert (tmp_path / 'output' / 'model' / 'model.safetensors').is_file()
    assert 'coco: 1 entries are left out' in caplog.text
    assert f'{file} annotation 1 ' in caplog.text and 'more than an image has' in caplog.text
    assert f'skipped {file} annotation' in caplog.text
    assert 'do not fill 96 x 128 pixels' in caplog.text
    assert '1 of 2 polygons have fewer than three corners' in caplog.text


def test_a_mask_that_is_empty_by_mistake_never_teaches_that_nothing_is_there(
    start: Start, tmp_path: Path
) -> None:
    pictures(tmp_path, broken=0, whole=1)
    Image.new('L', (128, 96)).save(tmp_path / 'train' / 'masks' / '1.png')
    with pytest.raises(ValueError, match=r'1\.png is all 0: correct it, or name no mask'):
        steps_of(start, tmp_path)[0]
    entry = {'image': 'images/1.jpg', 'mask': None, 'sentences': ['the cup']}
    folder.write_entries(tmp_path / 'train', [entry])
    batch = steps_of(start, tmp_path)[0]
    assert len(batch.targets[0]) == 0 and batch.skipped == ()
