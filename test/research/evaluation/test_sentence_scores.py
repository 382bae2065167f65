from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from instructseg_ros.research.data import coco
from instructseg_ros.research.data import image_folder as folder
from instructseg_ros.research.data import labelled_bag as bag
from instructseg_ros.research.data.dataset import data_set
from instructseg_ros.research.data.reading import DataError
from instructseg_ros.research.data.synthetic import save_jpeg
from instructseg_ros.research.evaluation.mask_scores import score_sentences, sentence_file
from instructseg_ros.research.evaluation.runner import score
from instructseg_ros.streaming.image_files import write_mask

SIZE = (4, 10)


def rows(first: int, last: int) -> np.ndarray:
    """A mask of whole rows of ten pixels."""
    mask = np.zeros(SIZE, bool)
    mask[first:last] = True
    return mask


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A mug in two images and a clip, a pot that is not there."""
    place = tmp_path / 'data' / 'val'
    for name in ('a', 'b', 'c'):
        save_jpeg(place / f'{name}.jpg', np.zeros((*SIZE, 3), np.uint8))
    write_mask(place / 'mask.png', rows(0, 2))
    folder.write_entries(
        place,
        [
            {'image': 'a.jpg', 'mask': 'mask.png', 'sentences': ['the mug', 'my mug']},
            {'image': 'b.jpg', 'mask': 'mask.png', 'sentences': ['the mug']},
            {'image': 'c.jpg', 'mask': None, 'sentences': ['the pot']},
            {
                'frames': ['a.jpg', 'b.jpg'],
                'masks': ['mask.png', None],
                'sentences': ['what moves?'],
                'reasoning': True,
            },
        ],
    )
    return tmp_path / 'data'


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    place = tmp_path / 'predictions'
    for name, mask in {
        '1_0': rows(0, 2),  # right
        '1_1': rows(0, 4),  # twice as many pixels
        '2_0': rows(0, 0),  # missed
        '3_0': rows(0, 1),  # found what is not there
        '4_0/00000': rows(0, 1),  # half
        '4_0/00001': rows(0, 0),  # right: not there
    }.items():
        write_mask(place / f'{name}.png', mask)
    return place


def test_own_data_is_scored_by_sentence(data: Path, predictions: Path) -> None:
    figures = score('folder', data, predictions)
    assert figures == {
        'gIoU': pytest.approx((1 + 0.5 + 0 + 0 + 0.75) / 5),
        'cIoU': pytest.approx((20 + 20 + 0 + 0 + 10 + 0) / (20 + 40 + 20 + 10 + 20 + 0)),
        'P@0.5': 2 / 5,
        'n': 5,
        'absent': {'right': 0.5, 'n': 2},
        'present': {'missed': 0.25, 'n': 4},
        'instructions': {
            'the mug': {'IoU': 0.5, 'n': 2},
            'my mug': {'IoU': 0.5, 'n': 1},
            'the pot': {'IoU': 0.0, 'n': 1},
            'what moves?': {'IoU': 0.75, 'n': 1},
        },
        'missing': [],
        'problems': [],
    }


def test_a_missing_prediction_counts_as_not_found_and_is_reported(
    data: Path, predictions: Path
) -> None:
    (predictions / '1_0.png').unlink()
    (predictions / '3_0.png').unlink()
    figures = score_sentences('folder', data, predictions)
    assert figures['missing'] == ['1_0.png', '3_0.png']
    assert figures['absent']['right'] == 1.0 and figures['present']['missed'] == 0.5


def test_a_damaged_target_of_own_data_is_left_out_and_reported(
    data: Path, predictions: Path
) -> None:
    write_mask(data / 'val' / 'other.png', rows(0, 2))
    file = data / 'val' / folder.FILE
    file.write_text(file.read_text().replace('"mask.png", "sent', '"other.png", "sent', 1))
    (data / 'val' / 'other.png').write_bytes(b'no picture')
    figures = score_sentences('folder', data, predictions)
    assert figures['n'] == 3 and len(figures['problems']) == 1
    assert 'other.png' in figures['problems'][0]


def test_without_predictions_the_error_names_the_expected_files(data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'has no prediction for .*, such as KEY_0\.png'):
        score_sentences('folder', data, tmp_path)


def test_a_prediction_of_another_size_is_reported(data: Path, predictions: Path) -> None:
    write_mask(predictions / '2_0.png', np.zeros((3, 3), bool))
    with pytest.raises(ValueError, match=r'2_0\.png has \(3, 3\) pixels'):
        score_sentences('folder', data, predictions)


@pytest.mark.parametrize(('name', 'module'), [('folder', folder), ('coco', coco), ('bag', bag)])
def test_predictions_equal_to_the_targets_score_one_on_every_form_of_own_data(
    name: str, module: object, tmp_path: Path
) -> None:
    place = tmp_path / 'data'
    module.make_sample(place, 0)  # type: ignore[attr-defined]
    split, reading = data_set(name).read_split(place, None)
    assert split == 'val'
    for sample in reading.samples:
        for frame, target in enumerate(sample.targets):
            for number in range(len(sample.instructions)):
                assert target is not None
                write_mask(tmp_path / 'out' / sentence_file(sample, number, frame), target.mask())
    figures = score_sentences(name, place, tmp_path / 'out')
    assert figures['gIoU'] == figures['cIoU'] == figures['P@0.5'] == 1.0
    assert figures['present']['missed'] == 0.0 and figures['missing'] == []


def test_own_data_is_read_from_val_or_else_from_train(tmp_path: Path) -> None:
    bag.make_sample(tmp_path, 0)
    data = data_set('bag')
    assert data.read_split(tmp_path, None)[0] == 'val'
    assert data.read_split(tmp_path, 'train')[0] == 'train'
    assert data.read_split(tmp_path / 'train', None)[0] == 'train'
    with pytest.raises(DataError, match="bag has no split 'test'; its splits are train, val"):
        data.read_split(tmp_path, 'test')


def test_every_pixel_of_a_gray_mask_that_is_not_black_counts(data: Path, predictions: Path) -> None:
    Image.fromarray(rows(0, 2).astype(np.uint8)).save(predictions / '2_0.png')
    assert score_sentences('folder', data, predictions)['instructions']['the mug']['IoU'] == 1
