from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from instructseg_ros.model.model_files import write_manifest
from instructseg_ros.research.data import labelled_bag as bag
from instructseg_ros.research.data.sample import (
    ImageBytes,
    ImageFile,
    ImageSource,
    Sample,
    SampleTask,
)
from instructseg_ros.research.evaluation.run_metadata import NOTE, forget_images, origin_of
from instructseg_ros.research.evaluation.run_metadata import claim as claim_file

DATA = Path('data')


def asked(key: str = '1', text: str = 'the mug', image: str = 'a.jpg') -> Sample:
    return Sample(
        key=key,
        task=SampleTask.IMAGE_REFERRING,
        frames=(ImageFile(Path(image)),),
        instructions=(text,),
    )


def origin(
    benchmark: str,
    model: str,
    *,
    data: Path = DATA,
    split: str = 'val',
    dtype: str = 'auto',
    samples: tuple[Sample, ...] = (asked(),),
) -> dict[str, Any]:
    return origin_of(benchmark, data, split, samples, model, dtype)


def claim(output: Path, mine: Mapping[str, Any], *, first: bool = True) -> None:
    claim_file(output / NOTE, mine, holds='predictions of', first=first)


def test_an_output_folder_belongs_to_its_first_run(tiny_model_dir: Path, tmp_path: Path) -> None:
    model = str(tiny_model_dir)
    mine = origin('refcoco', model)
    claim(tmp_path, mine, first=True)
    claim(tmp_path, mine, first=True)
    claim(tmp_path, mine, first=False)
    for other in (
        origin('refcoco+', model),
        origin('refcoco', model, data=tmp_path),
        origin('refcoco', model, split='testA'),
        origin('refcoco', 'embedded'),
        origin('refcoco', model, dtype='int8'),
    ):
        with pytest.raises(ValueError, match='remove it or name another --output'):
            claim(tmp_path, other, first=True)
    claim(tmp_path, mine, first=True)


@pytest.mark.parametrize(
    'other',
    [(asked(text='the cup'),), (asked(image='b.jpg'),), (asked('2'),), (asked(), asked('2'))],
)
def test_changed_samples_are_detected(
    other: tuple[Sample, ...], tiny_model_dir: Path, tmp_path: Path
) -> None:
    claim(tmp_path, origin('folder', str(tiny_model_dir)), first=True)
    with pytest.raises(ValueError, match='holds predictions of samples'):
        claim(tmp_path, origin('folder', str(tiny_model_dir), samples=other), first=True)


@pytest.mark.parametrize('pinned', [True, False])
def test_weights_are_identified_by_content_and_not_by_time(
    pinned: bool, tiny_model_dir: Path, tmp_path: Path
) -> None:
    model = shutil.copytree(tiny_model_dir, tmp_path / 'model')
    file = model / 'model.safetensors'
    if pinned:
        write_manifest(model)
    claim(tmp_path / 'out', origin('gqa', str(model)), first=True)
    os.utime(file, (2e9, 2e9))
    claim(tmp_path / 'out', origin('gqa', str(model)), first=True)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, (2e9, 2e9))
    if pinned:
        write_manifest(model)
    with pytest.raises(ValueError, match=r'of model \S+ with weights [0-9a-f]{12}, not '):
        claim(tmp_path / 'out', origin('gqa', str(model)), first=True)


def test_an_incomplete_record_belongs_to_another_run(tiny_model_dir: Path, tmp_path: Path) -> None:
    mine = origin('gqa', str(tiny_model_dir))
    (tmp_path / 'evaluation.json').write_text(json.dumps({'benchmark': 'gqa'}))
    with pytest.raises(ValueError, match='with weights None, not'):
        claim(tmp_path, mine, first=True)


def test_a_model_is_the_same_under_any_path(
    tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_model_dir.parent)
    assert origin('gqa', tiny_model_dir.name) == origin('gqa', str(tiny_model_dir))


def test_a_moved_model_is_the_same(tiny_model_dir: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_model_dir, tmp_path / 'model')
    claim(tmp_path / 'out', origin('gqa', str(model)))
    moved = model.rename(tmp_path / 'moved')
    assert origin('gqa', str(moved))['weights'] == origin('gqa', str(tiny_model_dir))['weights']
    claim(tmp_path / 'out', origin('gqa', str(moved)))  # raises where it is another model


def one_file(folder: Path) -> ImageSource:
    return ImageFile(folder / 'a.jpg')


def bytes_of_it(folder: Path) -> ImageSource:
    return ImageBytes('picture 1', (folder / 'a.jpg').read_bytes())


def bag_of_it(folder: Path) -> ImageSource:
    return bag.BagImage(bag.BagMessage(folder, '/camera/image', 0, stamp=0))


@pytest.mark.parametrize('picture', [one_file, bytes_of_it, bag_of_it])
def test_an_image_replaced_under_its_name_is_detected(
    picture: Callable[[Path], ImageSource], tiny_model_dir: Path, tmp_path: Path
) -> None:
    data = tmp_path / 'data'
    data.mkdir()
    (data / 'a.jpg').write_bytes(b'an image')

    def again() -> None:
        sample = dataclasses.replace(asked(), frames=(picture(data),))
        claim(tmp_path / 'out', origin('folder', str(tiny_model_dir), samples=(sample,)))

    again()
    again()
    (data / 'a.jpg').write_bytes(b'another image')
    with pytest.raises(ValueError, match='images that have changed since, the first in sample 1'):
        again()
    forget_images(tmp_path / 'out' / NOTE, ['1'])  # as after a run that skipped it
    again()


def test_one_process_writes_the_record(tiny_model_dir: Path, tmp_path: Path) -> None:
    claim(tmp_path / 'out', origin('gqa', str(tiny_model_dir)), first=False)
    assert not (tmp_path / 'out').exists()


def test_a_damaged_record_is_reported(tiny_model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / 'evaluation.json').write_text('{')
    with pytest.raises(ValueError, match=r'evaluation\.json is not readable as JSON'):
        claim(tmp_path, origin('gqa', str(tiny_model_dir)), first=True)
