from __future__ import annotations

import io

from instructseg_ros.streaming.instruction import (
    MAX_ERROR_LENGTH,
    MAX_QUOTE_LENGTH,
    describe_error,
    quote,
)


def test_a_short_text_is_quoted_as_it_is() -> None:
    assert quote('teapot8') == '"teapot8"'


def test_a_long_text_is_shortened() -> None:
    assert quote('x' * 10_000) == f'"{"x" * MAX_QUOTE_LENGTH}…"'


def test_what_a_terminal_would_obey_is_replaced() -> None:
    assert quote('\x1b[31mred\n') == '"\ufffd[31mred\ufffd"'


def test_the_words_of_an_error_name_no_address() -> None:
    error = ValueError(f'cannot read {io.BytesIO()} with {describe_error}')
    assert describe_error(error) == (
        'cannot read <_io.BytesIO object> with <function describe_error>'
    )
    assert describe_error(KeyError()) == 'KeyError'


def test_the_words_of_an_error_are_one_line_that_every_log_and_message_takes() -> None:
    error = OSError('file \udcff is missing:\n\x1b[31mlook\r\nelsewhere')
    assert describe_error(error) == 'file \ufffd is missing: \ufffd[31mlook elsewhere'


def test_the_words_of_an_error_are_shortened() -> None:
    assert describe_error(ValueError('x' * 10_000)) == f'{"x" * MAX_ERROR_LENGTH}…'
