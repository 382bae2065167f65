from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from benchmark_samples import make_sample

from instructseg_ros.research.published import pope


def test_the_subsets_are_one_split_of_three_groups(tmp_path: Path) -> None:
    make_sample('pope', tmp_path)
    samples = pope.read(tmp_path, 'test').samples
    assert Counter(sample.group for sample in samples) == {
        'random': 4,
        'popular': 4,
        'adversarial': 4,
    }
    assert {sample.turns[0].answer for sample in samples} == {'yes', 'no'}
    assert samples[0].key == 'random-1'


def test_an_invalid_question_is_reported(tmp_path: Path) -> None:
    make_sample('pope', tmp_path)
    file = tmp_path / 'coco/coco_pope_popular.json'
    lines = file.read_text().splitlines()
    lines[0] = json.dumps(json.loads(lines[0]) | {'label': 'maybe'})
    lines[1:3] = ['7', 'torn']
    lines[3] = json.dumps(json.loads(lines[3]) | {'text': ' '})
    file.write_text('\n'.join(lines))
    reading = pope.read(tmp_path, 'test')
    assert len(reading.samples) == 8
    label, number, torn, blank = map(str, reading.problems)
    assert label == f"{file} line 1: a label must be yes or no, not 'maybe'"
    assert blank == f'{file} line 4: there is no question'
    assert number.startswith(f'{file} line 2: ') and torn.startswith(f'{file} line 3: not JSON')
