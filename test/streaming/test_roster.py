from __future__ import annotations

from typing import Any

import pytest
from color_stream import frame

from instructseg_ros.model.tasks import Task
from instructseg_ros.streaming.instruction import Instruction, InstructionError, Until
from instructseg_ros.streaming.instruction_registry import InstructionRegistry
from instructseg_ros.streaming.segmentation import Segmentation, State
from instructseg_ros.streaming.settings import EngineSettings

CAMERAS = {'front': 'f', 'wrist': 'w'}


def said(text: str = 'find red', **fields: Any) -> Instruction:
    """An instruction of a command without an id."""
    return Instruction(**{'text': text, 'slot': 'person', 'generated_id': True, **fields})


def make(*instructions: Instruction, **settings: Any) -> InstructionRegistry:
    roster = InstructionRegistry(EngineSettings(**settings))
    for instruction in instructions:
        assert roster.give(instruction, now=0.0) == []
    return roster


def expired(roster: InstructionRegistry, *, now: float) -> list[str]:
    return [each.reason for each in roster.overdue(now=now, paused=True) if each.final]


def answer(roster: InstructionRegistry, camera: str = '', **fields: Any) -> None:
    """Answer all that is followed on a camera."""
    its = roster.cameras[camera]
    roster.settle(
        its, {live: Segmentation(instruction=live.instruction, **fields) for live in its.live}
    )


def test_the_same_instruction_in_the_same_slot_renews_the_lifetime() -> None:
    first = said(lifetime=2.0)
    roster = make(first)
    assert roster.give(said(lifetime=2.0), now=1.5) == []
    assert roster.live() == [first]
    assert expired(roster, now=3.0) == []
    assert expired(roster, now=3.5) == [
        'its lifetime of 2.0 s is over, and no image was answered in that time'
    ]


@pytest.mark.parametrize(
    ('before', 'after', 'deadline'),
    [(1.0, 3.0, 3.5), (3.0, 1.0, 1.5), (1.0, None, float('inf')), (None, 1.0, 1.5)],
)
def test_the_lifetime_of_the_repetition_counts(
    before: float | None, after: float | None, deadline: float
) -> None:
    roster = make(said(lifetime=before))
    roster.give(said(lifetime=after), now=0.5)
    assert [live.deadline for live in roster.cameras[''].live] == [deadline]


def test_what_is_known_of_an_instruction_outlives_its_repetition() -> None:
    roster = make(said(), topics=CAMERAS)
    before = [live for camera in roster.cameras.values() for live in camera.live]
    roster.give(said(cameras=('wrist', 'front')), now=1.0)
    assert [live for camera in roster.cameras.values() for live in camera.live] == before


def test_a_repeated_instruction_is_still_told_that_no_image_comes() -> None:
    roster = make(said(), image_timeout=3.0)
    told = []
    for now in range(1, 6):
        roster.give(said(), now=float(now))
        told += roster.overdue(now=float(now), paused=False)
    assert [each.reason.startswith('no image has arrived') for each in told] == [True]


@pytest.mark.parametrize(
    'fields',
    [
        {'text': 'find green'},
        {'task': Task.REASONING},
        {'cameras': ('front',)},
        {'id': 'mine', 'generated_id': False},
        {'until': Until.FOUND},
    ],
)
def test_an_instruction_that_differs_or_has_an_id_of_its_own_replaces(
    fields: dict[str, Any],
) -> None:
    first, second = said(), said(**fields)
    roster = make(first, topics=CAMERAS)
    assert [each.instruction for each in roster.give(second, now=1.0)] == [first]
    assert roster.live() == [second]


def test_a_search_is_not_renewed_by_another_one() -> None:
    first, second = said(until=Until.FOUND), said(until=Until.FOUND)
    roster = make(first)
    assert [each.instruction for each in roster.give(second, now=1.0)] == [first]


def test_a_command_that_is_sent_again_with_its_id_is_renewed() -> None:
    command = {'id': 'mug', 'generated_id': False, 'slot': '', 'lifetime': 2.0}
    roster = make(said(**command))
    roster.give(said(**command), now=1.5)
    assert expired(roster, now=3.0) == []
    with pytest.raises(InstructionError, match='is live already'):
        roster.give(said('find green', **command), now=3.0)


@pytest.mark.parametrize('slot', ['', 'person'])
def test_an_instruction_repeated_for_ever_without_an_id_never_reaches_the_limit(slot: str) -> None:
    first = said(slot=slot)
    roster = make(first, max_instructions=1)
    for now in range(1, 20):
        assert roster.give(said(slot=slot), now=float(now)) == []
    assert roster.live() == [first]


@pytest.mark.parametrize(
    ('first', 'second'),
    [
        ({'id': 'mine', 'generated_id': False}, {}),
        ({}, {'id': 'mine', 'generated_id': False}),
        ({'id': 'mine', 'generated_id': False}, {'id': 'yours', 'generated_id': False}),
        ({}, {'text': 'find green'}),
        ({}, {'task': Task.REASONING}),
        ({}, {'cameras': ('front',)}),
        ({}, {'slot': 'person'}),
    ],
)
def test_without_a_slot_an_instruction_that_differs_or_has_an_id_of_its_own_is_followed_as_well(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    given = [said(**{'slot': '', **fields}) for fields in (first, second)]
    assert make(*given, topics=CAMERAS).live() == given


def test_in_a_slot_a_repetition_without_an_id_renews_an_instruction_that_has_one() -> None:
    first = said(id='mine', generated_id=False)
    roster = make(first)
    assert roster.give(said(), now=1.0) == []
    assert roster.live() == [first]


@pytest.mark.parametrize('until', [Until.FOUND, Until.ANSWERED])
def test_equal_requests_that_wait_for_an_end_are_followed_side_by_side(until: Until) -> None:
    assert (
        len(make(said(slot='', until=until), said(slot='', until=until), said(slot='')).live()) == 3
    )


def test_a_repetition_does_not_count_against_the_limit() -> None:
    roster = make(said(), max_instructions=1)
    assert roster.give(said(), now=1.0) == []


def test_a_search_that_ends_by_time_keeps_the_reason_why_nothing_was_found() -> None:
    roster = make(said(until=Until.FOUND, lifetime=1.0))
    answer(roster, state=State.NOT_FOUND, reason='unknown words: "gizmo"')
    assert expired(roster, now=1.0) == [
        'its lifetime of 1.0 s is over; last answer: unknown words: "gizmo"'
    ]


def test_whatever_ends_an_instruction_the_last_reason_is_kept() -> None:
    roster = make(said())
    answer(roster, state=State.FAILED, reason='no image')
    [ended] = roster.give(said('find green', id='green'), now=1.0)
    assert ended.reason == 'replaced by instruction green; last answer: no image'


def test_the_last_reasons_of_several_cameras_name_them() -> None:
    roster = make(said(), topics=CAMERAS)
    answer(roster, 'front', state=State.NOT_FOUND, reason='nothing matches')
    answer(roster, 'wrist', state=State.FAILED, reason='no image')
    [ended] = roster.end(roster.live(), 'cancelled')
    assert ended.reason == ('cancelled; last answer: front: nothing matches; wrist: no image')


def test_what_was_found_last_ends_without_an_older_reason() -> None:
    roster = make(said())
    answer(roster, state=State.NOT_FOUND, reason='nothing matches')
    mask = frame(0).image[..., 0] > 0
    answer(roster, state=State.FOUND, mask=mask)
    [ended] = roster.end(roster.live(), 'cancelled')
    assert ended.reason == 'cancelled'
