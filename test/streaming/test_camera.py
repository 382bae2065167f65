from __future__ import annotations

import math

import pytest
from color_stream import follow, frame

from instructseg_ros.streaming.active_instruction import ActiveInstruction, Conclusion, FrameTask
from instructseg_ros.streaming.camera import Camera, Refusal
from instructseg_ros.streaming.instruction import Until
from instructseg_ros.streaming.schedule import ComputeBudget
from instructseg_ros.streaming.segmentation import Segmentation, State
from instructseg_ros.streaming.settings import EngineSettings


@pytest.fixture
def camera() -> Camera:
    settings = EngineSettings(
        topics={'front': '/front/image'},
        image_timeout=2.0,
        reference_frames=2,
        reference_stride=1e-8,
    )
    return settings.make_camera('front')


def plan(camera: Camera, *, now: float = 0.0, **budget: int) -> FrameTask | None:
    return camera.next_job(now=now, budget=ComputeBudget(**{'reference_frames': 2, **budget}))


def tell(camera: Camera, *, now: float) -> list[Segmentation]:
    return [result for _, result in camera.overdue(now=now)]


def planned(camera: Camera, **budget: int) -> list[ActiveInstruction]:
    job = plan(camera, **budget)
    return [] if job is None else list(job.lives)


def test_without_a_frame_or_an_instruction_there_is_no_work(camera: Camera) -> None:
    assert plan(camera) is None
    camera.live.append(follow())
    assert plan(camera) is None
    camera.live.clear()
    camera.add(frame(1))
    assert plan(camera) is None


def test_each_instruction_is_worked_on_once_a_frame(camera: Camera) -> None:
    camera.live += [follow('find red'), follow('find green')]
    for stamp in (1, 2, 3):
        camera.add(frame(stamp))
        assert planned(camera) == camera.live
        assert planned(camera) == []


def test_one_that_comes_later_is_worked_on_alone_and_then_with_the_others(camera: Camera) -> None:
    first, second = follow('find red'), follow('find green')
    camera.live.append(first)
    camera.add(frame(1))
    assert planned(camera) == [first]
    camera.live.append(second)
    assert planned(camera) == [second]
    camera.add(frame(2))
    assert planned(camera) == [first, second]


def test_one_that_comes_later_takes_no_turn_of_the_language_model_from_the_others(
    camera: Camera,
) -> None:
    first, second = follow('find red'), follow('find green')
    camera.live.append(first)
    turns = []
    for stamp in range(1, 8):
        camera.add(frame(stamp))
        job = plan(camera, reason_every=3)
        assert job is not None
        turns.append(first in job.reason)
        for live in job.reason:
            live.conclusion = Conclusion(value='', stamp=stamp, reference_frames=0)
        if stamp == 3:
            camera.live.append(second)
            assert planned(camera, reason_every=3) == [second]
            second.conclusion = first.conclusion
    assert turns == [True, False, False, True, False, False, True]


def test_a_frame_that_repeats_a_stamp_is_worked_on_as_well(camera: Camera) -> None:
    camera.live.append(follow())
    for _ in range(3):
        camera.add(frame(5))
        assert planned(camera) == camera.live
    assert len(camera.buffer) == 1


def test_an_old_frame_is_not_worked_on(camera: Camera) -> None:
    camera.live.append(follow())
    camera.add(frame(1, arrived=10.0))
    assert plan(camera, now=11.1) is None
    assert plan(camera, now=11.0) is not None


def test_frames_that_were_replaced_while_an_instruction_was_live_are_counted(
    camera: Camera,
) -> None:
    camera.add(frame(1))
    camera.add(frame(2))
    camera.live.append(follow())
    job = plan(camera)
    assert job is not None and job.dropped == 0
    for stamp in (3, 4, 5):
        camera.add(frame(stamp))
    job = plan(camera)
    assert job is not None and (job.dropped, job.frame.stamp) == (2, 5)


def test_it_remembers_when_it_got_the_model(camera: Camera) -> None:
    camera.live.append(follow())
    camera.add(frame(1, arrived=4.5))
    assert camera.served == -math.inf
    plan(camera, now=5.0)
    assert camera.served == 5.0


def test_a_frame_that_is_worked_on_for_a_request_is_answered_for_all(camera: Camera) -> None:
    floor, mug = follow('the floor'), follow('the mug', until=Until.FOUND)
    camera.live.append(floor)
    answered = []
    for now in (0.0, 0.1, 0.2, 0.3, 10.2):
        if now == 0.2:
            camera.live.append(mug)
        camera.add(frame(1, arrived=now))
        job = camera.next_job(now=now, budget=ComputeBudget(), period=10.0)
        answered.append([] if job is None else list(job.lives))
        if mug in answered[-1]:
            camera.drop(mug.instruction)
    assert answered == [[floor], [], [floor, mug], [], [floor]]


def test_a_request_on_a_frame_that_was_answered_keeps_the_next_one_in_its_time(
    camera: Camera,
) -> None:
    floor = follow('the floor')
    camera.live.append(floor)
    camera.add(frame(1))
    assert planned(camera) == [floor]
    mug = follow('the mug', until=Until.ANSWERED)
    camera.live.append(mug)
    job = camera.next_job(now=0.9, budget=ComputeBudget(), period=1.0)
    assert job is not None and list(job.lives) == [mug]
    camera.add(frame(2, arrived=1.0))
    job = camera.next_job(now=1.0, budget=ComputeBudget(), period=1.0)
    assert job is not None and floor in job.lives


def test_what_is_forgotten_is_made_anew(camera: Camera) -> None:
    live = follow()
    camera.live.append(live)
    for stamp in (10, 20, 30):
        camera.add(frame(stamp, tokens='kept'))
    live.expression = 'read'
    live.conclusion = Conclusion(value='', stamp=30, reference_frames=2)
    camera.forget()
    job = plan(camera, reason_every=100)
    assert job is not None
    assert [each.tokens for each in (*job.references, job.frame)] == [None] * 3
    assert (live.expression, list(job.reason)) == (None, [live])


def test_the_tokens_of_a_frame_that_left_the_buffer_are_forgotten_as_well(camera: Camera) -> None:
    camera.live.append(follow())
    camera.add(frame(10))
    job = plan(camera)
    assert job is not None
    job.frame.tokens = 'kept'
    camera.add(frame(10))  # the model works on the first still
    camera.forget()
    assert job.frame.tokens is None


def test_one_that_is_dropped_is_gone_and_the_others_stay(camera: Camera) -> None:
    short, long = follow('find red', lifetime=1.0), follow('find green', lifetime=5.0)
    camera.live += [short, long]
    camera.add(frame(1, arrived=0.5))
    assert camera.next_event() == 1.0
    assert camera.drop(short.instruction)
    assert camera.live == [long]
    assert not camera.drop(short.instruction)


def test_each_instruction_is_told_of_silence_once(camera: Camera) -> None:
    camera.live += [follow('find red'), follow('find green')]
    assert camera.next_event() == 2.0
    told = tell(camera, now=2.0)
    assert [(each.state, each.final) for each in told] == [(State.FAILED, False)] * 2
    assert 'no image has arrived on /front/image within 2.0 s' in told[0].reason
    assert list(camera.overdue(now=100.0)) == []
    assert camera.next_event() == math.inf


def test_one_that_comes_during_the_silence_is_told_in_its_own_time(camera: Camera) -> None:
    camera.live.append(follow('find red'))
    assert len(list(camera.overdue(now=2.0))) == 1
    late = follow('find green')
    late.given = 3.0
    camera.live.append(late)
    assert camera.next_event() == 5.0
    [told] = tell(camera, now=5.0)
    assert told.instruction is late.instruction


def test_an_image_ends_the_silence(camera: Camera) -> None:
    camera.live.append(follow())
    assert len(list(camera.overdue(now=2.0))) == 1
    camera.add(frame(1, arrived=3.0))
    assert camera.next_event() == 5.0
    [told] = tell(camera, now=5.5)
    assert told.reason == ('no image for 2.5 s on /front/image; check that the camera still runs')


def test_a_refused_image_is_answered_once_to_each_and_ends_the_silence(camera: Camera) -> None:
    camera.live += [follow('find red'), follow('find green')]
    camera.refuse(Refusal(reason='encoding "x" is unknown', header='h'), now=1.5)
    told = tell(camera, now=1.5)
    assert [(each.state, each.reason, each.header) for each in told] == [
        (State.FAILED, 'encoding "x" is unknown', 'h')
    ] * 2
    assert list(camera.overdue(now=1.5)) == []
    assert camera.next_event() == 3.5


@pytest.mark.parametrize('rate', [10, 15, 24, 30, 45, 60, 90, 120])
def test_each_answer_costs_one_encoding_whatever_the_rate_of_the_camera(rate: int) -> None:
    settings = EngineSettings(reference_frames=4, reference_stride=0.2)
    camera = settings.make_camera('')
    camera.live.append(follow())
    encodings = []
    for number in range(10 * rate):
        camera.add(frame(number * 1_000_000_000 // rate))
        if number * 10 % rate < 10:  # the model manages ten a second
            job = plan(camera, reference_frames=4)
            assert job is not None
            new = [each for each in (*job.references, job.frame) if each.tokens is None]
            for each in new:
                each.tokens = 'kept'
            encodings.append(len(new))
    assert encodings == [1] * len(encodings)
