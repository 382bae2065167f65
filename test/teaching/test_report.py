from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from instructseg_ros.model.model_files import check_manifest, find_model, write_manifest
from instructseg_ros.model.noun_finder import NounNetwork
from instructseg_ros.model.taught_network import TaughtNetwork, TaughtNoun
from instructseg_ros.teaching import report
from instructseg_ros.teaching.example_benchmark import ExampleAnswer
from instructseg_ros.teaching.examples import Example, LabelledObject
from instructseg_ros.teaching.report import Picture, measure
from instructseg_ros.teaching.report_page import next_commands, table, write_page

NAMES = ['gear', 'star']
SIZE = (90, 120)
HOSTILE = '<script>alert(1)</script> & "x"'


def example(source: str, *names: str, alone: bool = True) -> Example:
    image, objects = np.full((*SIZE, 3), 120, np.uint8), []
    for number, name in enumerate(names):
        mask = np.zeros(SIZE, bool)
        mask[30:60, 10 + 50 * number : 40 + 50 * number] = True
        image[mask] = (200, 40 + 100 * number, 30)
        objects.append(LabelledObject(name=name, mask=mask))
    return Example(image=image, objects=tuple(objects), source=source, alone=alone)


EXAMPLES = [*(example(f'gear {i}', 'gear') for i in range(6)), example('star 0', 'star')]
HELD_OUT = [example('held out', 'star', alone=False)]


@pytest.fixture(scope='module')
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the embedded model with untrained heads for two nouns."""
    folder = tmp_path_factory.mktemp('taught') / 'model'
    shutil.copytree(find_model('embedded'), folder)
    torch.manual_seed(0)
    nouns = [TaughtNoun(name=name, view_threshold=0.3, pixel_threshold=0.3) for name in NAMES]
    TaughtNetwork(nouns, NounNetwork.load(folder)).save(folder)
    write_manifest(folder)
    return folder


@pytest.fixture(scope='module')
def measured(model: Path) -> Iterator[tuple[dict[str, Any], list[Picture]]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, '_SCENES', 2)
        patch.setattr(report, '_COMPOSED', 3)
        yield measure(find_model('embedded'), model, EXAMPLES, HELD_OUT, ['star'], scenes=1)


class Reader(HTMLParser):
    """Collects the tags, the texts and the attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ''
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or '') for name, value in attrs]
        if tag not in ('img', 'meta'):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def picture(name: str, iou: float | None, *, found: bool = True) -> Picture:
    answer = ExampleAnswer(
        source='a', name=name, instruction=f'the {name}', iou=iou, found=found, score=0.5
    )
    return Picture(kind='unseen', answer=answer, image=Image.new('RGB', (8, 6)))


def figures(**changed: Any) -> dict[str, Any]:
    return {
        'date': '2026-01-02',
        'before': 'old',
        'names': ['star'],
        'taught': {},
        'forgetting': None,
        'notes': [],
        'rows': [],
        'seconds': 2.0,
        **changed,
    }


def test_each_noun_is_measured_on_pictures_that_training_did_not_get(
    measured: tuple[dict[str, Any], list[Picture]],
) -> None:
    taught = measured[0]['taught']
    assert [*taught] == NAMES
    assert [taught[name]['examples'] for name in NAMES] == [6, 1]
    assert taught['star']['source'] == 'held out' and taught['star']['unseen']['present'] == 1
    # One star is too little to hold one out, so that training learned from all examples.
    assert taught['gear']['source'] == 'training' and taught['gear']['unseen']['present'] == 6
    rows = [row for row in measured[0]['rows'] if row['kind'] == 'unseen']
    assert {row['source'] for row in rows if row['name'] == 'star'} == {'held out'}
    assert any('frames of an object alone are easy' in note for note in measured[0]['notes'])


def test_composed_pictures_are_asked_for_all_objects_and_absent_ones_for_one(
    measured: tuple[dict[str, Any], list[Picture]],
) -> None:
    asked = {(row['kind'], row['instruction']) for row in measured[0]['rows']}
    assert ('composed', 'all the stars') in asked and ('absent', 'the star') in asked
    composed = [row for row in measured[0]['rows'] if row['kind'] == 'composed']
    assert 0 < len(composed) <= 6
    absent = [row['iou'] for row in measured[0]['rows'] if row['kind'] == 'absent']
    assert absent == [None] * 2 * (2 + 7)


def test_old_categories_are_unchanged_by_new_heads(
    measured: tuple[dict[str, Any], list[Picture]],
) -> None:
    forgetting = measured[0]['forgetting']
    if forgetting is None:
        pytest.skip('MuJoCo does not render here')
    assert abs(forgetting['largest_loss']) < 0.01
    assert any(cell['n'] for cell in forgetting['categories'].values())
    shown = table(measured[0])
    assert 'known before' in shown and 'largest loss' in shown


def test_the_report_does_not_make_the_model_folder_invalid(
    model: Path, measured: tuple[dict[str, Any], list[Picture]]
) -> None:
    page = write_page(model, measured[0], EXAMPLES, measured[1])
    assert page == model / 'teaching' / 'index.html'
    check_manifest(model)
    assert find_model(str(model)) == model
    content = json.loads((model / 'teaching' / 'report.json').read_text())
    assert content == json.loads(json.dumps(measured[0]))
    assert content['seconds'] > 0 and len(content['rows']) == len(measured[1])


def test_the_page_needs_no_other_file_and_every_picture_has_a_text(
    model: Path, measured: tuple[dict[str, Any], list[Picture]]
) -> None:
    page = Reader(write_page(model, measured[0], EXAMPLES, measured[1]).read_text())
    assert not page.open and 'script' not in page.tags and 'link' not in page.tags
    sources = [value for name, value in page.attributes if name in ('src', 'href')]
    assert sources and all(each.startswith('data:image/jpeg;base64,') for each in sources)
    texts = [value for name, value in page.attributes if name == 'alt']
    assert len(texts) == len(sources) and all(texts)
    assert f'instructseg use {model}' in page.text


def test_a_model_that_was_taught_nothing_more_is_not_asked(model: Path) -> None:
    result, pictures = measure(find_model('embedded'), model, [], [], [], scenes=0)
    assert result['taught'] == {} and pictures == []
    assert result['forgetting'] is None
    assert table(result) == 'objects known before were not compared: no scenes were asked for'


def test_without_opengl_the_comparison_is_skipped_with_a_note(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, '_why_no_rendering', lambda: 'no OpenGL')
    result, _ = measure(find_model('embedded'), model, [], [], [], scenes=4)
    assert result['forgetting'] is None
    assert any('MuJoCo does not render here' in note for note in result['notes'])


def test_failures_come_first_and_are_marked(tmp_path: Path) -> None:
    pictures = [
        picture('good', 0.9),
        picture('poor', 0.2),
        picture('missed', 0.0, found=False),
        picture('ghost', None),
        picture('absent', None, found=False),
    ]
    page = write_page(tmp_path, figures(), [], pictures).read_text()
    shown = Reader(page).text
    places = [shown.index(f'the {name}:') for name in ('missed', 'poor', 'good', 'ghost')]
    assert places == sorted(places)
    assert 'failure: the ghost: found but absent' in shown and 'the absent' not in shown
    assert page.count('class=bad') == 3


def test_texts_are_escaped(tmp_path: Path) -> None:
    row = {'iou': 0.5, 'present': 1, 'absent_right': 1.0, 'absent': 1}
    kinds = dict.fromkeys(('unseen', 'composed', 'absent'), row)
    taught = {HOSTILE: {'examples': 3, 'source': 'held out', **kinds}}
    given = figures(names=[HOSTILE], before=HOSTILE, notes=[HOSTILE], taught=taught)
    page = write_page(tmp_path, given, [example(HOSTILE, HOSTILE)], [picture(HOSTILE, 0.1)])
    read = Reader(page.read_text())
    assert 'script' not in read.tags and not read.open
    assert read.text.count(HOSTILE) >= 6
    assert f'Example of {HOSTILE}' in [value for _, value in read.attributes]


def test_the_table_marks_pictures_that_training_learned_from() -> None:
    row = {'iou': 0.5, 'present': 2, 'absent_right': 0.95, 'absent': 20}
    nothing = {**row, 'present': 0}
    taught = {
        'star': {'examples': 9, 'source': 'held out', 'unseen': row, 'composed': row},
        'gear': {'examples': 4, 'source': 'training', 'unseen': row, 'composed': nothing},
    }
    for each in taught.values():
        each['absent'] = row
    lines = {
        line.split('  ')[0]: line.split() for line in table(figures(taught=taught)).split('\n')
    }
    assert lines['star (new)'][2:] == ['9', '0.50', '2', '0.50', '2', '0.95', '20']
    assert lines['gear'][1:] == ['4', '0.50', '**', '2', '-', '0', '0.95', '20']


def test_names_and_folders_are_quoted_in_commands() -> None:
    commands = [command for _, command in next_commands(Path('my model'), ['paper clip'])]
    assert commands[0] == "instructseg segment PICTURE 'the paper clip' --model 'my model'"
    assert "instructseg use 'my model'" in commands
    assert "instructseg forget 'paper clip' --model 'my model'" in commands
    assert len(next_commands(Path('model'), [])) == 1
