from __future__ import annotations

import gc
import itertools
import queue
import random
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from color_stream import ColorModel, Stream, picture

from instructseg_ros.streaming import engine as engine_module
from instructseg_ros.streaming import statistics
from instructseg_ros.streaming.engine import Engine
from instructseg_ros.streaming.instruction import Instruction, InstructionError, Until
from instructseg_ros.streaming.schedule import EngineSettings, Schedule
from instructseg_ros.streaming.segmentation import Segmentation, Source, State

RED = Instruction(text='find red', id='red')
GREEN = Instruction(text='find green', id='green')
FOUND, NOT_FOUND, FAILED, EXPIRED = 'FOUND', 'NOT_FOUND', 'FAILED', 'EXPIRED'
ENGINE_ERROR = 'internal engine error; the engine keeps running, please report it: '


@pytest.fixture(autouse=True)
def patient_and_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show a fault of the engine for ever, and try again before the newest frame is too old."""
    monkeypatch.setattr(statistics, 'FAULT_SHOWN', float('inf'))
    monkeypatch.setattr(engine_module, 'RETRY_DELAY', 0.01)


def hold(stream: Stream, *instructions: Instruction, camera: str = '') -> None:
    """Give instructions and a frame, and keep the model from finishing with it."""
    stream.model.gate.clear()
    for instruction in instructions or [RED]:
        stream.engine.give(instruction)
    stream.frame(camera=camera)
    stream.model.begun.get(timeout=60.0)


def start(model: Any, **options: Any) -> Stream:
    """An engine of another model, or with other receivers, than the fixtures make."""
    results: queue.Queue[Segmentation] = queue.Queue()
    model.gate.set()
    engine = Engine(
        model,
        **{
            'on_results': lambda some: [results.put(each) for each in some],
            'settings': EngineSettings(),
            **options,
        },
    )
    engine.start()
    return Stream(engine, model, results)


def test_a_target_in_the_frame_is_found_with_the_frames_own_header(stream: Stream) -> None:
    stream.engine.give(RED)
    stamp = stream.frame()
    result = stream.result()
    assert (result.state, result.source) == (State.FOUND, Source.INFERRED)
    assert result.header == ('header', stamp)
    assert result.region == (3, 2, 6, 3)
    assert result.instruction is RED


def test_an_absent_target_is_not_found_with_a_reason(stream: Stream) -> None:
    stream.engine.give(RED)
    stream.frame(red=False)
    result = stream.result()
    assert result.state is State.NOT_FOUND
    assert 'threshold 0.50' in result.reason


def test_a_suspended_instruction_is_resumed_by_an_engine_with_another_model(stream: Stream) -> None:
    stream.engine.give(RED)
    suspended = stream.engine.suspend('the model changes')
    waiting = stream.result()
    assert (waiting.state, waiting.reason, waiting.final) == (
        State.FAILED,
        'the model changes',
        False,
    )
    stream.engine.stop()
    other = start(ColorModel())
    other.engine.resume(suspended)
    other.frame()
    result = other.result()
    assert (result.state, result.instruction) == (State.FOUND, RED)
    other.engine.stop()
    assert stream.results.empty()


def test_without_an_instruction_no_frame_is_segmented(stream: Stream) -> None:
    for _ in range(3):
        stream.frame()
    stream.engine.stop()
    assert stream.model.encoded == 0
    assert stream.results.empty()


def test_an_instruction_given_before_the_first_frame_waits_for_it(stream: Stream) -> None:
    stream.engine.give(RED)
    with pytest.raises(queue.Empty):
        stream.results.get(timeout=0.1)
    stream.frame()
    assert stream.result().state is State.FOUND


def test_an_instruction_is_answered_on_the_frame_that_is_already_there(stream: Stream) -> None:
    stamp = stream.frame()
    stream.engine.give(RED)
    assert stream.result().header == ('header', stamp)


def test_every_frame_is_answered_once(stream: Stream) -> None:
    stream.engine.give(RED)
    stamps = []
    for _ in range(5):
        stamps.append(stream.frame())
        assert stream.result().header == ('header', stamps[-1])
    stream.engine.stop()
    assert stream.result().final
    assert stream.results.empty()


def test_a_slow_model_sees_the_newest_frame_and_the_others_are_counted(stream: Stream) -> None:
    stream.model.gate.clear()
    stream.engine.give(RED)
    first = stream.frame()
    stream.model.begun.get(timeout=60.0)
    newest = [stream.frame() for _ in range(4)][-1]
    stream.model.gate.set()
    assert stream.result().header == ('header', first)
    result = stream.result()
    assert result.header == ('header', newest)
    assert result.dropped == 3


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('explode red', 'the model failed: RuntimeError: out of dynamite'),
        ('doubt red', 'the model failed: ValueError: score must be in 0..1, got nan'),
    ],
)
def test_a_model_that_fails_gives_a_failed_result_and_the_engine_lives_on(
    stream: Stream, text: str, reason: str
) -> None:
    stream.engine.give(Instruction(text=text, slot='only'))
    stamp = stream.frame()
    result = stream.result()
    assert (result.state, result.reason) == (State.FAILED, reason)
    assert result.header == ('header', stamp)
    stream.engine.give(Instruction(text='find red', slot='only'))
    assert stream.result().final
    assert stream.result().state is State.FOUND


def test_a_receiver_that_raises_does_not_stop_the_engine() -> None:
    results: queue.Queue[Segmentation] = queue.Queue()

    def receive(some: Sequence[Segmentation]) -> None:
        results.put(some[0])
        raise OSError('no route')

    model = ColorModel()
    model.gate.set()
    engine = Engine(model, on_results=receive, settings=EngineSettings())
    engine.start()
    stream = Stream(engine, model, results)
    engine.give(RED)
    for _ in range(2):
        stream.frame()
        assert stream.result().state is State.FOUND
    engine.stop()


def test_a_replaced_instruction_ends_and_gets_nothing_more(stream: Stream) -> None:
    stream.model.gate.clear()
    stream.engine.give(Instruction(text='find red', id='red', slot='only'))
    stream.frame()
    stream.model.begun.get(timeout=60.0)
    stream.engine.give(Instruction(text='find green', id='green', slot='only'))
    stream.model.gate.set()
    ended = stream.result()
    assert (ended.instruction.id, ended.state, ended.final) == ('red', State.EXPIRED, True)
    assert 'green' in ended.reason
    assert stream.result().instruction.id == 'green'


def test_a_cancelled_instruction_ends(stream: Stream) -> None:
    stream.engine.give(RED)
    stream.engine.cancel()
    result = stream.result()
    assert (result.state, result.reason, result.final) == (State.EXPIRED, 'cancelled', True)
    stream.frame()
    with pytest.raises(queue.Empty):
        stream.results.get(timeout=0.1)


def test_an_instruction_expires_after_its_lifetime(stream: Stream) -> None:
    stream.engine.give(Instruction(text='find red', lifetime=0.05))
    result = stream.result()
    assert (result.state, result.final) == (State.EXPIRED, True)
    assert 'lifetime of 0.05 s' in result.reason


def test_a_camera_that_never_starts_is_reported_once_and_names_its_topic(
    open_stream: Callable[..., Stream],
) -> None:
    stream = open_stream(topics={'': '/front/image'}, image_timeout=0.05)
    stream.engine.give(RED)
    result = stream.result()
    assert result.state is State.FAILED
    assert 'no image has arrived on /front/image within 0.1 s' in result.reason
    with pytest.raises(queue.Empty):
        stream.results.get(timeout=0.2)
    stream.frame()
    # On a busy machine the camera may be silent again before its frame is answered.
    while stream.result().state is not State.FOUND:
        pass


def test_a_camera_that_stops_is_reported_each_time_it_stops(
    open_stream: Callable[..., Stream],
) -> None:
    stream = open_stream(image_timeout=0.05)
    stream.engine.give(RED)
    for _ in range(2):
        stream.frame()
        results = {result.state: result for result in (stream.result(), stream.result())}
        assert set(results) == {State.FOUND, State.FAILED}
        assert 'still runs' in results[State.FAILED].reason


def test_an_old_frame_is_not_segmented(open_stream: Callable[..., Stream]) -> None:
    stream = open_stream(max_age=0.01, image_timeout=0.1)
    stream.frame()
    threading.Event().wait(0.05)
    stream.engine.give(RED)
    assert stream.result().state is State.FAILED


def test_an_unreadable_frame_fails_the_active_instruction(stream: Stream) -> None:
    stream.engine.give(RED)
    for encoding in ('x', 'y'):
        stream.engine.refuse_frame(f'encoding {encoding} is unknown', header=encoding)
        result = stream.result()
        assert (result.state, result.reason) == (State.FAILED, f'encoding {encoding} is unknown')
        assert result.header == encoding


def test_earlier_frames_are_references_and_each_is_encoded_once(
    open_stream: Callable[..., Stream],
) -> None:
    stream = open_stream(reference_frames=2, reference_stride=0.05)
    for _ in range(3):
        stream.frame()
    stream.engine.give(RED)
    assert stream.result().reference_frames == 2
    stream.frame()
    assert stream.result().reference_frames == 2
    assert stream.model.references == [2, 2]
    assert stream.model.encoded == 4


def test_the_first_frame_has_no_references(open_stream: Callable[..., Stream]) -> None:
    stream = open_stream(reference_frames=2, reference_stride=0.05)
    stream.engine.give(RED)
    stream.frame()
    assert stream.result().reference_frames == 0


def test_an_instruction_follows_the_cameras_it_names(open_stream: Callable[..., Stream]) -> None:
    stream = open_stream(topics={'front': '/front/image', 'wrist': '/wrist/image'})
    stream.engine.give(Instruction(text='find red', cameras=('wrist',)))
    stream.frame(camera='front')
    stream.frame(camera='wrist')
    assert stream.result().camera == 'wrist'
    assert stream.model.encoded == 1


def test_frames_of_several_cameras_go_through_the_model_in_one_batch(
    open_stream: Callable[..., Stream],
) -> None:
    stream = open_stream(topics={'front': 'f', 'wrist': 'w'})
    stream.engine.give(RED)
    stream.model.gate.clear()
    stream.frame(camera='front')
    stream.model.begun.get(timeout=60.0)
    stamps = {camera: stream.frame(camera=camera) for camera in ('front', 'wrist')}
    stream.model.gate.set()
    stream.result()
    results = [stream.result() for _ in range(2)]
    assert {result.camera: result.header[1] for result in results} == stamps
    assert stream.model.batches == [['find red'], ['find red', 'find red']]
    assert stream.model.encoded == 3


def test_a_camera_that_stops_is_reported_and_does_not_hold_the_others(
    open_stream: Callable[..., Stream],
) -> None:
    stream = open_stream(
        topics={'front': '/front/image', 'wrist': '/wrist/image'}, image_timeout=0.1
    )
    stream.engine.give(RED)
    reasons: list[str] = []
    while not reasons:
        stream.frame(camera='front')
        result = stream.result()
        # On a busy machine the camera in front may be silent for too long as well.
        reasons += [result.reason] if result.camera == 'wrist' else []
    assert 'no image has arrived on /wrist/image' in reasons[0]
    stamp = stream.frame(camera='front')
    while (result := stream.result()).header != ('header', stamp):
        pass
    assert (result.camera, result.state) == ('front', State.FOUND)


def test_what_is_to_be_found_ends_when_it_is_found(open_stream: Callable[..., Stream]) -> None:
    stream = open_stream(topics={'front': 'f', 'wrist': 'w'})
    stream.engine.give(Instruction(text='find red', id='red', until=Until.FOUND))
    stream.frame(camera='front', red=False)
    assert not stream.result().final
    stream.frame(camera='wrist')
    found = stream.result()
    assert (found.state, found.camera, found.final) == (State.FOUND, 'wrist', True)
    assert stream.engine.active() == []
    stream.engine.stop()
    assert stream.results.empty()


def test_when_two_cameras_find_it_at_once_one_of_them_answers(
    open_stream: Callable[..., Stream],
) -> None:
    stream = open_stream(topics={'front': 'f', 'wrist': 'w'})
    hold(stream, camera='front')
    stream.engine.give(Instruction(text='the red', id='once', until=Until.FOUND))
    for camera in ('front', 'wrist'):
        stream.frame(camera=camera)
    stream.model.gate.set()
    stream.engine.stop()
    results = [stream.results.get() for _ in range(stream.results.qsize())]
    assert sum(result.instruction.id == 'once' for result in results) == 1


@pytest.mark.parametrize('red', [True, False])
def test_a_question_is_answered_once(stream: Stream, red: bool) -> None:
    stream.engine.give(Instruction(text='find red', until=Until.ANSWERED))
    stream.frame(red=red)
    result = stream.result()
    assert (result.state is State.FOUND, result.final) == (red, True)
    stream.frame()
    with pytest.raises(queue.Empty):
        stream.results.get(timeout=0.1)


def test_a_question_on_a_camera_that_is_silent_fails_once(
    open_stream: Callable[..., Stream],
) -> None:
    stream = open_stream(image_timeout=0.05)
    stream.engine.give(Instruction(text='find red', until=Until.ANSWERED))
    result = stream.result()
    assert (result.state, result.final) == (State.FAILED, True)
    assert stream.engine.active() == []


def test_a_question_may_bring_its_own_image(stream: Stream) -> None:
    stream.engine.give(GREEN)
    ask = Instruction(text='find red', id='asked', until=Until.ANSWERED)
    stream.engine.ask(ask, picture(), stamp=7, header='mine')
    result = stream.result()
    assert (result.instruction.id, result.state, result.final) == ('asked', State.FOUND, True)
    assert (result.header, result.camera) == ('mine', '')
    assert [each.id for each in stream.engine.active()] == ['green']


def test_a_question_with_its_own_image_waits_for_a_model_that_is_slow(
    open_stream: Callable[..., Stream],
) -> None:
    stream = open_stream(image_timeout=0.05)
    stream.model.gate.clear()
    ask = Instruction(text='find red', id='asked', until=Until.ANSWERED)
    stream.engine.ask(ask, picture(), stamp=7)
    with pytest.raises(queue.Empty):
        stream.results.get(timeout=0.2)
    stream.model.gate.set()
    assert stream.answers(1) == [('asked', FOUND)]


def test_a_rejection_is_reported_while_the_model_works_and_is_counted(stream: Stream) -> None:
    hold(stream, RED)
    stream.engine.reject(
        Segmentation(instruction=GREEN, state=State.REJECTED, reason='not now', final=True)
    )
    assert stream.answers(1) == [('green', 'REJECTED')]
    assert stream.engine.statistics.status().results == {State.REJECTED: 1}
    stream.model.gate.set()
    assert stream.answers(1) == [('red', FOUND)]


def test_a_rejection_waits_for_results_that_are_being_taken() -> None:
    first, go_on = threading.Event(), threading.Event()
    taken: queue.Queue[str] = queue.Queue()

    def receive(some: Sequence[Segmentation]) -> None:
        first.set()
        go_on.wait(10.0)
        taken.put(some[0].instruction.id)

    engine = start(ColorModel(), on_results=receive).engine
    engine.give(RED)
    engine.cancel('red')
    assert first.wait(10.0)
    engine.reject(
        Segmentation(instruction=GREEN, state=State.REJECTED, reason='not now', final=True)
    )
    go_on.set()
    assert [taken.get(timeout=60.0) for _ in range(2)] == ['red', 'green']
    engine.stop()


def test_while_paused_only_questions_are_answered(stream: Stream) -> None:
    stream.engine.paused = True
    stream.engine.give(GREEN)
    stream.frame()
    stream.engine.give(Instruction(text='find red', id='asked', until=Until.ANSWERED))
    assert stream.result().instruction.id == 'asked'
    with pytest.raises(queue.Empty):
        stream.results.get(timeout=0.1)
    stream.engine.paused = False
    assert stream.result().instruction is GREEN


def test_what_is_cancelled_while_the_model_works_ends_before_the_model_is_done(
    stream: Stream,
) -> None:
    hold(stream, RED)
    assert stream.engine.cancel('red') == ['red']
    assert stream.result().final
    stream.model.gate.set()


def test_what_expires_while_the_model_works_ends_before_the_model_is_done(stream: Stream) -> None:
    hold(stream, Instruction(text='find red', lifetime=0.05))
    assert stream.result().state is State.EXPIRED
    stream.model.gate.set()


def test_stopping_ends_what_is_active_and_the_engine_can_start_again(stream: Stream) -> None:
    stream.engine.give(RED)
    stream.engine.stop()
    stream.engine.stop()
    assert stream.result().reason == 'segmentation was stopped'
    stream.engine.start()
    stream.engine.give(RED)
    stream.frame()
    assert stream.result().state is State.FOUND


def test_a_running_engine_cannot_be_started_twice(stream: Stream) -> None:
    with pytest.raises(RuntimeError, match='runs already'):
        stream.engine.start()


def test_several_instructions_get_one_result_each_for_every_frame(stream: Stream) -> None:
    stream.engine.give(RED)
    stream.engine.give(GREEN)
    for _ in range(5):
        stamp = stream.frame()
        results = [stream.result(), stream.result()]
        assert [(result.instruction, result.state) for result in results] == [
            (RED, State.FOUND),
            (GREEN, State.NOT_FOUND),
        ]
        assert [result.header for result in results] == [('header', stamp)] * 2
    stream.engine.stop()
    assert stream.answers(2) == [('red', EXPIRED), ('green', EXPIRED)]
    assert stream.results.empty()


def test_several_instructions_go_through_the_model_in_one_batch(stream: Stream) -> None:
    hold(stream, RED)
    stream.engine.give(GREEN)
    stream.frame()
    stream.model.gate.set()
    stream.answers(3)
    assert stream.model.batches == [['find red'], ['find red', 'find green']]


def test_one_that_comes_while_the_model_runs_is_answered_on_the_frame_that_is_there(
    stream: Stream,
) -> None:
    hold(stream, RED)
    stream.engine.give(GREEN)
    stream.model.gate.set()
    first, second = stream.result(), stream.result()
    assert (first.instruction, second.instruction) == (RED, GREEN)
    assert first.header == second.header


def test_one_that_is_cancelled_while_the_model_runs_does_not_touch_the_other(
    stream: Stream,
) -> None:
    hold(stream, RED, GREEN)
    assert stream.engine.cancel('red')
    stream.model.gate.set()
    assert sorted(stream.answers(2)) == [('green', NOT_FOUND), ('red', EXPIRED)]
    stream.frame()
    assert stream.answers(1) == [('green', NOT_FOUND)]


def test_one_that_is_replaced_while_the_model_runs_does_not_touch_the_other(stream: Stream) -> None:
    hold(stream, Instruction(text='find red', id='old', slot='arm'), GREEN)
    stream.engine.give(Instruction(text='find red', id='new', slot='arm'))
    stream.frame()
    stream.model.gate.set()
    assert sorted(stream.answers(4)) == [
        ('green', NOT_FOUND),
        ('green', NOT_FOUND),
        ('new', FOUND),
        ('old', EXPIRED),
    ]


def test_one_that_expires_while_the_model_runs_does_not_touch_the_other(stream: Stream) -> None:
    hold(stream, GREEN, Instruction(text='find red', id='short', lifetime=0.02))
    threading.Event().wait(0.05)
    stream.model.gate.set()
    short: list[Segmentation] = []
    green = 0
    while not (green and short and short[-1].final):
        result = stream.result()
        if result.instruction is GREEN:
            assert result.state is State.NOT_FOUND
            green += 1
        else:
            short.append(result)
    assert [result.final for result in short] == [False] * (len(short) - 1) + [True]
    stream.frame()
    assert stream.answers(1) == [('green', NOT_FOUND)]


def test_one_that_makes_the_model_fail_does_not_touch_the_other(stream: Stream) -> None:
    stream.engine.give(RED)
    stream.engine.give(Instruction(text='explode red', id='bad'))
    for _ in range(3):
        stream.frame()
        assert stream.answers(2) == [('red', FOUND), ('bad', FAILED)]
    assert stream.engine.cancel('bad')
    assert stream.answers(1) == [('bad', EXPIRED)]


def test_an_id_is_active_once(stream: Stream) -> None:
    stream.engine.give(RED)
    with pytest.raises(InstructionError, match='instruction red is active already; cancel it, or'):
        stream.engine.give(Instruction(text='find green', id='red'))
    stream.frame()
    assert stream.result().instruction is RED
    stream.engine.cancel('red')
    stream.engine.give(Instruction(text='find green', id='red'))
    assert stream.answers(2) == [('red', EXPIRED), ('red', NOT_FOUND)]


def test_a_cancelled_id_that_is_not_active_changes_nothing(stream: Stream) -> None:
    stream.engine.give(RED)
    assert not stream.engine.cancel('blue')
    stream.frame()
    assert stream.answers(1) == [('red', FOUND)]


def test_cancelling_without_an_id_ends_all(stream: Stream) -> None:
    stream.engine.give(RED)
    stream.engine.give(GREEN)
    assert stream.engine.cancel()
    assert not stream.engine.cancel()
    assert stream.answers(2) == [('red', EXPIRED), ('green', EXPIRED)]


def test_an_instruction_repeated_faster_than_the_model_is_answered_under_its_first_id(
    stream: Stream,
) -> None:
    first, *again = (
        Instruction(text='find red', slot='person', generated_id=True) for _ in range(4)
    )
    hold(stream, first)
    for repetition in again:
        stream.engine.give(repetition)
    stream.model.gate.set()
    assert stream.answers(1) == [(first.id, FOUND)]
    stream.frame()
    assert stream.answers(1) == [(first.id, FOUND)]
    assert stream.engine.active() == [first]


def test_a_repeated_instruction_keeps_its_track_and_its_embedding(
    open_stream: Callable[..., Stream],
) -> None:
    stream = open_stream(schedule=Schedule.TWO_RATE, reason_every=100, scene_change=1.0)
    tracks = []
    for _ in range(3):
        stream.engine.give(Instruction(text='find red', slot='person', generated_id=True))
        stream.frame()
        tracks.append(stream.result().track_id)
    assert tracks[0] and set(tracks) == {tracks[0]}
    assert stream.model.reasoned == 1


def test_stopping_a_slot_ends_nothing_else(stream: Stream) -> None:
    for fields in (
        {'slot': 'person'},
        {'slot': 'arm'},
        {'slot': ''},
        {'slot': '', 'until': Until.FOUND},
    ):
        stream.engine.give(Instruction(**{'text': 'find red', 'id': str(fields), **fields}))
    assert stream.engine.cancel(slot='person') == ["{'slot': 'person'}"]
    assert len(stream.engine.active()) == 3


def test_an_instruction_that_is_withdrawn_takes_no_other_of_its_id_with_it(stream: Stream) -> None:
    stream.engine.give(RED)
    stream.engine.withdraw(Instruction(text='find red', id='red'))
    assert stream.engine.active() == [RED]
    stream.engine.withdraw(RED)
    assert stream.answers(1) == [('red', EXPIRED)]


def test_there_are_never_more_active_instructions_than_the_limit(
    open_stream: Callable[..., Stream],
) -> None:
    stream = open_stream(max_instructions=2)
    stream.engine.give(RED)
    stream.engine.give(GREEN)
    third = Instruction(text='find blue', id='blue')
    with pytest.raises(
        InstructionError,
        match=r'2 instructions are active, which is the limit; '
        r'cancel one, or raise max_instructions',
    ):
        stream.engine.give(third)
    stream.engine.cancel('red')
    stream.engine.give(third)
    stream.frame()
    assert stream.answers(3) == [('red', EXPIRED), ('green', NOT_FOUND), ('blue', NOT_FOUND)]


def test_one_that_replaces_another_does_not_count_against_the_limit(
    open_stream: Callable[..., Stream],
) -> None:
    stream = open_stream(max_instructions=1)
    for id in ('first', 'second'):
        stream.engine.give(Instruction(text='find red', id=id, slot='arm'))
    stream.frame()
    assert stream.answers(2) == [('first', EXPIRED), ('second', FOUND)]


def test_one_that_is_refused_replaces_nothing(open_stream: Callable[..., Stream]) -> None:
    stream = open_stream(max_instructions=2)
    stream.engine.give(Instruction(text='find red', id='old', slot='arm'))
    stream.engine.give(GREEN)
    with pytest.raises(InstructionError):
        stream.engine.give(Instruction(text='find red', id='green', slot='arm'))
    stream.frame()
    assert stream.answers(2) == [('old', FOUND), ('green', NOT_FOUND)]


def test_an_instruction_on_several_cameras_counts_once_against_the_limit(
    open_stream: Callable[..., Stream],
) -> None:
    stream = open_stream(topics={'front': 'f', 'wrist': 'w'}, max_instructions=2)
    stream.engine.give(RED)
    stream.engine.give(GREEN)
    stream.frame(camera='wrist')
    assert stream.answers(2) == [('red', FOUND), ('green', NOT_FOUND)]


def test_slots_hold_one_instruction_each(stream: Stream) -> None:
    stream.engine.give(Instruction(text='find red', id='left', slot='left'))
    stream.engine.give(Instruction(text='find red', id='right', slot='right'))
    stream.engine.give(RED)
    stream.engine.give(Instruction(text='find red', id='left again', slot='left'))
    ended = stream.result()
    assert (ended.instruction.id, ended.reason) == ('left', 'replaced by instruction left again')
    stream.frame()
    assert stream.answers(3) == [('right', FOUND), ('red', FOUND), ('left again', FOUND)]


def test_one_that_replaces_another_may_look_through_another_camera(
    open_stream: Callable[..., Stream],
) -> None:
    stream = open_stream(topics={'front': 'f', 'wrist': 'w'})
    for id, camera in (('old', 'front'), ('new', 'wrist')):
        stream.engine.give(Instruction(text='find red', id=id, slot='arm', cameras=(camera,)))
    assert stream.answers(1) == [('old', EXPIRED)]
    stream.frame(camera='front')
    stream.frame(camera='wrist')
    result = stream.result()
    assert (result.instruction.id, result.camera) == ('new', 'wrist')


def test_an_instruction_for_a_camera_that_is_not_there_is_refused_and_changes_nothing(
    open_stream: Callable[..., Stream],
) -> None:
    stream = open_stream(topics={'front': 'f'})
    stream.engine.give(Instruction(text='find red', id='old', slot='arm'))
    with pytest.raises((InstructionError, KeyError)):
        stream.engine.give(
            Instruction(text='find red', id='new', slot='arm', cameras=('front', 'nowhere'))
        )
    stream.frame(camera='front')
    assert stream.answers(1) == [('old', FOUND)]


def test_a_camera_that_is_named_twice_is_looked_through_once(
    open_stream: Callable[..., Stream],
) -> None:
    stream = open_stream(topics={'front': 'f'})
    stream.engine.give(Instruction(text='find red', id='red', cameras=('front', 'front')))
    stream.frame(camera='front')
    stream.result()
    stream.engine.stop()
    assert stream.answers(1) == [('red', EXPIRED)]
    assert stream.results.empty()


def test_one_without_an_id_ends_only_itself(stream: Stream) -> None:
    stream.engine.give(RED)
    stream.engine.give(Instruction(text='find red', id='', slot='arm'))
    stream.engine.give(Instruction(text='find red', id='new', slot='arm'))
    stream.frame()
    assert stream.answers(3) == [('', EXPIRED), ('red', FOUND), ('new', FOUND)]


def test_each_camera_answers_what_it_was_asked(open_stream: Callable[..., Stream]) -> None:
    stream = open_stream(topics={'front': 'f', 'wrist': 'w'}, max_age=1e6)
    stream.engine.give(RED)
    stream.model.gate.clear()
    stream.frame(camera='front')
    stream.model.begun.get(timeout=60.0)
    stream.engine.give(Instruction(text='find green', id='only', cameras=('front',)))
    for camera in ('front', 'wrist'):
        stream.frame(camera=camera)
    stream.model.gate.set()
    stream.result()
    results = [stream.result() for _ in range(3)]
    assert [(result.camera, result.instruction.id) for result in results] == [
        ('front', 'red'),
        ('front', 'only'),
        ('wrist', 'red'),
    ]


def test_two_rate_decodes_frames_between_the_turns_of_the_language_model(
    open_stream: Callable[..., Stream],
) -> None:
    stream = open_stream(schedule=Schedule.TWO_RATE, reason_every=3)
    stream.engine.give(RED)
    results = []
    for _ in range(6):
        stream.frame()
        results.append(stream.result())
    assert [result.source is Source.INFERRED for result in results] == [
        True,
        False,
        False,
        True,
        False,
        False,
    ]
    assert [result.mask_age for result in results] == pytest.approx([0, 0.05, 0.1, 0, 0.05, 0.1])
    assert all(result.state is State.FOUND for result in results)
    assert (stream.model.reasoned, len(stream.model.decoded)) == (2, 6)


def test_two_rate_runs_the_language_model_when_the_scene_changes(
    open_stream: Callable[..., Stream],
) -> None:
    stream = open_stream(schedule=Schedule.TWO_RATE, reason_every=100, scene_change=0.05)
    stream.engine.give(RED)
    sources = []
    for red in (True, True, False, False):
        stream.frame(red=red)
        sources.append(stream.result().source)
    assert sources == [Source.INFERRED, Source.PROPAGATED, Source.INFERRED, Source.PROPAGATED]


def test_two_rate_counts_the_frames_of_each_camera(open_stream: Callable[..., Stream]) -> None:
    stream = open_stream(
        topics={'front': 'f', 'wrist': 'w'}, schedule=Schedule.TWO_RATE, reason_every=2
    )
    stream.engine.give(RED)
    sources: dict[str, list[Source]] = {'front': [], 'wrist': []}
    for camera in ('front', 'wrist', 'front', 'front', 'wrist', 'wrist'):
        stream.frame(camera=camera)
        sources[camera].append(stream.result().source)
    turns = [Source.INFERRED, Source.PROPAGATED, Source.INFERRED]
    assert sources == {'front': turns, 'wrist': turns}


def test_fixed_references_stay_for_some_frames(open_stream: Callable[..., Stream]) -> None:
    stream = open_stream(
        schedule=Schedule.FIXED_REFERENCES,
        refresh_every=3,
        reference_frames=2,
        reference_stride=0.05,
    )
    stream.engine.give(RED)
    counts = []
    for _ in range(5):
        stream.frame()
        counts.append(stream.result().reference_frames)
    assert counts == stream.model.references == [0, 1, 2, 2, 2]
    assert stream.model.kept == [True] * 5


def test_memory_that_runs_out_fails_a_frame_and_the_next_is_answered_with_less(
    open_stream: Callable[..., Stream],
) -> None:
    stream = open_stream(reference_frames=1, reference_stride=0.05)
    stream.engine.give(RED)
    stream.engine.give(GREEN)
    stream.frame()
    stream.answers(2)
    stream.model.room = -1
    stamp = stream.frame()
    results = [stream.result(), stream.result()]
    assert [(each.state, each.reason) for each in results] == [(State.FAILED, 'no room')] * 2
    assert [each.header for each in results] == [('header', stamp)] * 2
    assert stream.model.forgotten == 1
    assert stream.notices.get(timeout=60.0) == (
        'no room: cached features were released; now language model every frame, '
        '1 reference frames, '
        'input size 75%'
    )
    encoded = stream.model.encoded
    stream.frame()
    assert stream.answers(2) == [('red', FOUND), ('green', NOT_FOUND)]
    assert stream.model.scales[-1] == 0.75
    assert stream.model.encoded == encoded + 2  # the reference frame as well


def test_memory_that_runs_out_again_and_again_stops_at_half_the_size(stream: Stream) -> None:
    stream.engine.give(RED)
    stream.model.room = -4
    for _ in range(4):
        stream.frame()
        assert stream.result().state is State.FAILED
    stream.frame()
    assert stream.result().state is State.FOUND
    assert stream.model.scales == [1.0, 0.75, 0.5625, 0.5, 0.5]


def test_memory_that_runs_out_is_reported_only_while_it_changes_something(stream: Stream) -> None:
    stream.engine.give(RED)
    stream.model.room = -20
    for _ in range(20):
        stream.frame()
        assert stream.result().state is State.FAILED
    assert stream.notices.qsize() <= 4


def test_memory_that_runs_out_under_two_rate_makes_all_cameras_reason_anew(
    open_stream: Callable[..., Stream],
) -> None:
    stream = open_stream(
        topics={'front': 'f', 'wrist': 'w'}, schedule=Schedule.TWO_RATE, reason_every=100
    )
    stream.engine.give(RED)
    for camera in ('front', 'wrist'):
        stream.frame(camera=camera)
        stream.result()
    stream.model.room = -1
    stream.frame(camera='front')
    assert stream.result().state is State.FAILED
    for camera in ('front', 'wrist'):
        stream.frame(camera=camera)
        assert stream.result().source is Source.INFERRED
        stream.frame(camera=camera)
        assert stream.result().source is Source.PROPAGATED


def test_memory_that_runs_out_without_a_word_does_not_stop_the_engine() -> None:
    class Speechless(ColorModel):
        def encode(self, image: np.ndarray) -> float:
            if self.encoded == 0:
                self.encoded += 1
                raise MemoryError  # as Python itself raises it
            return super().encode(image)

    stream = start(Speechless())
    stream.engine.give(RED)
    stream.frame()
    failed = stream.result()
    assert failed.state is State.FAILED and failed.reason
    stream.frame()
    assert stream.result().state is State.FOUND
    stream.engine.stop()


def test_what_was_computed_when_memory_ran_out_is_gone_before_memory_is_given_back() -> None:
    class Activations:
        pass

    class Greedy(ColorModel):
        held: weakref.ref[Activations] | None = None
        gone: list[bool] = []

        def decode(self, understandings: Sequence[str], pixels: np.ndarray) -> list[Any]:
            if self.held is not None:
                return super().decode(understandings, pixels)
            activations = Activations()
            self.held = weakref.ref(activations)
            raise MemoryError('no room')

        def forget(self) -> None:
            assert self.held is not None
            gc.collect()
            self.gone.append(self.held() is None)

    model = Greedy()
    stream = start(model)
    stream.engine.give(RED)
    stream.frame()
    assert stream.result().state is State.FAILED
    stream.engine.stop()
    assert model.gone == [True]


def test_a_model_that_cannot_give_memory_back_does_not_stop_the_engine() -> None:
    class Stubborn(ColorModel):
        def forget(self) -> None:
            raise RuntimeError('the device is lost')

    stream = start(Stubborn(room=-1))
    stream.engine.give(RED)
    stream.frame()
    assert stream.result().state is State.FAILED
    stream.frame()
    assert stream.result().state is State.FOUND
    stream.engine.stop()


def test_someone_who_cannot_take_a_notice_does_not_stop_the_engine() -> None:
    def refuse(notice: str) -> None:
        raise OSError(notice)

    stream = start(ColorModel(room=-1), on_notice=refuse)
    stream.engine.give(RED)
    stream.frame()
    assert stream.result().state is State.FAILED
    stream.frame()
    assert stream.result().state is State.FOUND
    stream.engine.stop()


def answered(stream: Stream, count: int) -> None:
    for _ in range(count):
        stream.frame()
        assert stream.result().state is State.FOUND


def test_auto_tells_each_step_that_it_takes(open_stream: Callable[..., Stream]) -> None:
    stream = open_stream(schedule=Schedule.AUTO, reference_frames=1, target_rate=1e9)
    stream.engine.give(RED)
    answered(stream, 84)
    stream.engine.stop()
    notices = [stream.notices.get() for _ in range(stream.notices.qsize())]
    assert len(notices) == 7  # four wider, one without references, two smaller
    assert all('slower than its target' in notice for notice in notices)
    assert notices[0].endswith(
        'now language model every 2 frames, 1 reference frames, input size 100%'
    )
    assert notices[-1].endswith(
        'now language model every 8 frames, 0 reference frames, input size 75%'
    )
    assert stream.model.scales[-1] == 0.75


def test_the_other_schedules_never_change_their_budget(open_stream: Callable[..., Stream]) -> None:
    stream = open_stream(schedule=Schedule.EXACT, target_rate=1e9)
    stream.engine.give(RED)
    answered(stream, 30)
    stream.engine.stop()
    assert stream.notices.empty()
    assert stream.model.reasoned == 30


def test_memory_that_runs_out_makes_the_image_smaller_than_auto_had_it_already(
    open_stream: Callable[..., Stream],
) -> None:
    stream = open_stream(schedule=Schedule.AUTO, target_rate=1e9)
    stream.engine.give(RED)
    while stream.model.scales[-1:] != [0.75]:
        answered(stream, 1)
    stream.model.room = -1
    stream.frame()
    assert stream.result().state is State.FAILED
    stream.frame()
    stream.result()
    assert stream.model.scales[-1] < 0.75


def test_an_instruction_that_ends_while_the_model_runs_leaves_the_budget_alone(
    open_stream: Callable[..., Stream],
) -> None:
    stream = open_stream(schedule=Schedule.AUTO, target_rate=1e9, scene_change=0.05)
    stream.engine.give(RED)
    answered(stream, 15)  # eight of them a step down, seven of the next eight
    while not stream.model.begun.empty():
        stream.model.begun.get()
    stream.model.gate.clear()
    stream.frame(red=False)  # a change of the scene: the language model runs
    stream.model.begun.get(timeout=60.0)
    stream.engine.cancel()
    stream.model.gate.set()
    stream.result()
    stream.engine.stop()
    notices = [stream.notices.get() for _ in range(stream.notices.qsize())]
    assert [notice for notice in notices if 'faster than its target' in notice] == []


def test_an_instruction_given_while_the_engine_stops_ends_or_is_refused() -> None:
    given: list[str] = []
    finals: list[str] = []

    def give_another(results: Sequence[Segmentation]) -> None:
        finals.append(results[0].instruction.id)
        if len(given) < 3:
            another = Instruction(text='find red', id=f'number {len(given)}')
            try:
                engine.give(another)
            except (InstructionError, RuntimeError):
                return
            given.append(another.id)

    stream = start(ColorModel(), on_results=give_another)
    engine = stream.engine
    engine.give(RED)
    engine.stop()
    assert finals == ['red', *given]


def test_an_instruction_on_two_cameras_has_one_last_result(
    open_stream: Callable[..., Stream],
) -> None:
    stream = open_stream(topics={'front': 'f', 'wrist': 'w'})
    stream.engine.give(RED)
    stream.engine.stop()
    results = [stream.results.get() for _ in range(stream.results.qsize())]
    assert [result.final for result in results if result.final] == [True]
    assert results[-1].final


EPSILON = 1e-6  # s, for rounding
RATES = [5.0, 9.0, 10.0, 11.0, 12.0, 15.0, 19.0, 20.0, 29.97, 30.0, 60.0]


def arrivals(rate: float, *, seconds: float, seed: int | None = None) -> list[float]:
    """When the images of a camera come, s; with a seed each is up to a fifth of a period late."""
    late = random.Random(seed)
    return [
        number / rate + (0.0 if seed is None else late.uniform(0.0, 0.2 / rate))
        for number in range(int(rate * seconds))
    ]


class Clockwork:
    """An engine whose clock goes on, in no time, while it waits for work."""

    def __init__(
        self,
        cameras: Mapping[str, Sequence[float]],
        *,
        limit: Callable[[float], float],
        work: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """Begin at 0 s; `limit` gives max_rate at a time, and `work` how long the model takes."""
        self.now = 0.0
        self._images = sorted((at, name) for name, times in cameras.items() for at in times)
        self._limit = limit
        self._work = work
        self._engine = Engine(
            ColorModel(),
            on_results=lambda results: None,
            settings=EngineSettings(topics={name: name for name in cameras}, max_age=10.0),
        )
        self._engine._work = self  # type: ignore[assignment]
        self._engine.give(RED)

    def notify(self) -> None:
        """Nobody waits."""

    def wait(self, timeout: float | None = None) -> None:
        """Go on to the next image, to a change of the limit or to the end of the wait."""
        until = min(
            [
                1e9 if timeout is None else self.now + timeout,
                self.now // 10.0 * 10.0 + 10.0,
                *(at for at, _ in self._images[:1]),
            ]
        )
        self.go_on(until)
        self._engine._stopping = self.now >= self._end

    def go_on(self, until: float) -> None:
        while self._images and self._images[0][0] <= until:
            self.now, name = self._images.pop(0)
            self._engine.add_frame(picture(), stamp=round(self.now * 1e9), camera=name)
        self.now = max(self.now, until)
        if self._engine.max_rate != self._limit(self.now):
            self._engine.max_rate = self._limit(self.now)

    def run(self, seconds: float) -> dict[str, list[float]]:
        """Return when the model began to work on the frames of each camera, s."""
        self._end = seconds
        begun: dict[str, list[float]] = {camera: [] for camera in self._engine._registry.cameras}
        self.go_on(0.0)
        while tasks := self._engine._wait_for_work():
            for task in tasks:
                begun[task.camera.name].append(self.now)
            self.go_on(self.now + self._work())
        return begun


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, list[float]]]:
    """Return a function that gives when work begins on frames of cameras in simulated time."""

    def simulate(
        cameras: Mapping[str, Sequence[float]], *, until: float, **options: Any
    ) -> dict[str, list[float]]:
        clockwork = Clockwork(cameras, **options)
        monkeypatch.setattr(engine_module, 'time', SimpleNamespace(monotonic=lambda: clockwork.now))
        return clockwork.run(until)

    return simulate


Turns = Callable[..., dict[str, list[float]]]


def most_in_a_second(times: Sequence[float]) -> int:
    return max(sum(begin <= other < begin + 1.0 - EPSILON for other in times) for begin in times)


@pytest.mark.parametrize('rate', RATES)
@pytest.mark.parametrize('limit', [3.0, 10.0])
def test_max_rate_is_reached_and_not_exceeded_at_any_rate_of_the_camera(
    turns: Turns, rate: float, limit: float
) -> None:
    begun = turns({'front': arrivals(rate, seconds=20.0)}, limit=lambda now: limit, until=20.0)
    wanted = min(rate, limit)
    for second in range(20):
        count = sum(second <= time + EPSILON < second + 1 for time in begun['front'])
        assert wanted - 1 - EPSILON <= count <= limit
    assert len(begun['front']) == pytest.approx(20 * wanted, abs=1.01)
    assert most_in_a_second(begun['front']) <= limit


@pytest.mark.parametrize('rate', RATES)
@pytest.mark.parametrize('seed', range(5))
def test_max_rate_is_reached_by_a_camera_whose_images_come_unevenly(
    turns: Turns, rate: float, seed: int
) -> None:
    times = arrivals(rate, seconds=20.0, seed=seed)
    begun = turns({'front': times}, limit=lambda now: 10.0, until=20.0)['front']
    assert 0.99 * 20 * min(rate, 10.0) - 1 <= len(begun) <= 200
    # One more where the last of a second began late.
    assert most_in_a_second(begun) <= 11


def test_max_rate_holds_for_each_of_several_cameras(turns: Turns) -> None:
    cameras = {str(rate): arrivals(rate, seconds=10.0) for rate in RATES}
    begun = turns(cameras, limit=lambda now: 10.0, until=10.0)
    for rate in RATES:
        assert len(begun[str(rate)]) == pytest.approx(10 * min(rate, 10.0), abs=1.01)
        assert most_in_a_second(begun[str(rate)]) <= 10


def test_a_change_of_max_rate_holds_from_the_next_image_on(turns: Turns) -> None:
    begun = turns(
        {'front': arrivals(30.0, seconds=30.0)},
        until=30.0,
        limit=lambda now: 0.1 if now < 10.0 else 10.0 if now < 20.0 else 2.0,
    )['front']
    assert sum(time < 10.0 for time in begun) == 1
    assert sum(10.0 <= time < 20.0 for time in begun) == pytest.approx(100, abs=1)
    assert sum(time >= 20.0 for time in begun) == pytest.approx(20, abs=1)


def test_an_image_before_its_turn_is_worked_on_at_its_turn_though_no_other_comes(
    turns: Turns,
) -> None:
    begun = turns({'front': [0.0, 0.25]}, limit=lambda now: 1.0, until=10.0)
    assert begun == {'front': [0.0, 1.0]}


def test_a_model_that_is_late_for_some_turns_does_not_lose_others(turns: Turns) -> None:
    work = itertools.cycle([0.15, 0.03])
    begun = turns(
        {'front': arrivals(60.0, seconds=20.0)},
        limit=lambda now: 10.0,
        until=20.0,
        work=lambda: next(work),
    )['front']
    assert len(begun) == pytest.approx(200, abs=2)


def test_a_waiting_image_is_worked_on_at_once_when_max_rate_is_raised(
    open_stream: Callable[..., Stream],
) -> None:
    stream = open_stream(max_rate=0.001, max_age=1e6)
    stream.engine.give(RED)
    for _ in range(2):
        stamp = stream.frame()
    stream.engine.max_rate = 0.0
    results = [stream.result()]
    while results[-1].header != ('header', stamp):
        results.append(stream.result())
    assert len(results) <= 2


def test_a_frame_that_finds_memory_full_has_its_times(stream: Stream) -> None:
    stream.engine.give(RED)
    stream.model.room = -1
    stamp = stream.frame()
    timing = stream.result().timing
    assert timing is not None and timing.captured == stamp
    assert timing.captured <= timing.received <= timing.started <= timing.finished


def test_a_clock_that_jumps_back_while_the_model_works_gives_no_negative_age() -> None:
    now = [100 * 10**9]
    stream = start(ColorModel(), clock=lambda: now[0])
    hold(stream)
    now[0] = 94 * 10**9
    stream.engine.add_frame(picture(), stamp=now[0])
    stream.model.gate.set()
    timings = [stream.result().timing for _ in range(2)]
    for timing in timings:
        assert timing is not None
        assert timing.captured <= timing.received <= timing.started <= timing.finished
    low, high = stream.engine.statistics.status().ages
    assert 0.0 <= low <= high
    stream.engine.stop()


def test_images_without_a_stamp_are_references_by_the_time_of_their_arrival() -> None:
    now = [100 * 10**9]
    stream = start(
        ColorModel(),
        clock=lambda: now[0],
        settings=EngineSettings(reference_frames=2, reference_stride=0.2),
    )
    stream.engine.give(RED)
    counts = []
    for _ in range(4):
        stream.engine.add_frame(picture(), stamp=0)
        counts.append(stream.result().reference_frames)
        now[0] += 200_000_000
    assert counts == [0, 1, 2, 2]
    assert stream.engine.statistics.status().cameras[''].unstamped
    stream.engine.stop()


def test_an_error_that_nothing_foresaw_is_answered_logged_and_counted_and_the_engine_goes_on(
    open_stream: Callable[..., Stream], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level('DEBUG', logger='instructseg_ros')
    stream = open_stream(schedule=Schedule.TWO_RATE)
    for instruction in (RED, GREEN):
        stream.engine.give(instruction)
    stream.engine.add_frame('no picture', stamp=1)  # type: ignore[arg-type]
    failed = [stream.result() for _ in range(2)]
    assert [(each.instruction, each.state, each.final) for each in failed] == [
        (RED, State.FAILED, False),
        (GREEN, State.FAILED, False),
    ]
    assert failed[0].reason.startswith(ENGINE_ERROR)
    status = stream.engine.statistics.status()
    assert (status.faults, status.fault) == (1, failed[0].reason)
    [error] = [record for record in caplog.records if record.levelname == 'ERROR']
    assert error.message == failed[0].reason
    assert 'Traceback' in caplog.text
    stream.frame()
    assert stream.answers(2) == [('red', FOUND), ('green', NOT_FOUND)]


def test_a_model_that_wants_to_end_the_process_ends_no_thread(stream: Stream) -> None:
    decode = stream.model.decode

    def leave(*_: Any) -> list[Any]:
        stream.model.decode = decode  # type: ignore[method-assign]
        raise SystemExit('enough')

    stream.model.decode = leave  # type: ignore[method-assign]
    stream.engine.give(RED)
    stream.frame()
    failed = stream.result()
    assert (failed.state, failed.reason) == (State.FAILED, f'{ENGINE_ERROR}SystemExit: enough')
    stream.frame()
    assert stream.result().state is State.FOUND


def test_an_error_in_the_watch_is_answered_and_the_watch_goes_on(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    overdue = stream.engine._registry.overdue

    def fail_once(**options: Any) -> list[Segmentation]:
        monkeypatch.setattr(stream.engine._registry, 'overdue', overdue)
        raise KeyError('a camera')

    monkeypatch.setattr(stream.engine._registry, 'overdue', fail_once)
    stream.engine.give(RED)
    assert stream.result().state is State.FAILED
    assert stream.engine.statistics.status().fault.endswith("KeyError: 'a camera'")
    stream.engine.cancel('red')
    assert stream.result().state is State.EXPIRED


def test_a_result_that_cannot_be_delivered_is_a_fault() -> None:
    delivered = threading.Event()

    def refuse(_: Sequence[Segmentation]) -> None:
        delivered.set()
        raise OSError('no route')

    engine = start(ColorModel(), on_results=refuse).engine
    engine.give(RED)
    engine.cancel('red')
    assert delivered.wait(60.0)
    engine.stop()
    assert engine.statistics.status().fault == 'a result could not be delivered: OSError: no route'


def test_a_failed_start_can_be_undone_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(ColorModel(), on_results=lambda _: None, settings=EngineSettings())
    begin = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if 'watch' in thread.name:
            raise RuntimeError("can't start new thread")
        begin(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, 'start', refuse)
        with pytest.raises(RuntimeError, match='new thread'):
            engine.start()
    engine.stop()
    engine.start()
    engine.stop()


def test_an_engine_whose_watch_fails_again_and_again_can_be_stopped_and_ends_what_is_active(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**options: Any) -> list[Segmentation]:
        raise KeyError('a camera')

    monkeypatch.setattr(stream.engine._registry, 'overdue', fail)
    stream.engine.give(RED)
    assert stream.result().state is State.FAILED
    stream.engine.stop()
    results = [stream.results.get() for _ in range(stream.results.qsize())]
    assert results[-1].reason.startswith('segmentation was stopped') and results[-1].final


def fail_jobs(stream: Stream, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(**options: Any) -> list[Any]:
        raise error

    monkeypatch.setattr(stream.engine._registry, 'next_tasks', fail)


def test_an_error_that_names_a_file_that_is_not_utf_8_is_answered_and_the_engine_goes_on(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fail_jobs(stream, patch, OSError('file \udcff missing'))
        stream.engine.give(RED)
        failed = stream.result()
    assert (failed.state, failed.reason) == (
        State.FAILED,
        f'{ENGINE_ERROR}OSError: file \ufffd missing',
    )
    stream.frame()
    while stream.result().state is not State.FOUND:
        pass


class UnspeakableError(Exception):
    """Raises another error when it is asked for its words."""

    def __str__(self) -> str:
        raise ValueError('no words')


def test_an_error_that_cannot_be_reported_ends_no_thread(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = threading.Event()

    def fail(**options: Any) -> list[Any]:
        failed.set()
        raise UnspeakableError

    with monkeypatch.context() as patch:
        patch.setattr(stream.engine._registry, 'next_tasks', fail)
        stream.engine.give(RED)
        assert failed.wait(60.0)
    stream.frame()
    assert stream.result().state is State.FOUND


def test_new_frames_do_not_make_the_engine_try_again_sooner_after_an_error(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, 'RETRY_DELAY', 1e6)
    fail_jobs(stream, monkeypatch, KeyError('a camera'))
    stream.engine.give(RED)
    assert stream.result().state is State.FAILED
    for _ in range(3):
        stream.frame()
        with pytest.raises(queue.Empty):
            stream.results.get(timeout=0.1)
    assert stream.engine.statistics.status().faults == 1


def test_a_last_result_is_not_lost_when_answers_cannot_be_settled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results: list[Segmentation] = []
    engine = Engine(ColorModel(), on_results=results.extend, settings=EngineSettings())

    def fail(*_: Any) -> list[Segmentation]:
        raise KeyError('a camera')

    engine.give(RED)
    engine.cancel('red')
    with monkeypatch.context() as patch:
        patch.setattr(engine._registry, 'settle', fail)
        with pytest.raises(KeyError):
            engine._deliver([(engine._registry.cameras[''], {})])
    engine.stop()
    assert [(each.instruction, each.reason, each.final) for each in results] == [
        (RED, 'cancelled', True)
    ]


def test_an_instruction_given_before_the_engine_runs_has_a_last_result_when_it_stops() -> None:
    results: list[Segmentation] = []
    engine = Engine(ColorModel(), on_results=results.extend, settings=EngineSettings())
    engine.give(RED)
    engine.stop()
    assert [(each.reason, each.final) for each in results] == [('segmentation was stopped', True)]
