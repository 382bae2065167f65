from __future__ import annotations

import io

from instructseg_ros.streaming.quoting import MOST, describe_error, quote


def test_a_short_text_is_quoted_as_it_is() -> None:
    assert quote('teapot8') == '"teapot8"'


def test_a_long_text_is_shortened() -> None:
    assert quote('x' * 10_000) == f'"{"x" * MOST}…"'


def test_what_a_terminal_would_obey_is_replaced() -> None:
    assert quote('\x1b[31mred\n') == '"\ufffd[31mred\ufffd"'


def test_the_words_of_an_error_name_no_address() -> None:
    error = ValueError(f'cannot read {io.BytesIO()} with {describe_error}')
    assert describe_error(error) == (
        'cannot read <_io.BytesIO object> with <function describe_error>')
    assert describe_error(KeyError()) == 'KeyError'
