from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmark_samples import make_sample

from instructseg_ros.research.data.reading import DataError
from instructseg_ros.research.published import vqav2

LLAVA = 'llava_vqav2_mscoco_test-dev2015.jsonl'
TEST = 'v2_OpenEnded_mscoco_test-dev2015_questions.json'
ANSWERS = 'v2_mscoco_val2014_annotations.json'
VAL = 'v2_OpenEnded_mscoco_val2014_questions.json'


def test_llavas_and_the_official_test_questions_are_equal(tmp_path: Path) -> None:
    make_sample('vqav2', tmp_path)
    theirs = vqav2.read(tmp_path, 'test-dev').samples
    (tmp_path / LLAVA).unlink()
    assert vqav2.read(tmp_path, 'test-dev').samples == theirs
    assert (
        theirs[0]
        .turns[0]
        .question.endswith('?\nAnswer the question using a single word or phrase.')
    )
    assert theirs[0].turns[0].answer == ''


def test_questions_with_published_answers_have_ten(tmp_path: Path) -> None:
    make_sample('vqav2', tmp_path)
    sample = vqav2.read(tmp_path, 'val').samples[0]
    assert len(sample.details['answers']) == 10
    assert sample.turns[0].answer == sample.details['answers'][0]
    assert sample.frames[0].path.name == 'COCO_val2014_000000000001.jpg'  # type: ignore[attr-defined]


def test_a_question_without_answers_and_a_damaged_line_are_reported(tmp_path: Path) -> None:
    make_sample('vqav2', tmp_path)
    content = json.loads((tmp_path / ANSWERS).read_text())
    content['annotations'][1] = None
    (tmp_path / ANSWERS).write_text(json.dumps(content))
    [problem] = vqav2.read(tmp_path, 'val').problems
    assert str(problem) == f'{tmp_path / VAL} entry 1: 2 is missing'
    lines = (tmp_path / LLAVA).read_text().splitlines()
    lines[0], lines[2] = lines[0][:30], json.dumps({'question_id': 'x', 'image': 'a', 'text': 'b'})
    (tmp_path / LLAVA).write_text('\n'.join(lines))
    reading = vqav2.read(tmp_path, 'test-dev')
    first, second = map(str, reading.problems)
    assert first.startswith(f'{tmp_path / LLAVA} line 1: not JSON')
    assert second.startswith(f'{tmp_path / LLAVA} line 3: invalid literal for int()')
    assert len(reading.samples) == 2


@pytest.mark.parametrize(('split', 'file'), [('val', VAL), ('test-dev', TEST)])
def test_a_blank_question_is_reported(tmp_path: Path, split: str, file: str) -> None:
    make_sample('vqav2', tmp_path)
    (tmp_path / LLAVA).unlink()
    content = json.loads((tmp_path / file).read_text())
    content['questions'][2]['question'] = ' '
    (tmp_path / file).write_text(json.dumps(content))
    [problem] = vqav2.read(tmp_path, split).problems
    assert str(problem) == f'{tmp_path / file} entry 2: there is no question'


@pytest.mark.parametrize('content', ['[]', '{}', '{"annotations": 3}'])
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: str) -> None:
    make_sample('vqav2', tmp_path)
    (tmp_path / ANSWERS).write_text(content)
    with pytest.raises(DataError, match=f'{ANSWERS} (has no|does not contain)'):
        vqav2.read(tmp_path, 'val')
