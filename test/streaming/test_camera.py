from __future__ import annotations

import math
from typing import Any

import pytest
from color_stream import follow, frame, make_camera

from instructseg_ros.model.video_stream import ComputeBudget
from instructseg_ros.streaming.active_instruction import ActiveInstruction
from instructseg_ros.streaming.camera import Camera, CameraTask, Refusal
from instructseg_ros.streaming.instruction import Until
from instructseg_ros.streaming.schedule import EngineSettings
from instructseg_ros.streaming.segmentation import Segmentation, State

EMBEDDING: Any = 'an embedding'
FEATURES: Any = 'features'


@pytest.fixture
def camera() -> Camera:
    settings = EngineSettings(
        topics={'front': '/front/image'},
        image_timeout=2.0,
        reference_frames=2,
        reference_stride=1e-8,
    )
    return make_camera(settings, 'front')


def plan(camera: Camera, *, now: float = 0.0, **budget: int) -> CameraTask | None:
    return camera.next_task(now=now, budget=ComputeBudget(**{'reference_frames': 2, **budget}))


def reports(camera: Camera, *, now: float) -> list[Segmentation]:
    return [result for _, result in camera.overdue(now=now)]


def planned(camera: Camera, **budget: int) -> list[ActiveInstruction]:
    work = plan(camera, **budget)
    return [] if work is None else list(work.frame_task.queries)


def test_without_a_frame_or_an_instruction_there_is_no_work(camera: Camera) -> None:
    assert plan(camera) is None
    camera.active.append(follow())
    assert plan(camera) is None
    camera.active.clear()
    camera.add(frame(1))
    assert plan(camera) is None


def test_each_instruction_is_worked_on_once_a_frame(camera: Camera) -> None:
    camera.active += [follow('find red'), follow('find green')]
    for stamp in (1, 2, 3):
        camera.add(frame(stamp))
        assert planned(camera) == camera.active
        assert planned(camera) == []


def test_one_that_comes_later_is_worked_on_alone_and_then_with_the_others(camera: Camera) -> None:
    first, second = follow('find red'), follow('find green')
    camera.active.append(first)
    camera.add(frame(1))
    assert planned(camera) == [first]
    camera.active.append(second)
    assert planned(camera) == [second]
    camera.add(frame(2))
    assert planned(camera) == [first, second]


def test_one_that_comes_later_takes_no_turn_of_the_language_model_from_the_others(
    camera: Camera,
) -> None:
    first, second = follow('find red'), follow('find green')
    camera.active.append(first)
    turns = []
    for stamp in range(1, 8):
        camera.add(frame(stamp))
        work = plan(camera, reason_every=3)
        assert work is not None
        turns.append(first in work.frame_task.to_reason)
        for active in work.frame_task.to_reason:
            active.embedding = EMBEDDING
        if stamp == 3:
            camera.active.append(second)
            assert planned(camera, reason_every=3) == [second]
            second.embedding = EMBEDDING
    assert turns == [True, False, False, True, False, False, True]


def test_a_frame_that_repeats_a_stamp_is_worked_on_as_well(camera: Camera) -> None:
    camera.active.append(follow())
    for _ in range(3):
        camera.add(frame(5))
        assert planned(camera) == camera.active
    assert len(camera.stream.frames) == 1


def test_an_old_frame_is_not_worked_on(camera: Camera) -> None:
    camera.active.append(follow())
    camera.add(frame(1, arrived=10.0))
    assert plan(camera, now=11.1) is None
    assert plan(camera, now=11.0) is not None


def test_frames_that_were_replaced_while_an_instruction_was_active_are_counted(
    camera: Camera,
) -> None:
    camera.add(frame(1))
    camera.add(frame(2))
    camera.active.append(follow())
    work = plan(camera)
    assert work is not None and work.dropped == 0
    for stamp in (3, 4, 5):
        camera.add(frame(stamp))
    work = plan(camera)
    assert work is not None and (work.dropped, work.frame_task.frame.stamp) == (2, 5)


def test_it_remembers_when_it_got_the_model(camera: Camera) -> None:
    camera.active.append(follow())
    camera.add(frame(1, arrived=4.5))
    assert camera.served == -math.inf
    plan(camera, now=5.0)
    assert camera.served == 5.0


def test_a_frame_that_is_worked_on_for_a_request_is_answered_for_all(camera: Camera) -> None:
    floor, mug = follow('the floor'), follow('the mug', until=Until.FOUND)
    camera.active.append(floor)
    answered = []
    for now in (0.0, 0.1, 0.2, 0.3, 10.2):
        if now == 0.2:
            camera.active.append(mug)
        camera.add(frame(1, arrived=now))
        work = camera.next_task(now=now, budget=ComputeBudget(), period=10.0)
        answered.append([] if work is None else list(work.frame_task.queries))
        if mug in answered[-1]:
            camera.drop(mug.instruction)
    assert answered == [[floor], [], [floor, mug], [], [floor]]


def test_a_request_on_a_frame_that_was_answered_keeps_the_next_one_in_its_time(
    camera: Camera,
) -> None:
    floor = follow('the floor')
    camera.active.append(floor)
    camera.add(frame(1))
    assert planned(camera) == [floor]
    mug = follow('the mug', until=Until.ANSWERED)
    camera.active.append(mug)
    work = camera.next_task(now=0.9, budget=ComputeBudget(), period=1.0)
    assert work is not None and list(work.frame_task.queries) == [mug]
    camera.add(frame(2, arrived=1.0))
    work = camera.next_task(now=1.0, budget=ComputeBudget(), period=1.0)
    assert work is not None and floor in work.frame_task.queries


def test_one_that_is_dropped_is_gone_and_the_others_stay(camera: Camera) -> None:
    short, long = follow('find red', lifetime=1.0), follow('find green', lifetime=5.0)
    camera.active += [short, long]
    camera.add(frame(1, arrived=0.5))
    assert camera.next_event() == 1.0
    assert camera.drop(short.instruction)
    assert camera.active == [long]
    assert not camera.drop(short.instruction)


def test_silence_is_reported_to_each_instruction_once(camera: Camera) -> None:
    camera.active += [follow('find red'), follow('find green')]
    assert camera.next_event() == 2.0
    reported = reports(camera, now=2.0)
    assert [(each.state, each.final) for each in reported] == [(State.FAILED, False)] * 2
    assert 'no image has arrived on /front/image within 2.0 s' in reported[0].reason
    assert list(camera.overdue(now=100.0)) == []
    assert camera.next_event() == math.inf


def test_silence_is_reported_to_one_that_comes_later_in_its_own_time(camera: Camera) -> None:
    camera.active.append(follow('find red'))
    assert len(list(camera.overdue(now=2.0))) == 1
    late = follow('find green')
    late.given = 3.0
    camera.active.append(late)
    assert camera.next_event() == 5.0
    [reported] = reports(camera, now=5.0)
    assert reported.instruction is late.instruction


def test_an_image_ends_the_silence(camera: Camera) -> None:
    camera.active.append(follow())
    assert len(list(camera.overdue(now=2.0))) == 1
    camera.add(frame(1, arrived=3.0))
    assert camera.next_event() == 5.0
    [reported] = reports(camera, now=5.5)
    assert reported.reason == (
        'no image for 2.5 s on /front/image; check that the camera still runs'
    )


def test_a_refused_image_is_answered_once_to_each_and_ends_the_silence(camera: Camera) -> None:
    camera.active += [follow('find red'), follow('find green')]
    camera.refuse(Refusal(reason='encoding "x" is unknown', header='h'), now=1.5)
    reported = reports(camera, now=1.5)
    assert [(each.state, each.reason, each.header) for each in reported] == [
        (State.FAILED, 'encoding "x" is unknown', 'h')
    ] * 2
    assert list(camera.overdue(now=1.5)) == []
    assert camera.next_event() == 3.5


@pytest.mark.parametrize('rate', [10, 15, 24, 30, 45, 60, 90, 120])
def test_each_answer_costs_one_encoding_whatever_the_rate_of_the_camera(rate: int) -> None:
    settings = EngineSettings(reference_frames=4, reference_stride=0.2)
    camera = make_camera(settings)
    camera.active.append(follow())
    encodings = []
    for number in range(10 * rate):
        camera.add(frame(number * 1_000_000_000 // rate))
        if number * 10 % rate < 10:  # the model manages ten a second
            work = plan(camera, reference_frames=4)
            assert work is not None
            task = work.frame_task
            new = [each for each in (*task.references, task.frame) if each.features is None]
            for each in new:
                each.features = FEATURES
            encodings.append(len(new))
    assert encodings == [1] * len(encodings)
