from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from instructseg_ros.model.model_files import TAUGHT
from instructseg_ros.model.prediction import Prediction
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.research.evaluation.runner import Processes
from instructseg_ros.teaching.example_benchmark import (
    evaluate_examples,
    read_selected,
    table,
    taught_names,
)
from instructseg_ros.teaching.examples import Example, LabelledObject

SIZE = (20, 30)


def box(left: int, right: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[:, left:right] = True
    return mask


def example(source: str, **objects: np.ndarray) -> Example:
    labelled = tuple(LabelledObject(name=name, mask=mask) for name, mask in objects.items())
    return Example(image=np.zeros((*SIZE, 3), np.uint8), objects=labelled, source=source)


class StubSegmenter:
    """Answers each text with a fixed mask, or finds nothing."""

    name, threshold = 'stub', 0.5

    def __init__(self, masks: Mapping[str, np.ndarray], *, sure: bool = True) -> None:
        self.masks, self.sure = masks, sure

    def segment_all(self, image: np.ndarray, texts: Sequence[str]) -> list[Prediction]:
        masks = [self.masks.get(text, np.zeros(SIZE, bool)) for text in texts]
        return [
            Prediction(
                mask=mask,
                probability=mask.astype(np.float32),
                score=0.9 * mask.any(),
                found=self.sure and bool(mask.any()),
            )
            for mask in masks
        ]


def evaluate(examples: Sequence[Example], names: Sequence[str], **found: Any) -> dict[str, Any]:
    masks = {name.replace('_', ' '): mask for name, mask in found.items()}
    segmenter = cast(Segmenter, StubSegmenter(masks))
    figures = evaluate_examples(segmenter, examples, names, processes=Processes())
    return cast('dict[str, Any]', json.loads(json.dumps(figures)))


def test_every_noun_is_asked_in_the_plural_on_every_picture() -> None:
    figures = evaluate([example('a', fig=box(0, 5)), example('b')], ['fig', 'knife'])
    asked = [(row['source'], row['instruction']) for row in figures['rows']]
    assert asked == [(s, f'all the {noun}') for s in 'ab' for noun in ('figs', 'knives')]
    assert figures['pictures'] == 2 and figures['model'] == 'stub'


def test_the_union_of_all_objects_is_the_truth() -> None:
    two = LabelledObject(name='fig', mask=box(0, 5)), LabelledObject(name='fig', mask=box(10, 15))
    both = Example(image=np.zeros((*SIZE, 3), np.uint8), objects=two, source='a')
    assert evaluate([both], ['fig'], all_the_figs=box(0, 5) | box(10, 15))['all']['iou'] == 1.0
    assert evaluate([both], ['fig'], all_the_figs=box(0, 5))['all']['iou'] == 0.5


def test_missed_objects_have_no_overlap() -> None:
    examples = [example('a', fig=box(0, 5)), example('b', fig=box(0, 5))]
    cell = evaluate(examples, ['fig'])['names']['fig']
    assert cell == {'iou': 0.0, 'missed': 1.0, 'present': 2, 'absent_right': 0.0, 'absent': 0}


def test_a_mask_that_is_not_found_has_no_overlap() -> None:
    unsure = cast(Segmenter, StubSegmenter({'all the figs': box(0, 5)}, sure=False))
    examples = [example('a', fig=box(0, 5))]
    figures = evaluate_examples(unsure, examples, ['fig'], processes=Processes())
    assert figures['all']['iou'] == 0.0


def test_absent_nouns_are_right_where_nothing_is_found() -> None:
    examples = [example('a', fig=box(0, 5)), example('b', date=box(0, 5)), example('c')]
    figures = evaluate(examples, ['fig', 'date'], all_the_figs=box(0, 5))
    assert figures['names']['fig'] == {
        'iou': 1.0,
        'missed': 0.0,
        'present': 1,
        'absent_right': 0.0,
        'absent': 2,
    }
    assert figures['names']['date']['absent_right'] == 1.0
    assert figures['all']['absent_right'] == 0.5
    assert figures['all']['iou'] == 0.5


def test_the_table_has_a_row_for_every_noun() -> None:
    shown = table(evaluate([example('a', fig=box(0, 5))], ['fig', 'date'], all_the_figs=box(0, 5)))
    rows = {line.split()[0]: line.split()[1:] for line in shown.splitlines()[1:]}
    assert rows['fig'] == ['1.000', '0.000', '1', '-', '0']
    assert rows['date'] == ['-', '-', '0', '1.000', '1']
    assert rows['all'] == ['1.000', '0.000', '1', '1.000', '1']


def test_a_model_that_was_taught_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='was taught nothing: name the folder'):
        taught_names(tmp_path)
    (tmp_path / TAUGHT).write_text(json.dumps([{'name': 'fig'}]))
    assert taught_names(tmp_path) == ['fig']


def test_chosen_pictures_are_read_with_the_taught_nouns(tmp_path: Path) -> None:
    for name, label in (('a', 'Figs'), ('b', 'date'), ('c', 'fig')):
        Image.new('RGB', SIZE[::-1]).save(tmp_path / f'{name}.png')
        corners = [[2, 2], [9, 2], [9, 9], [2, 9]]
        content = {
            'shapes': [{'label': label, 'points': corners, 'shape_type': 'polygon'}],
            'imagePath': f'{name}.png',
            'imageData': None,
            'imageHeight': SIZE[0],
            'imageWidth': SIZE[1],
        }
        (tmp_path / f'{name}.json').write_text(json.dumps(content))
    chosen = read_selected(tmp_path, ['fig'], ['a', 'b'])
    assert [[one.name for one in each.objects] for each in chosen] == [['fig'], []]
    assert len(read_selected(tmp_path, ['fig'])) == 3
    with pytest.raises(ValueError, match='no image is called'):
        read_selected(tmp_path, ['fig'], ['z'])
