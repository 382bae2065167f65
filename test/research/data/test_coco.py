"""COCO files as annotation tools really write them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from instructseg_ros.research.data import coco
from instructseg_ros.research.data.check import Findings, check
from instructseg_ros.research.data.dataset import data_set
from instructseg_ros.research.data.reading import DataError
from instructseg_ros.research.data.synthetic import save_jpeg

SIZE = (40, 60)
BOX = [10, 10, 30, 10, 30, 20, 10, 20]
OTHER = [40, 25, 50, 25, 50, 35, 40, 35]
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a set of two images and gives its file; keywords replace lists of the content."""

    def write(*annotations: dict[str, Any], encoding: str = 'utf-8', **content: Any) -> Path:
        names = ('a.jpg', 'b.jpg')
        for number, name in enumerate(names):
            rgb = np.random.default_rng(number).integers(0, 255, (*SIZE, 3), np.uint8)
            save_jpeg(tmp_path / 'images' / 'train' / name, rgb)
        images = [image(number, name) for number, name in enumerate(names, start=1)]
        categories = [{'id': 1, 'name': 'cat'}, {'id': 2, 'name': 'dog'}]
        values = {'images': images, 'categories': categories, 'annotations': list(annotations)}
        file = tmp_path / 'train.json'
        file.write_text(json.dumps(values | content), encoding=encoding)
        return file

    return write


def image(identity: Any, name: str) -> dict[str, Any]:
    return {'id': identity, 'file_name': name, 'height': SIZE[0], 'width': SIZE[1]}


def thing(segmentation: Any = (BOX,), **fields: Any) -> dict[str, Any]:
    region = list(segmentation) if isinstance(segmentation, tuple) else segmentation
    return {'id': 1, 'image_id': 1, 'category_id': 1, 'segmentation': region} | fields


def checked(file: Path) -> Findings:
    [findings] = check(data_set('coco'), file.parent, ('train',))
    assert all(str(problem).startswith(f'{file} ') for problem in findings.problems)
    assert all(str(warning).startswith(f'{file} ') for warning in findings.warnings)
    return findings


def texts_of(file: Path) -> list[str]:
    return [sample.instructions[0] for sample in coco.read(file.parent, 'train').samples]


@pytest.mark.parametrize(
    ('segmentation', 'reason'),
    [
        ({'size': [40, 60], 'counts': [100, 20]}, 'do not fill 40 x 60 pixels'),
        ({'size': [40, 60], 'counts': ['100', '2300']}, 'whole numbers from 0 on'),
        ({'size': [40, 60], 'counts': [-100, 2500]}, 'whole numbers from 0 on'),
        ({'size': [40, 60], 'counts': 'no run lengths'}, 'run lengths'),
        ({'size': [10**6, 10**6], 'counts': [10**12]}, 'more than an image has'),
        ({'size': ['40', '60'], 'counts': [2400]}, 'height and width must be whole numbers'),
        ({'size': [1, 60], 'counts': [30, 30]}, 'run lengths of (1, 60) for an image of (40, 60)'),
        ({'size': [40, 60], 'counts': [2400]}, 'the segmentation has no pixel'),
        (([0.1, 0.1, 0.2, 0.1, 0.2, 0.2],), 'the segmentation has no pixel'),
        (([0, 0, 1e9, 0, 1e9, 1e9],), 'corners are x, y in pixels'),
        (([1, 2, 3, 4],), 'at least three corners'),
        (([[1, 2], [3, 4], [5, 6]],), 'each a list of numbers: x, y, x, y'),
        ('10 10 30 10 30 20', 'each a list of numbers: x, y, x, y'),
    ],
)
def test_a_damaged_region_is_a_problem_of_its_annotation(
    write: Write, segmentation: Any, reason: str
) -> None:
    findings = checked(write(thing(image_id=2), thing(segmentation)))
    [problem] = findings.problems
    assert problem.where.endswith("annotation 1 (a.jpg, 'cat')") and reason in problem.what
    assert findings.samples == 1


def test_an_image_of_a_million_by_a_million_pixels_does_not_crash_the_process(write: Write) -> None:
    huge = image(1, 'a.jpg') | {'height': 10**6, 'width': 10**6}
    [problem] = checked(write(thing(), images=[huge])).problems
    assert 'more than an image has' in problem.what


@pytest.mark.parametrize('side', [float('inf'), float('nan'), None, 'high', -5])
def test_an_image_without_a_size_is_a_problem_of_its_annotations(write: Write, side: Any) -> None:
    odd = image(1, 'a.jpg') | {'height': side}
    findings = checked(write(thing(), thing(image_id=2), images=[odd, image(2, 'b.jpg')]))
    assert len(findings.problems) == findings.samples == 1


def test_two_images_with_one_id_are_a_problem_and_their_annotations_are_left_out(
    write: Write,
) -> None:
    images = [image(1, 'a.jpg'), image(1, 'b.jpg'), image(3, 'b.jpg')]
    findings = checked(write(thing(), thing(image_id=3), images=images))
    [problem] = findings.problems
    assert "'a.jpg' and 'b.jpg' have the same id" in problem.what
    assert 'give each image a unique id' in problem.what
    assert findings.samples == 1


def test_two_categories_with_one_id_are_a_problem_and_their_annotations_are_left_out(
    write: Write,
) -> None:
    categories = [{'id': 1, 'name': 'cat'}, {'id': 1, 'name': 'dog'}]
    file = write(thing(), thing(image_id=2, sentences=['my cat']), categories=categories)
    [problem] = checked(file).problems
    assert "'cat' and 'dog' have the same id" in problem.what
    assert texts_of(file) == ['my cat']


def test_an_image_that_is_listed_twice_is_one(write: Write) -> None:
    findings = checked(write(thing(), images=[image(1, 'a.jpg'), image(1, 'a.jpg')]))
    assert findings.problems == () and findings.samples == 1


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_a_byte_order_mark_is_no_part_of_the_file(write: Write, encoding: str) -> None:
    findings = checked(write(thing(), encoding=encoding))
    assert findings.problems == () and findings.samples == 1


def test_a_two_corner_polygon_among_good_ones_is_dropped_with_a_warning(write: Write) -> None:
    file = write(thing((BOX, [1, 2, 3, 4], OTHER)))
    findings = checked(file)
    assert findings.problems == () and findings.samples == 1
    [warning] = findings.warnings
    assert warning.what == '1 of 3 polygons have fewer than three corners and are left out'
    [target] = coco.read(file.parent, 'train').samples[0].targets
    assert target is not None and target.mask().sum() == 20 * 10 + 10 * 10


def test_a_flat_polygon_is_one_polygon(write: Write) -> None:
    file = write(thing(BOX))
    assert checked(file).problems == ()
    [target] = coco.read(file.parent, 'train').samples[0].targets
    assert target is not None and target.mask().sum() == 200


@pytest.mark.parametrize(('listed', 'named'), [(1, '1'), ('1', 1), (1, 1.0), ('it', 'it')])
def test_ids_are_the_same_as_texts_and_as_numbers(write: Write, listed: Any, named: Any) -> None:
    file = write(thing(image_id=named, category_id='1'), images=[image(listed, 'a.jpg')])
    findings = checked(file)
    assert findings.problems == () and findings.samples == 1


def test_an_annotation_without_its_image_is_reported_with_the_id(write: Write) -> None:
    [problem] = checked(write(thing(), thing(image_id=9))).problems
    assert problem.where.endswith('annotation 1') and 'no image with the id 9' in problem.what


def test_the_same_annotation_twice_is_one_object_and_a_warning(write: Write) -> None:
    file = write(thing(), thing(), thing((OTHER,), category_id=2))
    findings = checked(file)
    assert findings.problems == ()
    [warning] = findings.warnings
    assert warning.where.endswith('annotation 1')
    assert warning.what == 'it duplicates annotation 0 and is counted once'
    assert texts_of(file) == ['the cat', 'the dog']  # not "all cat"


def test_one_broken_entry_does_not_cost_the_others(write: Write) -> None:
    file = write(
        thing(),
        images=[{'id': 5}, image(1, 'a.jpg'), 'b.jpg'],
        categories=[{'id': 1, 'name': 'cat'}, {'name': 'dog'}],
    )
    findings = checked(file)
    assert findings.samples == 1
    assert [problem.where for problem in findings.problems] == [
        f'{file} image 0',
        f'{file} image 2',
        f'{file} category 1',
    ]


@pytest.mark.parametrize('content', [{'images': {}}, {'annotations': None}, {'categories': 5}])
def test_a_file_without_the_lists_is_not_coco(write: Write, content: dict[str, Any]) -> None:
    file = write(thing(), **content)
    with pytest.raises(DataError, match='is not COCO JSON'):
        coco.read(file.parent, 'train')


def test_an_object_without_sentence_or_category_is_a_problem(write: Write) -> None:
    file = write(thing(category_id=None), thing(category_id=7), thing(sentences=['', 'x']), thing())
    findings = checked(file)
    assert [problem.what for problem in findings.problems] == [
        'it has neither sentences nor a category',
        'category 7 has no name',
        'sentences must be a list of at least one text',
    ]
    assert findings.samples == 1


def test_an_image_of_another_size_is_reported(write: Write) -> None:
    odd = image(1, 'a.jpg') | {'height': 30}
    [problem] = checked(write(thing(), images=[odd])).problems
    assert 'a mask of 30 x 60 pixels for' in problem.what and 'a.jpg of 40 x 60' in problem.what
