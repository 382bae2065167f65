from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from builtin_interfaces.msg import Duration
from ros_probe import COMMAND_RATE, SIZE, NodeProcess, Probe, headers
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from instructseg_ros.msg import Command, Segmentation

pytestmark = pytest.mark.ros

SEEN = (Segmentation.FOUND, Segmentation.NOT_FOUND)


def is_seen(result: Segmentation) -> bool:
    return result.state in SEEN


def test_every_result_has_the_header_of_its_image(probe: Probe) -> None:
    probe.request(id='mug', instruction='the red mug')
    for _ in range(5):
        header = probe.show()
        result = probe.answer_to(header)
        assert (result.command_id, result.instruction) == ('mug', 'the red mug')
        assert is_seen(result)
    probe.settle()
    assert probe.results == []


def test_images_published_with_a_result_have_its_header_and_size(probe: Probe) -> None:
    images: dict[str, list[Image]] = {'mask': [], 'confidence': [], 'overlay': []}
    for topic, messages in images.items():
        probe.subscribe(Image, topic, messages)
    probe.wait(lambda: all(probe.node.count_publishers(topic) for topic in images))
    probe.send_text('the red mug')
    result = probe.show_until(
        lambda header: all(header in headers(messages) for messages in images.values())
    )
    header = result.header
    for topic, messages in images.items():
        assert headers(messages).count(header) == 1
        images[topic] = [message for message in messages if message.header == header]
        assert (images[topic][0].height, images[topic][0].width) == SIZE
    assert [images[topic][0].encoding for topic in images] == ['mono8', 'mono8', 'rgb8']
    if result.state == Segmentation.FOUND:
        assert result.mask.data == images['mask'][0].data
    else:
        assert not any(images['mask'][0].data)


def test_a_result_has_its_times_and_its_task(probe: Probe) -> None:
    probe.request(instruction='what can I drink from?')
    result = probe.answer_to(probe.show())
    assert result.task == Command.REASONING
    times = [t.sec * 10**9 + t.nanosec for t in (result.received, result.started, result.finished)]
    assert times == sorted(times)
    assert result.latency.sec + result.latency.nanosec > 0


def test_an_instruction_before_the_first_image_is_answered_on_it(probe: Probe) -> None:
    probe.send_text('the red mug')
    probe.settle()
    assert is_seen(probe.answer_to(probe.show()))


def test_images_that_come_too_fast_are_left_out_and_the_last_one_is_answered(probe: Probe) -> None:
    probe.request(id='fast', instruction='the red mug')
    shown = []
    for _ in range(30):
        shown += [probe.show() for _ in range(10)]
        probe.spin(0.01)
    answered: list[Header] = []

    def is_last(header: Header) -> bool:
        answered[:] = headers(probe.results)
        return answered[-1:] == [header]

    shown.append(probe.show_until(is_last).header)
    fast = [header for header in answered if header in shown]
    assert fast == [header for header in shown if header in fast]


@pytest.mark.parametrize(
    ('fields', 'reason'),
    [
        ({'encoding': 'teapot8'}, 'publish one of rgb8'),
        ({'encoding': 'bayer_rggb12'}, 'publish one of rgb8'),
        ({'encoding': '16UC1'}, 'publish it on depth/image'),
        ({'width': 0, 'height': 0, 'data': array('B')}, 'the image is empty'),
        ({'data': array('B', bytes(100))}, 'data has 100 bytes'),
        ({'step': 1}, 'step is 1 bytes'),
        ({'step': 2**31}, 'data has'),
        ({'height': 2**31}, 'data has'),
    ],
)
def test_a_bad_image_fails_with_a_reason_and_the_next_good_one_is_answered(
    probe: Probe, fields: dict[str, Any], reason: str
) -> None:
    probe.request(id='bad', instruction='the red mug')
    probe.answer_to(probe.show())
    failed = probe.answer_to(probe.show(**fields))
    assert failed.state == Segmentation.FAILED
    assert reason in failed.reason
    assert '/robot/image' in failed.reason
    assert is_seen(probe.answer_to(probe.show()))


@pytest.mark.parametrize(
    ('fields', 'reason'),
    [
        ({'instruction': ''}, 'nothing to stop: no instruction is active under the id "bad"'),
        ({'instruction': 'x' * 10_000}, 'the limit is 512'),
        ({'instruction': 'the \x1b[31mred mug'}, 'control character U+001B'),
        ({'instruction': 'the [SEG] mug'}, 'reserved for the model'),
        ({'instruction': 'the mug', 'task': 9}, 'task 9 does not exist'),
        ({'instruction': 'the mug', 'cameras': ['rear']}, 'camera "rear" does not exist'),
        ({'instruction': 'the mug', 'lifetime': Duration(sec=-1)}, 'lifetime must be positive'),
        ({'instruction': 'the mug', 'slot': 'x' * 129}, 'slot has 129 characters'),
    ],
)
def test_a_bad_command_is_rejected_with_a_reason(
    probe: Probe, fields: dict[str, Any], reason: str
) -> None:
    probe.request(id='bad', **fields)
    result = probe.answer(lambda result: result.final)
    assert (result.state, result.command_id) == (Segmentation.REJECTED, 'bad')
    assert reason in result.reason
    assert len(result.instruction) <= 80


def test_a_command_replaces_the_active_one_in_its_slot(probe: Probe) -> None:
    probe.request(id='first', instruction='the red mug', slot='gripper')
    assert probe.answer_to(probe.show()).command_id == 'first'
    probe.request(id='second', instruction='the bowl', slot='gripper')
    ended = probe.answer(lambda result: result.final)
    assert (ended.command_id, ended.state) == ('first', Segmentation.EXPIRED)
    assert probe.answer_to(probe.show()).command_id == 'second'


def test_commands_without_a_slot_are_followed_side_by_side(probe: Probe) -> None:
    for id in ('mug', 'bowl', 'book'):
        probe.request(id=id, instruction=f'the {id}')
    probe.settle()
    header = probe.show()
    answers = [probe.answer_to(header) for _ in range(3)]
    assert [answer.command_id for answer in answers] == ['mug', 'bowl', 'book']
    probe.request(id='bowl')
    assert probe.answer(lambda result: result.final).command_id == 'bowl'
    header = probe.show()
    assert [probe.answer_to(header).command_id for _ in range(2)] == ['mug', 'book']


def test_a_text_replaces_only_the_previous_text(probe: Probe) -> None:
    probe.request(id='program', instruction='the red mug')
    probe.send_text('the bowl')
    probe.settle()
    probe.send_text('the book')
    ended = probe.answer(lambda result: result.final)
    assert (ended.instruction, ended.state) == ('the bowl', Segmentation.EXPIRED)
    header = probe.show()
    answers = [probe.answer_to(header) for _ in range(2)]
    assert [answer.instruction for answer in answers] == ['the red mug', 'the book']


def test_the_ninth_command_and_an_active_id_are_rejected(probe: Probe) -> None:
    for number in range(8):
        probe.request(id=str(number), instruction='the mug')
    probe.request(id='ninth', instruction='the mug')
    rejected = probe.answer(lambda result: result.command_id == 'ninth')
    assert rejected.state == Segmentation.REJECTED
    assert '8 instructions are active, which is the limit' in rejected.reason
    probe.request(id='3', instruction='the bowl')
    rejected = probe.answer(lambda result: result.final)
    assert (rejected.command_id, rejected.state) == ('3', Segmentation.REJECTED)
    assert 'active already' in rejected.reason


def test_a_text_that_is_repeated_is_answered_under_one_id_and_ends_nothing(probe: Probe) -> None:
    ids = set()
    for _ in range(3):
        for _ in range(2):
            probe.send_text('the  red mug')
        ids.add(probe.answer_to(probe.show()).command_id)
    assert len(ids) == 1
    probe.send_text('the bowl')
    ended = probe.answer(lambda result: result.final)
    assert {ended.command_id} == ids


def test_a_request_that_is_repeated_is_answered_under_one_id(probe: Probe) -> None:
    for fields in ({'id': 'mine', 'slot': 'gripper'}, {'id': 'other'}, {'slot': 'head'}, {}):
        for _ in range(2):
            probe.request(instruction='the red mug', **fields)
    probe.settle()
    header = probe.show()
    probe.wait(lambda: header in headers(probe.results))  # those of a frame come together
    probe.settle()
    ids = [result.command_id for result in probe.results if result.header == header]
    assert ids[:2] == ['mine', 'other']
    assert len(set(ids)) == len(ids) == 4
    assert not any(result.final for result in probe.results)


def test_a_request_with_a_new_id_replaces_the_one_it_repeats(probe: Probe) -> None:
    for id in ('first', 'second'):
        probe.request(id=id, instruction='the red mug', slot='gripper')
    assert probe.answer(lambda result: result.final).command_id == 'first'


def test_an_empty_text_stops_only_the_previous_text(probe: Probe) -> None:
    probe.request(id='program', instruction='the bowl')
    probe.request(id='gripper', instruction='the bowl', slot='gripper')
    probe.send_text('the red mug')
    probe.send_text('  ')
    ended = probe.answer(lambda result: result.final)
    assert (ended.state, ended.instruction) == (Segmentation.EXPIRED, 'the red mug')
    assert ended.reason.startswith('stopped on command in slot "person"')
    probe.settle()
    header = probe.show()
    assert [probe.answer_to(header).command_id for _ in range(2)] == ['program', 'gripper']
    probe.send_text('')
    rejected = probe.answer(lambda result: result.final)
    assert rejected.state == Segmentation.REJECTED
    assert rejected.reason == 'nothing to stop: no instruction is active in slot "person"'


def test_an_empty_request_stops_the_command_in_its_slot_unless_it_names_an_id(probe: Probe) -> None:
    probe.request(id='other', instruction='the bowl', slot='head')
    probe.request(id='mine', instruction='the red mug', slot='gripper')
    probe.request(id='yours', instruction='the bowl', slot='gripper')
    assert probe.answer(lambda result: result.final).command_id == 'mine'
    probe.request(id='mine', slot='gripper')
    assert probe.answer(lambda result: result.final).state == Segmentation.REJECTED
    probe.request(slot='gripper')
    ended = probe.answer(lambda result: result.final)
    assert (ended.command_id, ended.state) == ('yours', Segmentation.EXPIRED)
    assert probe.answer_to(probe.show()).command_id == 'other'


def test_an_empty_request_without_id_and_slot_stops_nothing_and_names_the_remedy(
    probe: Probe,
) -> None:
    probe.request(id='mug', instruction='the red mug')
    probe.request()
    rejected = probe.answer(lambda result: result.final)
    assert (rejected.state, rejected.command_id) == (Segmentation.REJECTED, '')
    assert 'call ~/cancel to stop everything' in rejected.reason
    assert probe.answer_to(probe.show()).command_id == 'mug'


def test_an_empty_request_stops_the_command_of_its_id(probe: Probe) -> None:
    probe.request(id='mug', instruction='the red mug')
    probe.request(id='other')
    probe.answer(lambda result: result.state == Segmentation.REJECTED)
    probe.request(id='mug')
    assert probe.answer(lambda result: result.final).state == Segmentation.EXPIRED


def test_a_command_expires_after_its_lifetime(probe: Probe) -> None:
    probe.request(id='short', instruction='the mug', lifetime=Duration(nanosec=200_000_000))
    assert probe.answer(lambda result: result.final).state == Segmentation.EXPIRED


@pytest.fixture
def flooded(probe: Probe) -> Iterator[None]:
    """Let the node accept a burst of commands and, however slow it is, few after that."""
    probe.set_parameter('max_command_rate', 0.1)
    yield
    probe.set_parameter('max_command_rate', COMMAND_RATE)
    probe.settle()


@pytest.mark.usefixtures('flooded')
def test_of_a_flood_of_commands_each_ends_once_and_those_too_many_are_rejected(
    probe: Probe,
) -> None:
    ids = [f'flood{number}' for number in range(200)]
    for id in ids:
        probe.request(id=id, instruction='the mug', slot='flood')
        if id.endswith('9'):  # as many as the publisher keeps
            probe.settle()
    probe.request(slot='flood')
    probe.settle()
    finals = [result for result in probe.results if result.final]
    assert sorted(result.command_id for result in finals) == sorted(ids)
    rejected = [result for result in finals if result.state == Segmentation.REJECTED]
    assert len(ids) > len(rejected) > 100
    assert 'more than 0.1 commands per second' in rejected[-1].reason


def test_two_rate_results_are_marked_as_propagated_with_their_age(
    run_process: Callable[..., NodeProcess], tiny_model_dir: Path
) -> None:
    node = run_process(
        'segmentation_node',
        namespace='/fast',
        model=tiny_model_dir,
        device='cpu',
        max_age=60.0,
        schedule='two_rate',
        reason_every=3,
        scene_change=1.0,
    )
    node.wait_for_output('activate: done')
    probe = Probe('/fast')
    probe.wait_for_node()
    probe.send_text('the red mug')
    probe.settle()
    answers = [probe.answer_to(probe.show()) for _ in range(6)]
    probe.close()
    inferred, propagated = Segmentation.INFERRED, Segmentation.PROPAGATED
    assert [answer.source for answer in answers] == 2 * [inferred, propagated, propagated]
    assert [answer.mask_age.nanosec for answer in answers] == 2 * [0, 50_000_000, 100_000_000]
    assert all(bool(answer.track_id) == (answer.state == Segmentation.FOUND) for answer in answers)
