"""Comments in msg/, srv/ and action/, and constants shared with the Python code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path for kind in ('msg', 'srv', 'action') for path in (ROOT / kind).iterdir())
FIELD = re.compile(r'^[a-zA-Z][\w/]*(\[.*\])? +[a-z][a-z0-9_]*( |$)')
CONSTANT = re.compile(r'^\w+ +[A-Z][A-Z0-9_]* *=')


def undescribed(text: str) -> list[str]:
    """Return fields and constants without a comment on their line or just above."""
    found, previous = [], ''
    for line in text.splitlines():
        described = '#' in line or (FIELD.match(line) and previous.startswith('#'))
        if (FIELD.match(line) or CONSTANT.match(line)) and not described:
            found.append(line)
        previous = line
    return found


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_every_field_has_a_comment(path: Path) -> None:
    assert undescribed(path.read_text()) == []


def test_a_field_without_a_comment_is_noticed() -> None:
    assert undescribed('# one\nuint8 a\nuint8 b\n\nuint8 C=1\n') == ['uint8 b', 'uint8 C=1']


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_durations_and_numbers_name_their_unit(path: Path) -> None:
    units = re.compile(r'\bin s\b|pixels|0 to 1|Number of')
    paragraphs = path.read_text().split('\n\n')
    measured = [
        text
        for text in paragraphs
        if re.search(
            r'^(\S+/Duration|float32|uint16|uint32|\S+/RegionOfInterest) [a-z]', text, re.MULTILINE
        )
    ]
    assert [text for text in measured if not units.search(text)] == []


def test_cmake_builds_every_interface_file() -> None:
    listed = re.findall(r'\b(?:msg|srv|action)/\w+\.\w+', (ROOT / 'CMakeLists.txt').read_text())
    assert sorted(listed) == sorted(str(path.relative_to(ROOT)) for path in FILES)


def test_states_sources_and_tasks_have_the_same_numbers_in_python() -> None:
    from instructseg_ros.model.tasks import Task
    from instructseg_ros.msg import Command, Segmentation
    from instructseg_ros.streaming.segmentation import Source, State

    for message, enum in ((Segmentation, State), (Segmentation, Source), (Command, Task)):
        for member in enum:
            if member.name != 'UNKNOWN':
                assert getattr(message, member.name) == member.value
