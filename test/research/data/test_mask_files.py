from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from instructseg_ros.research.data.mask_files import merge, palette, write_labels, zip_submission
from instructseg_ros.streaming.image_files import write_mask


def test_a_pixel_belongs_to_the_most_probable_object_or_to_the_background() -> None:
    first = np.array([[0.9, 0.6, 0.4, 0.1]])
    second = np.array([[0.8, 0.1, 0.4, 0.1]])
    # The background has .02, .36, .36, .81.
    assert merge([first, second]).tolist() == [[1, 1, 1, 0]]


def test_labels_have_the_colors_of_davis(tmp_path: Path) -> None:
    write_labels(tmp_path / 'a' / '0.png', np.array([[0, 1], [2, 3]], np.uint8))
    image = Image.open(tmp_path / 'a' / '0.png')
    assert np.array(image).tolist() == [[0, 1], [2, 3]]
    colours = np.array(image.convert('RGB')).reshape(-1, 3).tolist()
    assert colours == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert palette()[[8, 255]].tolist() == [[64, 0, 0], [224, 224, 192]]


def test_a_submission_is_the_same_file_each_time(tmp_path: Path) -> None:
    write_mask(tmp_path / 'Annotations' / 'v' / '0' / '00000.png', np.eye(4, dtype=bool))
    first = zip_submission(tmp_path / 'Annotations', tmp_path / 'a.zip').read_bytes()
    (tmp_path / 'Annotations' / 'v' / '0' / '._00000.png').write_bytes(b'Mac OS X')
    second = zip_submission(tmp_path / 'Annotations', tmp_path / 'b.zip')
    assert second.read_bytes() == first
    with zipfile.ZipFile(second) as archive:
        assert archive.namelist() == ['Annotations/v/0/00000.png']
    assert not list(tmp_path.glob('*.partial'))
