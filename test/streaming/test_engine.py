from __future__ import annotations

import queue
import threading
from collections.abc import Callable

import pytest
from color_stream import ColorModel, Stream

from instructseg_ros.streaming.engine import Engine
from instructseg_ros.streaming.instruction import Instruction
from instructseg_ros.streaming.segmentation import Segmentation, Source, State
from instructseg_ros.streaming.settings import EngineSettings

RED = Instruction(text='find red', id='red')


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
    stream.model.begun.get(timeout=10.0)
    newest = [stream.frame() for _ in range(4)][-1]
    stream.model.gate.set()
    assert stream.result().header == ('header', first)
    result = stream.result()
    assert result.header == ('header', newest)
    assert result.dropped == 3


@pytest.mark.parametrize(('text', 'reason'), [
    ('explode red', 'the model failed: RuntimeError: out of dynamite'),
    ('doubt red', 'the model failed: ValueError: score must be in 0..1, got nan'),
])
def test_a_model_that_fails_gives_a_failed_result_and_the_engine_lives_on(
        stream: Stream, text: str, reason: str) -> None:
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

    def receive(result: Segmentation) -> None:
        results.put(result)
        raise OSError('no route')

    model = ColorModel()
    model.gate.set()
    engine = Engine(model, on_result=receive, settings=EngineSettings())
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
    stream.model.begun.get(timeout=10.0)
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


def test_a_camera_that_never_starts_is_told_once_and_names_its_topic(
        open_stream: Callable[..., Stream]) -> None:
    stream = open_stream(topics={'': '/front/image'}, image_timeout=0.05)
    stream.engine.give(RED)
    result = stream.result()
    assert result.state is State.FAILED
    assert 'no image has arrived on /front/image within 0.1 s' in result.reason
    with pytest.raises(queue.Empty):
        stream.results.get(timeout=0.2)
    stream.frame()
    assert stream.result().state is State.FOUND


def test_a_camera_that_stops_is_told_each_time_it_stops(
        open_stream: Callable[..., Stream]) -> None:
    stream = open_stream(image_timeout=0.05)
    stream.engine.give(RED)
    for _ in range(2):
        stream.frame()
        assert stream.result().state is State.FOUND
        stopped = stream.result()
        assert stopped.state is State.FAILED
        assert 'still runs' in stopped.reason


def test_an_old_frame_is_not_segmented(open_stream: Callable[..., Stream]) -> None:
    stream = open_stream(max_age=0.01, image_timeout=0.1)
    stream.frame()
    threading.Event().wait(0.05)
    stream.engine.give(RED)
    assert stream.result().state is State.FAILED


def test_an_unreadable_frame_fails_the_live_instruction(stream: Stream) -> None:
    stream.engine.refuse_frame('encoding "x" is unknown')
    stream.engine.give(RED)
    assert stream.result().state is State.FAILED
    stream.engine.refuse_frame('encoding "y" is unknown', header='h')
    result = stream.result()
    assert (result.state, result.reason) == (State.FAILED, 'encoding "y" is unknown')
    assert result.header == 'h'


def test_earlier_frames_are_references_and_each_is_encoded_once(
        open_stream: Callable[..., Stream]) -> None:
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


def test_cameras_take_turns(open_stream: Callable[..., Stream]) -> None:
    stream = open_stream(topics={'front': 'f', 'wrist': 'w'})
    stream.engine.give(RED)
    stream.model.gate.clear()
    stream.frame(camera='front')
    stream.model.begun.get(timeout=10.0)
    for camera in ('front', 'wrist'):
        stream.frame(camera=camera)
    stream.model.gate.set()
    assert [stream.result().camera for _ in range(3)] == ['front', 'wrist', 'front']


def test_stopping_ends_what_is_live_and_the_engine_can_start_again(stream: Stream) -> None:
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
