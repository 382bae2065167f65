"""`instructseg data check` and what the commands make of the same faults."""

from __future__ import annotations

import copy
import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_samples import make_sample
from PIL import Image

import instructseg_ros.tabletop  # noqa: F401 - registers its data set
from instructseg_ros.cli.main import main
from instructseg_ros.research.data import coco
from instructseg_ros.research.data import image_folder as folder
from instructseg_ros.research.data.check import check
from instructseg_ros.research.data.dataset import DataSet, data_set, names
from instructseg_ros.research.data.reading import DataError


def test_data_check_names_the_file_and_the_remedy_of_every_problem_and_warning(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    coco.make_sample(tmp_path, 0)
    file = tmp_path / 'annotations' / 'instances_train.json'
    content = json.loads(file.read_text())
    regions = [
        {'size': [96, 128], 'counts': [5]},
        {'size': [10**6] * 2, 'counts': [10**12]},
        {'size': [96, 128], 'counts': ['x']},
    ]
    for number, region in enumerate(regions):
        content['annotations'][3 * number + 2]['segmentation'] = region
    content['annotations'][9]['segmentation'].append([1, 2, 3, 4])
    file.write_text('\N{BOM}' + json.dumps(content), encoding='utf-8')
    assert main(['data', 'check', 'coco', str(tmp_path), '--json', str(tmp_path / 'out.json')]) == 1
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith('coco train: ') and shown[0].endswith('3 problems, 1 warnings')
    assert all(line.startswith(f'  {file} annotation ') for line in shown[1:4])
    assert sum('do not fill 96 x 128 pixels' in line for line in shown) == 1
    assert shown[4].startswith(f'  warning: {file} annotation ')
    written = json.loads((tmp_path / 'out.json').read_text())
    assert len(written['train']['problems']) == 3 and len(written['train']['warnings']) == 1


def test_data_check_succeeds_with_warnings(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder.make_sample(tmp_path, 0)
    file = tmp_path / 'train' / folder.FILE
    entry = json.loads(file.read_text().splitlines()[0]) | {'mask': 'masks/0.jpg'}
    Image.open(file.parent / 'masks/0.png').save(file.parent / 'masks/0.jpg')
    file.write_text(json.dumps(entry))
    assert main(['data', 'check', 'folder', str(tmp_path), '--split', 'train']) == 0
    shown = capsys.readouterr().out
    assert '0 problems, 1 warnings' in shown and 'save masks as PNG' in shown


def test_data_check_and_segment_report_the_same_error_for_an_image(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder.make_sample(tmp_path, 0)
    picture = tmp_path / 'train' / 'images' / '0.jpg'
    Image.fromarray(np.full((96, 128), 0.5, np.float32)).save(picture, 'TIFF')
    reason = (
        f'{picture} cannot be read as an image: its pixels are floating-point numbers: save '
        f'it with whole numbers of 8 or 16 bits'
    )
    assert main(['data', 'check', 'folder', str(tmp_path), '--split', 'train']) == 1
    assert reason in capsys.readouterr().out
    assert main(['segment', str(picture), 'the mug']) == 1
    assert capsys.readouterr().err == f'instructseg: {reason}\n'


@pytest.mark.parametrize(
    'runs',
    [
        {'size': [96, 128], 'counts': 'no run lengths'},
        {'size': [96, 128], 'counts': [5, '7']},
        {'size': [10**6] * 2, 'counts': 'PP9'},
        {'size': 'large', 'counts': ''},
        {},
        'text',
    ],
)
def test_damaged_run_lengths_of_revos_affect_only_their_sentences(
    tmp_path: Path, runs: object
) -> None:
    make_sample('revos', tmp_path)
    file = tmp_path / 'mask_dict.json'
    content = json.loads(file.read_text())
    content['1'][3] = runs  # the second thing, which two of three sentences mean
    file.write_text(json.dumps(content))
    data = data_set('revos')
    [findings] = check(data, tmp_path, ('valid',))
    [whole] = check(data, tmp_path, ('train',))
    assert whole.problems == () and findings.samples == whole.samples - 2
    sentences = tmp_path / 'meta_expressions_valid_.json'
    assert [problem.where.split(' frame')[0] for problem in findings.problems] == [
        f'{sentences} valid/clip0 1',
        f'{sentences} valid/clip0 2',
    ]


def test_a_missing_annotation_of_revos_is_named_with_its_file(tmp_path: Path) -> None:
    make_sample('revos', tmp_path)
    file = tmp_path / 'mask_dict.json'
    content = json.loads(file.read_text())
    del content['1']
    file.write_text(json.dumps(content))
    [findings] = check(data_set('revos'), tmp_path, ('valid',))
    assert {problem.what for problem in findings.problems} == {'mask_dict.json has no annotation 1'}


JUNK = (None, 5, 'text', [], {}, [None], -1, float('inf'), 10**30)


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where values are in one of JSON, of a list only the first one."""
    yield place
    if isinstance(value, dict):
        for name in [*value][:9]:
            yield from places(value[name], (*place, name))
    elif isinstance(value, list) and value:
        yield from places(value[0], (*place, 0))


def replaced(value: Any, place: tuple[Any, ...], junk: object) -> Any:
    """The value with another one at a place."""
    if not place:
        return junk
    copied = copy.copy(value)
    copied[place[0]] = replaced(value[place[0]], place[1:], junk)
    return copied


def changed_json(text: str) -> Iterator[str]:
    """JSON with junk in place of each of its values."""
    content = json.loads(text)
    changes = [((), junk) for junk in JUNK]
    changes += [(place, junk) for place, junk in zip(places(content), itertools.cycle(JUNK))]
    changes += [((0,), junk) for junk in JUNK if isinstance(content, list) and content]
    for place, junk in changes:
        yield json.dumps(replaced(content, place, junk))


def changed_lines(text: str) -> Iterator[str]:
    """Lines of JSON with junk in the first one."""
    first, *others = text.splitlines()
    for line in ('{', *changed_json(first)):
        yield '\n'.join([line, *others])


def changed_words(text: str) -> Iterator[str]:
    """A table or a list with junk in its first lines, or without one of their words."""
    lines = text.splitlines()
    for number, line in enumerate(lines[:2]):
        words = re.split(r'(\s+)', line)
        for place in range(0, min(len(words), 24), 2):
            for junk in ('', '\0', '-1', '9' * 30):
                mine = ''.join([*words[:place], junk, *words[place + 1 :]])
                yield '\n'.join([*lines[:number], mine, *lines[number + 1 :]])
    yield ''


CHANGES: dict[str, Callable[[str], Iterator[str]]] = {
    '.json': changed_json,
    '.jsonl': changed_lines,
    '.tsv': changed_words,
    '.txt': changed_words,
}


@pytest.mark.parametrize('name', [name for name in names() if name not in ('bag', 'tabletop')])
def test_junk_in_any_file_is_reported_in_words(tmp_path: Path, name: str) -> None:
    data = data_set(name)
    make_sample(name, tmp_path)
    if name == 'refcoco+':  # read as published, the others in the authors' form
        for file in (tmp_path / name).glob(f'{name}_*.json'):
            file.unlink()
    changed = 0
    for file in sorted(file for file in tmp_path.rglob('*') if file.suffix in CHANGES)[:4]:
        whole = file.read_text()
        change = changed_lines if name == 'pope' else CHANGES[file.suffix]
        for text in change(whole):
            file.write_text(text)
            changed += text != whole
            for said in complaints(data, tmp_path):
                assert str(tmp_path) in said and said[-1] not in ': ', said
        file.write_text(whole)
    assert changed > 20


def complaints(data: DataSet, folder_: Path) -> list[str]:
    """The findings of a check on a data set or its entries."""
    try:
        findings = check(data, folder_, data.splits)
    except DataError as error:
        return [str(error)]
    return [f'{each}' for split in findings for each in split.problems] + [
        split.missing for split in findings if split.missing
    ]
