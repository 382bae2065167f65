from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from instructseg_ros.research.data.refs_pickle import read_pickled_values, write_pickled_values

VALUES = [
    {
        'ref_id': 7,
        'sent_ids': [1, 2],
        'split': 'val',
        'big': 2**70,
        'share': 0.5,
        'none': None,
        'yes': True,
        'pair': (1, 'zwei'),
        'one': (1,),
        'none_of_them': (),
        'three': (1, 2, 3),
        'many': (1, 2, 3, 4, 5),
        'nested': [{'sent': 'the mug', 'raw': 'Der Krug, größer'}],
    }
]


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_values_are_read_from_every_protocol(tmp_path: Path, protocol: int) -> None:
    file = tmp_path / 'refs.p'
    shared = [*VALUES, VALUES[0]]
    file.write_bytes(pickle.dumps(shared, protocol))
    assert read_pickled_values(file) == shared


def test_what_is_written_is_a_pickle_that_anybody_reads(tmp_path: Path) -> None:
    file = tmp_path / 'refs.p'
    values = [{'sent': 'größer\n', 'ids': [1, 2], 'none': 0}]
    write_pickled_values(values, file)
    assert pickle.loads(file.read_bytes()) == values == read_pickled_values(file)


class Hostile:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f'touch {self.file}',)


@pytest.mark.parametrize('protocol', [0, 2, 4])
def test_a_program_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    file = tmp_path / 'refs.p'
    file.write_bytes(pickle.dumps([Hostile(tmp_path / 'ran')], protocol))
    with pytest.raises(ValueError, match=r'more than plain values\. Convert it'):
        read_pickled_values(file)
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize('content', [b'', b'no pickle', pickle.dumps(VALUES)[:-20], b'].', b'a.'])
def test_what_is_damaged_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / 'refs.p'
    file.write_bytes(content)
    if content == b'].':
        assert read_pickled_values(file) == []
        return
    with pytest.raises(ValueError, match=r'refs\.p is damaged'):
        read_pickled_values(file)
