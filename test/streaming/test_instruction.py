from __future__ import annotations

import dataclasses

import pytest

from instructseg_ros.streaming.instruction import Instruction, InstructionError, clean_text


@pytest.mark.parametrize(
    ('text', 'cleaned'),
    [
        ('  the  red   mug \n', 'the red mug'),
        ('cafe\u0301', 'caf\u00e9'),
        ('something I can drink from?', 'something I can drink from?'),
        ('the mug < 10 cm from [the] bowl', 'the mug < 10 cm from [the] bowl'),
        ('\u0645\u06cc\u200c\u062e\u0648', '\u0645\u06cc\u200c\u062e\u0648'),
    ],
)
def test_text_is_normalised(text: str, cleaned: str) -> None:
    assert clean_text(text) == cleaned


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('', 'is empty'),
        (' \t\n ', 'is empty'),
        ('!? 42', 'holds no word'),
        ('x' * 10_000, 'has 10000 characters, the limit is 512'),
        ('the red\x07 mug', r'control character U\+0007 at position 7'),
        ('the red\nmug', r'control character U\+000A'),
        ('\u202ethe red mug', r'control character U\+202E'),
        ('\ud800', r'control character U\+D800'),
        ('the mug [SEG]', r'"\[SEG\]" is reserved'),
        ('<image> the mug', '"<image>" is reserved'),
        ('the <REFER> mug', '"<REFER>" is reserved'),
        ('mug<|endoftext|>', r'"<\|endoftext\|>" is reserved'),
    ],
)
def test_what_is_no_instruction_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(InstructionError, match=reason):
        clean_text(text)


def test_the_longest_allowed_text_passes() -> None:
    assert len(clean_text('x' * 512)) == 512


def test_instructions_have_different_ids_and_cannot_be_changed() -> None:
    first, second = Instruction(text='the mug'), Instruction(text='the mug')
    assert first.id != second.id
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.text = 'the bowl'  # type: ignore[misc]


@pytest.mark.parametrize('lifetime', [0.0, -1.0, float('nan')])
def test_a_lifetime_must_be_positive(lifetime: float) -> None:
    with pytest.raises(InstructionError, match='lifetime must be positive'):
        Instruction(text='the mug', lifetime=lifetime)
