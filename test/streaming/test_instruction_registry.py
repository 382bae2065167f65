from __future__ import annotations

from typing import Any

import pytest
from color_stream import ColorModel, frame

from instructseg_ros.model.session import VideoSession
from instructseg_ros.model.tasks import Task
from instructseg_ros.model.video_stream import ComputeBudget
from instructseg_ros.streaming.instruction import Instruction, InstructionError, Until
from instructseg_ros.streaming.instruction_registry import InstructionRegistry
from instructseg_ros.streaming.schedule import EngineSettings
from instructseg_ros.streaming.segmentation import Segmentation, State

CAMERAS = {'front': 'f', 'wrist': 'w'}


def said(text: str = 'find red', **fields: Any) -> Instruction:
    """An instruction of a command without an id."""
    return Instruction(**{'text': text, 'slot': 'person', 'generated_id': True, **fields})


def make(*instructions: Instruction, **settings: Any) -> InstructionRegistry:
    bounds = EngineSettings(**settings)
    model = ColorModel()
    model.gate.set()
    registry = InstructionRegistry(bounds, VideoSession(model, bounds.reference_policy))
    for instruction in instructions:
        assert registry.give(instruction, now=0.0) == []
    return registry


def expired(registry: InstructionRegistry, *, now: float) -> list[str]:
    return [each.reason for each in registry.overdue(now=now, paused=True) if each.final]


def answer(registry: InstructionRegistry, camera: str = '', **fields: Any) -> None:
    """Answer all that is followed on a camera."""
    its = registry.cameras[camera]
    registry.settle(
        its, {each: Segmentation(instruction=each.instruction, **fields) for each in its.active}
    )


def test_the_same_instruction_in_the_same_slot_renews_the_lifetime() -> None:
    first = said(lifetime=2.0)
    registry = make(first)
    assert registry.give(said(lifetime=2.0), now=1.5) == []
    assert registry.active() == [first]
    assert expired(registry, now=3.0) == []
    assert expired(registry, now=3.5) == [
        'its lifetime of 2.0 s is over, and no image was segmented in that time'
    ]


def test_a_suspended_instruction_is_resumed_in_another_registry_until_its_first_deadline() -> None:
    instruction = said(lifetime=2.0)
    registry = make(instruction, topics=CAMERAS)
    suspended, results = registry.suspend('the model changes')
    assert registry.active() == []
    assert [(each.state, each.camera, each.reason, each.final) for each in results] == [
        (State.FAILED, camera, 'the model changes', False) for camera in CAMERAS
    ]
    other = make(topics=CAMERAS)
    assert other.resume(suspended, now=1.5) == []
    assert other.active() == [instruction]
    assert expired(other, now=1.9) == []
    assert expired(other, now=2.0) == [
        'its lifetime of 2.0 s is over; last result: '
        'front: the model changes; wrist: the model changes'
    ]


def test_a_request_that_waits_for_its_end_is_not_suspended() -> None:
    request = said(until=Until.FOUND, slot='')
    registry = make(request)
    assert registry.suspend('the model changes') == ([], [])
    assert registry.active() == [request]


def test_an_instruction_whose_camera_is_gone_ends_instead_of_being_resumed() -> None:
    kept, lost = said(slot=''), said(cameras=('wrist',))
    suspended, _ = make(kept, lost, topics=CAMERAS).suspend('the model changes')
    other = make(topics={'front': 'f'})
    [final] = other.resume(suspended, now=1.0)
    assert other.active() == [kept]
    assert (final.instruction, final.state, final.final) == (lost, State.EXPIRED, True)
    assert final.reason == ('it could not be resumed: there is no camera "wrist"; use front')


def test_suspended_instructions_are_resumed_in_their_order() -> None:
    instructions = [said(f'find {color}', slot='') for color in ('red', 'green', 'blue')]
    suspended, _ = make(*instructions, topics=CAMERAS).suspend('the model changes')
    other = make(topics=CAMERAS)
    assert other.resume(suspended, now=1.0) == []
    assert other.active() == instructions


@pytest.mark.parametrize(
    ('before', 'after', 'deadline'),
    [(1.0, 3.0, 3.5), (3.0, 1.0, 1.5), (1.0, None, float('inf')), (None, 1.0, 1.5)],
)
def test_the_lifetime_of_the_repetition_counts(
    before: float | None, after: float | None, deadline: float
) -> None:
    registry = make(said(lifetime=before))
    registry.give(said(lifetime=after), now=0.5)
    assert [each.deadline for each in registry.cameras[''].active] == [deadline]


def test_what_is_known_of_an_instruction_outlives_its_repetition() -> None:
    registry = make(said(), topics=CAMERAS)
    before = [each for camera in registry.cameras.values() for each in camera.active]
    registry.give(said(cameras=('wrist', 'front')), now=1.0)
    assert [each for camera in registry.cameras.values() for each in camera.active] == before


def test_missing_images_are_still_reported_to_a_repeated_instruction() -> None:
    registry = make(said(), image_timeout=3.0)
    reported = []
    for now in range(1, 6):
        registry.give(said(), now=float(now))
        reported += registry.overdue(now=float(now), paused=False)
    assert [each.reason.startswith('no image has arrived') for each in reported] == [True]


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
    registry = make(first, topics=CAMERAS)
    assert [each.instruction for each in registry.give(second, now=1.0)] == [first]
    assert registry.active() == [second]


def test_a_search_is_not_renewed_by_another_one() -> None:
    first, second = said(until=Until.FOUND), said(until=Until.FOUND)
    registry = make(first)
    assert [each.instruction for each in registry.give(second, now=1.0)] == [first]


def test_a_command_that_is_sent_again_with_its_id_is_renewed() -> None:
    command = {'id': 'mug', 'generated_id': False, 'slot': '', 'lifetime': 2.0}
    registry = make(said(**command))
    registry.give(said(**command), now=1.5)
    assert expired(registry, now=3.0) == []
    with pytest.raises(InstructionError, match='is active already'):
        registry.give(said('find green', **command), now=3.0)


@pytest.mark.parametrize('slot', ['', 'person'])
def test_an_instruction_repeated_for_ever_without_an_id_never_reaches_the_limit(slot: str) -> None:
    first = said(slot=slot)
    registry = make(first, max_instructions=1)
    for now in range(1, 20):
        assert registry.give(said(slot=slot), now=float(now)) == []
    assert registry.active() == [first]


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
    assert make(*given, topics=CAMERAS).active() == given


def test_in_a_slot_a_repetition_without_an_id_renews_an_instruction_that_has_one() -> None:
    first = said(id='mine', generated_id=False)
    registry = make(first)
    assert registry.give(said(), now=1.0) == []
    assert registry.active() == [first]


@pytest.mark.parametrize('until', [Until.FOUND, Until.ANSWERED])
def test_equal_requests_that_wait_for_an_end_are_followed_side_by_side(until: Until) -> None:
    assert (
        len(make(said(slot='', until=until), said(slot='', until=until), said(slot='')).active())
        == 3
    )


def test_a_repetition_does_not_count_against_the_limit() -> None:
    registry = make(said(), max_instructions=1)
    assert registry.give(said(), now=1.0) == []


def test_a_search_that_ends_by_time_keeps_the_reason_why_nothing_was_found() -> None:
    registry = make(said(until=Until.FOUND, lifetime=1.0))
    answer(registry, state=State.NOT_FOUND, reason='unknown words: "gizmo"')
    assert expired(registry, now=1.0) == [
        'its lifetime of 1.0 s is over; last result: unknown words: "gizmo"'
    ]


def test_whatever_ends_an_instruction_the_last_reason_is_kept() -> None:
    registry = make(said())
    answer(registry, state=State.FAILED, reason='no image')
    [ended] = registry.give(said('find green', id='green'), now=1.0)
    assert ended.reason == 'replaced by instruction green; last result: no image'


def test_the_last_reasons_of_several_cameras_name_them() -> None:
    registry = make(said(), topics=CAMERAS)
    answer(registry, 'front', state=State.NOT_FOUND, reason='nothing matches')
    answer(registry, 'wrist', state=State.FAILED, reason='no image')
    [ended] = registry.end(registry.active(), 'cancelled')
    assert ended.reason == ('cancelled; last result: front: nothing matches; wrist: no image')


def test_what_was_found_last_ends_without_an_older_reason() -> None:
    registry = make(said())
    answer(registry, state=State.NOT_FOUND, reason='nothing matches')
    mask = frame(0).image[..., 0] > 0
    answer(registry, state=State.FOUND, mask=mask)
    [ended] = registry.end(registry.active(), 'cancelled')
    assert ended.reason == 'cancelled'


def test_cleared_caches_are_computed_anew() -> None:
    registry = make(said(), reference_frames=2, reference_stride=1e-8)
    camera = registry.cameras['']
    session = registry._session
    budget = ComputeBudget(reference_frames=2)
    for stamp in (10, 20, 30):
        camera.add(frame(stamp))
        [task] = registry.next_tasks(now=0.0, budget=budget, paused=False, period=0.0)
        list(session.step([task.frame_task]))
    [active] = camera.active
    assert active.embedding is not None and task.frame_task.frame.features is not None
    camera.add(frame(30))  # the last one leaves the buffer
    registry.clear_caches()
    budget = ComputeBudget(reason_every=100, reference_frames=2)
    assert active.embedding is None and task.frame_task.frame.features is None
    [task] = registry.next_tasks(now=0.0, budget=budget, paused=False, period=0.0)
    assert list(task.frame_task.to_reason) == [active]
    shown = (*task.frame_task.references, task.frame_task.frame)
    assert [each.features for each in shown] == [None] * 3
