from __future__ import annotations

import pytest
from ros_probe import Probe, headers, wait_until
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool

from instructseg_ros.msg import Command, Segmentation
from instructseg_ros.ros import qos
from instructseg_ros.srv import Cancel, Segment

pytestmark = pytest.mark.ros

SEEN = (Segmentation.FOUND, Segmentation.NOT_FOUND)
NAME = 'segmentation_node'


def segment(probe: Probe, **fields: object) -> Segmentation:
    return probe.call(Segment, f'{NAME}/segment', Segment.Request(**fields)).segmentation


def segment_newest(probe: Probe, **fields: object) -> Segmentation:
    """Show images until the one that was shown last is segmented: one alone may be late or lost."""
    answers: list[Segmentation] = []

    def is_newest() -> bool:
        header = probe.show()
        probe.settle()
        answers.append(segment(probe, **fields))
        return answers[-1].header == header

    wait_until(is_newest)
    return answers[-1]


def cancel(probe: Probe, id: str = '') -> Cancel.Response:
    return probe.call(Cancel, f'{NAME}/cancel', Cancel.Request(id=id))


def enable(probe: Probe, value: bool) -> SetBool.Response:
    return probe.call(SetBool, f'{NAME}/enable', SetBool.Request(data=value))


def test_an_image_in_the_request_is_segmented(probe: Probe) -> None:
    picture = probe.picture()
    answer = segment(probe, instruction='the red mug', image=picture, camera='not used')
    assert answer.state in SEEN
    assert answer.header == picture.header
    assert (answer.final, answer.camera, answer.task) == (True, '', Command.REFERRING)


def test_without_an_image_the_newest_one_is_segmented(probe: Probe) -> None:
    answer = segment_newest(probe, instruction='what is red?', task=Command.REASONING)
    assert answer.state in SEEN
    assert answer.task == Command.REASONING


def test_an_answer_of_a_service_goes_to_no_topic(probe: Probe) -> None:
    masks: list[Image] = []
    probe.subscribe(Image, 'mask', masks)
    probe.wait(lambda: probe.node.count_publishers('mask'))
    picture = probe.picture()
    segment(probe, instruction='the red mug', image=picture)
    probe.settle()
    assert probe.results == masks == []
    probe.request(id='mug', instruction='the red mug')
    probe.show_until(lambda header: header in headers(masks))
    assert picture.header not in headers(masks)  # each topic keeps its order


@pytest.mark.parametrize(
    ('fields', 'reason'),
    [
        ({'instruction': ''}, 'the instruction is empty'),
        ({'instruction': 'the [SEG] mug'}, 'reserved for the model'),
        ({'instruction': 'the mug', 'task': 7}, 'task 7 does not exist'),
        ({'instruction': 'the mug', 'camera': 'rear'}, 'camera "rear" does not exist'),
        (
            {'instruction': 'the mug', 'image': Image(width=3, height=3, encoding='rgb8', step=9)},
            'data has 0 bytes',
        ),
        ({'instruction': 'the mug', 'image': Image(width=3)}, 'the image is empty'),
    ],
)
def test_a_request_that_cannot_be_followed_is_rejected(
    probe: Probe, fields: dict[str, object], reason: str
) -> None:
    answer = segment(probe, **fields)
    assert (answer.state, answer.final) == (Segmentation.REJECTED, True)
    assert reason in answer.reason


def test_cancel_returns_the_ended_or_the_active_ids(probe: Probe) -> None:
    probe.request(id='mug', instruction='the red mug')
    probe.request(id='bowl', instruction='the bowl')
    probe.settle()
    nothing = cancel(probe, 'book')
    assert (list(nothing.cancelled), nothing.reason) == (
        [],
        'no instruction "book" is active; active are mug, bowl',
    )
    assert list(cancel(probe, 'mug').cancelled) == ['mug']
    ended = probe.answer(lambda result: result.final)
    assert (ended.command_id, ended.state) == ('mug', Segmentation.EXPIRED)
    assert list(cancel(probe).cancelled) == ['bowl']
    assert cancel(probe).reason == 'nothing to cancel: no instruction is active'


def test_while_streaming_is_disabled_active_commands_wait_and_services_are_answered(
    probe: Probe,
) -> None:
    probe.request(id='mug', instruction='the red mug')
    probe.answer_to(probe.show())
    assert enable(probe, False).success
    header = segment_newest(probe, instruction='the bowl').header
    assert probe.results == []
    assert enable(probe, True).success
    assert probe.answer_to(header).command_id == 'mug'


def test_many_requests_at_once_are_each_answered_once(probe: Probe) -> None:
    client = probe.node.create_client(Segment, f'{NAME}/segment', qos_profile=qos.reliable(100))
    probe.wait(client.service_is_ready)
    futures = [
        client.call_async(Segment.Request(instruction='the red mug', image=probe.picture()))
        for _ in range(20)
    ]
    probe.wait(lambda: all(future.done() for future in futures))
    answers = [future.result().segmentation for future in futures]
    assert all(answer.state in (*SEEN, Segmentation.REJECTED) for answer in answers)
    assert sum(answer.state in SEEN for answer in answers) >= 8
    for answer in answers:
        assert answer.state in SEEN or 'which is the limit' in answer.reason
