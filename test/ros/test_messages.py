from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from builtin_interfaces.msg import Duration, Time
from std_msgs.msg import Header

from instructseg_ros.model.frame_buffer import NANO
from instructseg_ros.model.tasks import Task
from instructseg_ros.msg import Command
from instructseg_ros.msg import Segmentation as SegmentationMessage
from instructseg_ros.ros.messages import (
    instruction_from_command,
    rejection,
    seconds_to_duration,
    segmentation_from_message,
    segmentation_to_message,
    stamp_to_nanoseconds,
)
from instructseg_ros.streaming.instruction import Instruction
from instructseg_ros.streaming.segmentation import Segmentation, Source, State, Timing

NOW = Time(sec=7)


def found() -> Segmentation:
    mask = np.zeros((6, 8), bool)
    mask[1:3, 2:7] = True
    return Segmentation(
        instruction=Instruction(text='the mug', id='a'),
        state=State.FOUND,
        score=0.75,
        header=Header(stamp=Time(sec=3), frame_id='optical'),
        mask=mask,
        reference_frames=2,
        source=Source.INFERRED,
        dropped=4,
        timing=Timing(
            captured=3 * 10**9,
            received=3_100_000_000,
            started=3_200_000_000,
            finished=3_300_000_000,
            latency=0.1,
        ),
    )


def test_the_states_and_sources_are_those_of_the_message() -> None:
    for state in list(State)[1:]:
        assert getattr(SegmentationMessage, state.name) == state
    for source in Source:
        assert getattr(SegmentationMessage, source.name) == source
    for task in Task:
        assert getattr(Command, task.name) == task


def test_a_command_becomes_an_instruction() -> None:
    message = Command(
        id='a',
        instruction=' the  mug ',
        task=Command.REASONING,
        cameras=['front'],
        lifetime=Duration(sec=1, nanosec=500_000_000),
    )
    instruction = instruction_from_command(message, cameras=('front', 'wrist'), max_length=512)
    assert instruction == Instruction(
        text='the mug', id='a', task=Task.REASONING, cameras=('front',), lifetime=1.5
    )


def test_a_command_without_id_and_lifetime_gets_an_id_and_stays() -> None:
    instruction = instruction_from_command(
        Command(instruction='the mug'), cameras=('',), max_length=512
    )
    assert instruction.id
    assert instruction.lifetime is None


def test_a_found_result_survives_the_way_there_and_back() -> None:
    message = segmentation_to_message(found(), now=NOW)
    assert (message.area, message.task) == (10, Command.REFERRING)
    box = message.region_of_interest
    assert (box.x_offset, box.y_offset, box.width, box.height) == (2, 1, 5, 2)
    assert message.mask.header == message.header == found().header
    assert stamp_to_nanoseconds(message.received) == 3_100_000_000
    assert message.latency == Duration(nanosec=100_000_000)
    back = segmentation_from_message(message)
    assert back.mask is not None
    np.testing.assert_array_equal(back.mask, found().mask)
    assert (back.state, back.score, back.dropped) == (State.FOUND, 0.75, 4)


def test_a_result_without_a_frame_is_stamped_now_and_has_no_mask() -> None:
    message = segmentation_to_message(rejection('', 'it is empty', id='a'), now=NOW)
    assert (message.header.stamp, message.header.frame_id) == (NOW, '')
    assert (message.state, message.command_id) == (SegmentationMessage.REJECTED, 'a')
    assert (message.mask.width, message.area, message.final) == (0, 0, True)


@pytest.mark.parametrize('state', [State.REJECTED, State.EXPIRED, State.FAILED])
def test_a_result_without_a_frame_has_times_and_an_age_of_zero(state: State) -> None:
    result = dataclasses.replace(rejection('mug', 'it is over', id='a'), state=state)
    message = segmentation_to_message(result, now=NOW)
    assert message.received == message.started == message.finished == message.header.stamp == NOW
    assert message.latency == Duration()


@pytest.mark.parametrize(('stamp', 'finished'), [(3, 7), (9, 9)])
def test_an_image_that_could_not_be_read_has_times_and_no_negative_age(
    stamp: int, finished: int
) -> None:
    message = segmentation_to_message(
        Segmentation(
            instruction=Instruction(text='mug'),
            state=State.FAILED,
            reason='encoding',
            header=Header(stamp=Time(sec=stamp)),
        ),
        now=NOW,
    )
    assert message.header.stamp.sec == stamp
    assert message.received == message.started == message.finished == Time(sec=finished)


def test_the_latest_possible_stamp_gets_a_result() -> None:
    late = 2**31 * NANO
    timing = Timing(captured=late - 1, received=late - 1, started=late, finished=late, latency=0.0)
    message = segmentation_to_message(dataclasses.replace(found(), timing=timing), now=NOW)
    assert message.finished == message.received == Time(sec=2**31 - 1, nanosec=NANO - 1)


@pytest.mark.parametrize('text', ['x' * 10_000, '\x1b[31m', 'a\x00b', '\ud800'])
def test_a_rejected_text_comes_back_short_and_printable(text: str) -> None:
    shown = rejection(text, 'no').instruction.text
    assert len(shown) <= 80
    assert shown.isprintable()
    shown.encode()


@pytest.mark.parametrize('seconds', [0.0, 0.25, 1.5, 86400.0])
def test_a_duration_is_whole_seconds_and_the_rest(seconds: float) -> None:
    duration = seconds_to_duration(seconds)
    assert duration.sec + duration.nanosec * 1e-9 == pytest.approx(seconds)
