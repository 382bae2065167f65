"""Files of DAVIS' predictions as people have them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from benchmark_samples import make_sample
from PIL import Image

from instructseg_ros.cli.main import main
from instructseg_ros.research.published import ref_davis
from instructseg_ros.research.published.ref_davis import score_davis


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    make_sample('ref-davis17', tmp_path / 'davis')
    return tmp_path / 'davis'


def test_folders_added_by_macos_are_not_annotators(
    truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    annotations = truth / ref_davis.ANNOTATIONS[0]
    for annotator in ('annot1', 'annot2'):
        shutil.copytree(annotations, tmp_path / 'mine' / annotator)
    (tmp_path / 'mine' / '__MACOSX' / 'val-0').mkdir(parents=True)
    for video in annotations.iterdir():
        (video / '._00000.png').write_bytes(b'Mac OS X')
    assert (
        main(
            ['score', 'ref-davis17', '--truth', str(truth), '--predictions', str(tmp_path / 'mine')]
        )
        == 0
    )
    assert 'J&F-Mean 1 ' in capsys.readouterr().out


def test_colored_labels_are_refused_with_the_remedy(truth: Path, tmp_path: Path) -> None:
    shutil.copytree(truth / ref_davis.ANNOTATIONS[0], tmp_path / 'mine')
    file = tmp_path / 'mine' / 'val-0' / '00000.png'
    Image.open(file).convert('RGB').save(file)
    with pytest.raises(ValueError, match=r'00000\.png has colors .* or as one with a palette'):
        score_davis(truth, tmp_path / 'mine')
