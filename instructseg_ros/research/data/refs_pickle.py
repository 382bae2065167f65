"""Reads the plain values in a pickle, as RefCOCO's `refs(unc).p` is one, and runs nothing.

Pickles are programs. `pickletools` takes one apart without running it; only its instructions for
numbers, texts, lists, tuples and dictionaries are followed here, and all others are refused.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

_MOST_BYTES: Final = 1 << 30
_MARK: Final = object()
_CONSTANTS: Final[dict[str, Any]] = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False}
_VALUES: Final = {
    'INT',
    'BININT',
    'BININT1',
    'BININT2',
    'LONG',
    'LONG1',
    'LONG4',
    'FLOAT',
    'BINFLOAT',
    'STRING',
    'BINSTRING',
    'SHORT_BINSTRING',
    'BINBYTES',
    'SHORT_BINBYTES',
    'BINBYTES8',
    'UNICODE',
    'BINUNICODE',
    'SHORT_BINUNICODE',
    'BINUNICODE8',
}
_IGNORED: Final = {'PROTO', 'FRAME', 'STOP'}
_TUPLES: Final = {'EMPTY_TUPLE': 0, 'TUPLE1': 1, 'TUPLE2': 2, 'TUPLE3': 3}


def read_pickled_values(file: Path) -> Any:
    """The value of a pickle that is made of plain values.

    Raises:
        ValueError: it asks for something else, or is damaged; nothing of it was run.
        OSError: it cannot be read.
    """
    if file.stat().st_size > _MOST_BYTES:
        raise ValueError(f'{file} has more than {_MOST_BYTES >> 20} MB')
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(file.read_bytes()):
            machine.step(opcode.name, argument)
        [value] = machine.stack
    except _Refused as error:
        raise ValueError(
            f'{file}: {error} is more than plain values. Convert it where you trust it: '
            'json.dump(pickle.load(file), open("refs.json", "w")), and name that file'
        ) from None
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f'{file} is damaged, or no pickle: {error}') from error
    return value


class _Refused(Exception):  # noqa: N818
    """An instruction that makes more than plain values."""


class _Machine:
    """The stack and the memory of a pickle's program."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._steps: dict[str, Callable[[], None]] = {
            'MARK': lambda: self.stack.append(_MARK),
            'EMPTY_LIST': lambda: self.stack.append([]),
            'EMPTY_DICT': lambda: self.stack.append({}),
            'LIST': lambda: self.stack.append(self._marked()),
            'TUPLE': lambda: self.stack.append(tuple(self._marked())),
            'DICT': lambda: self.stack.append(_pairs(self._marked())),
            'APPEND': self._append,
            'APPENDS': self._extend,
            'SETITEM': self._set,
            'SETITEMS': self._update,
            'MEMOIZE': lambda: self._memo.__setitem__(len(self._memo), self.stack[-1]),
            'POP': lambda: self._nothing(self.stack.pop()),
            'POP_MARK': lambda: self._nothing(self._marked()),
            'DUP': lambda: self.stack.append(self.stack[-1]),
        }

    def step(self, name: str, argument: Any) -> None:
        """Follow one instruction."""
        if name in self._steps:
            self._steps[name]()
        elif name in _VALUES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _TUPLES:
            self._tuple(_TUPLES[name])
        elif name in ('PUT', 'BINPUT', 'LONG_BINPUT'):
            self._memo[argument] = self.stack[-1]
        elif name in ('GET', 'BINGET', 'LONG_BINGET'):
            self.stack.append(self._memo[argument])
        elif name not in _IGNORED:
            raise _Refused(name)

    def _marked(self) -> list[Any]:
        """Take what was put on the stack since the last mark."""
        values = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def _tuple(self, count: int) -> None:
        start = len(self.stack) - count
        self.stack[start:] = [tuple(self.stack[start:])]

    def _append(self) -> None:
        value = self.stack.pop()
        self.stack[-1].append(value)

    def _extend(self) -> None:
        values = self._marked()
        self.stack[-1].extend(values)

    def _set(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.stack[-1][key] = value

    def _update(self) -> None:
        pairs = _pairs(self._marked())
        self.stack[-1].update(pairs)

    def _nothing(self, _: Any) -> None:
        """What was taken is dropped."""


def _pairs(values: list[Any]) -> dict[Any, Any]:
    return dict(zip(values[::2], values[1::2], strict=True))


def write_pickled_values(value: Any, file: Path) -> None:
    """Write plain values as a pickle of protocol 0, the oldest, which is text."""
    file.write_bytes(f'{_written(value)}.'.encode('ascii'))


def _written(value: Any) -> str:
    if isinstance(value, dict):
        return '(d' + ''.join(f'{_written(k)}{_written(v)}s' for k, v in value.items())
    if isinstance(value, list):
        return '(l' + ''.join(f'{_written(each)}a' for each in value)
    if isinstance(value, str):
        return f'V{"".join(map(_escaped, value))}\n'
    if isinstance(value, int):
        return f'I{value}\n'
    raise ValueError(f'{value!r} is not a plain value')


def _escaped(character: str) -> str:
    plain = ' ' <= character <= '~' and character != '\\'
    return character if plain else f'\\U{ord(character):08x}'
