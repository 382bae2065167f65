from __future__ import annotations

from instructseg_ros.streaming.quoting import MOST, quote


def test_a_short_text_is_quoted_as_it_is() -> None:
    assert quote('teapot8') == '"teapot8"'


def test_a_long_text_is_shortened() -> None:
    assert quote('x' * 10_000) == f'"{"x" * MOST}…"'


def test_what_a_terminal_would_obey_is_replaced() -> None:
    assert quote('\x1b[31mred\n') == '"\ufffd[31mred\ufffd"'
