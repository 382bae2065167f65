"""Words of others in messages to people."""

from __future__ import annotations

import re
from typing import Final

MOST: Final = 40  # characters
ADDRESS: Final = re.compile(r' at 0x[0-9a-fA-F]+')


def quote(text: str) -> str:
    """Return a text in quotation marks, shortened, without what a terminal would obey."""
    shown = ''.join(letter if letter.isprintable() else '\ufffd' for letter in text[:MOST])
    return f'"{shown}{"…" if len(text) > MOST else ""}"'


def describe_error(error: BaseException) -> str:
    """Return what an error says, without addresses of objects, or its type where it says nothing.

    Addresses mean nothing to people, and make each of many equal messages another one.
    """
    return ADDRESS.sub('', str(error)) or type(error).__name__
