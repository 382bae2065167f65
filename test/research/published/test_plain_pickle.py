"""RefCOCO's pickles are read without running anything that they contain."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest

from instructseg_ros.research.published.refcoco import read_plain_pickle

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
    assert read_plain_pickle(file) == shared


@pytest.mark.parametrize(
    'content', [b"(lp0\nS'gr\\xf6\\xdfer'\np1\na.", b'\x80\x02]U\x05gr\xf6\xdfea.']
)
def test_strings_of_python_2_are_read(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / 'refs.p'
    file.write_bytes(content)
    [text] = read_plain_pickle(file)
    assert text.startswith('größe')


class Hostile:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f'touch {self.file}',)


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_program_is_refused_and_not_run(tmp_path: Path, protocol: int) -> None:
    file = tmp_path / 'refs.p'
    file.write_bytes(pickle.dumps([Hostile(tmp_path / 'ran')], protocol))
    with pytest.raises(ValueError, match=r'more than plain values\. Convert it'):
        read_plain_pickle(file)
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_even_a_harmless_object_is_refused(tmp_path: Path, protocol: int) -> None:
    file = tmp_path / 'refs.p'
    for value in (Path('a'), {1, 2}, bytearray(b'a'), 1j, len):
        file.write_bytes(pickle.dumps([value], protocol))
        with pytest.raises(ValueError, match='more than plain values'):
            read_plain_pickle(file)


SIZE = 1 << 44  # bytes that no machine has


@pytest.mark.parametrize(
    'content',
    [
        b'\x80\x04\x8e' + struct.pack('<Q', SIZE) + b'.',  # BINBYTES8
        b'\x80\x04\x8d' + struct.pack('<Q', SIZE) + b'.',  # BINUNICODE8
        b'\x80\x04\x95' + struct.pack('<Q', SIZE) + b'.',  # FRAME
        b'\x80\x05\x96' + struct.pack('<Q', SIZE) + b'.',  # BYTEARRAY8
        b'\x80\x02\x8b' + struct.pack('<i', (1 << 31) - 1) + b'.',  # LONG4
        b'\x80\x02]r\xff\xff\xff\xff',  # LONG_BINPUT at index 2**32 - 1, without an end
    ],
)
def test_a_file_that_asks_for_too_much_memory_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / 'refs.p'
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r'refs\.p is damaged') as refusal:
        read_plain_pickle(file)
    assert not isinstance(refusal.value.__cause__, MemoryError)


def test_a_high_memo_index_costs_no_memory(tmp_path: Path) -> None:
    file = tmp_path / 'refs.p'
    file.write_bytes(b'\x80\x02]r\xff\xff\xff\xff.')
    assert read_plain_pickle(file) == []


@pytest.mark.parametrize('content', [b'', b'no pickle', pickle.dumps(VALUES)[:-20], b'.', b'a.'])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / 'refs.p'
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r'refs\.p is damaged'):
        read_plain_pickle(file)
