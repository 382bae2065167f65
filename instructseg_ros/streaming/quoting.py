"""Words of others in messages to people."""

from __future__ import annotations

import re
from typing import Final

MOST: Final = 40  # characters of a quoted text
MOST_OF_ERROR: Final = 1000  # characters
ADDRESS: Final = re.compile(r' at 0x[0-9a-fA-F]+')


def quote(text: str) -> str:
    """Return a text in quotation marks, shortened, without what a terminal would obey."""
    return f'"{_show(text, MOST)}"'


def describe_error(error: BaseException) -> str:
    """Return what an error says in one line, shortened, or its type where it says nothing.

    Addresses of objects are left out: they mean nothing to people, and make each of many equal
    messages another one. Characters that no log or message takes, such as those of a file name
    that is not UTF-8, are replaced.
    """
    text = ' '.join(ADDRESS.sub('', str(error)).splitlines())
    return _show(text, MOST_OF_ERROR) or type(error).__name__


def _show(text: str, most: int) -> str:
    shown = ''.join(letter if letter.isprintable() else '\ufffd' for letter in text[:most])
    return f'{shown}{"…" if len(text) > most else ""}'
