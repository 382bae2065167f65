"""Words of others in messages to people."""

from __future__ import annotations

from typing import Final

MOST: Final = 40  # characters


def quote(text: str) -> str:
    """Return a text in quotation marks, shortened, without what a terminal would obey."""
    shown = ''.join(letter if letter.isprintable() else '\ufffd' for letter in text[:MOST])
    return f'"{shown}{"…" if len(text) > MOST else ""}"'
