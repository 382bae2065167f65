from __future__ import annotations

import asyncio
import functools
import inspect
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from ros_probe import TIMEOUT, NodeProcess, Probe, wait_until

from instructseg_ros.ros.client import NodeUnavailableError, SegmentationClient
from instructseg_ros.ros.messages import stamp_to_nanoseconds
from instructseg_ros.ros.transport import localhost_setting
from instructseg_ros.streaming.segmentation import Segmentation, State

pytestmark = pytest.mark.ros

SEEN = (State.FOUND, State.NOT_FOUND)
TIMES = (0.5, 2.0, 8.0, 32.0)  # s, longer and longer: the machine may be busy
IMAGE = np.full((48, 64, 3), 90, np.uint8)


def patient_client(monkeypatch: pytest.MonkeyPatch) -> SegmentationClient:
    """Return a client whose default limits are generous."""
    monkeypatch.setattr('instructseg_ros.ros.client.GRACE', TIMEOUT)
    client = SegmentationClient(namespace='/robot', discovery=TIMEOUT)
    for name in ('segment', 'follow', 'cancel', 'enable'):
        for call in (name, f'{name}_async'):
            monkeypatch.setattr(
                client, call, functools.partial(getattr(client, call), timeout=TIMEOUT)
            )
    return client


@pytest.fixture
def client(robot: NodeProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[SegmentationClient]:
    """A client that is patient enough for a busy machine."""
    with patient_client(monkeypatch) as client:
        yield client


@pytest.fixture
def stream(probe: Probe) -> Iterator[None]:
    """A camera that shows something all the time."""
    stopping = threading.Event()

    def show() -> None:
        while not stopping.wait(0.05):
            probe.show()

    thread = threading.Thread(target=show)
    thread.start()
    yield
    stopping.set()
    thread.join()


def test_an_image_is_segmented(client: SegmentationClient) -> None:
    answer = client.segment('the red mug', IMAGE)
    assert answer.state in SEEN
    if answer.found:
        assert answer.mask is not None and answer.mask.shape == IMAGE.shape[:2]


def test_the_newest_image_of_the_camera_is_segmented(
    client: SegmentationClient, stream: None
) -> None:
    assert client.segment('the red mug').state in SEEN


def test_an_invalid_command_comes_back_with_the_reason(client: SegmentationClient) -> None:
    answer = client.segment('the [SEG] mug', IMAGE)
    assert answer.state is State.REJECTED
    assert 'reserved for the model' in answer.reason
    assert client.find('', timeout=60.0).state is State.REJECTED


def test_a_search_ends_when_its_time_is_over(client: SegmentationClient, doubtful: None) -> None:
    answer = client.find('the red mug', timeout=0.3)
    assert answer.state is State.EXPIRED
    assert 'lifetime of 0.3 s' in answer.reason


def test_a_search_that_ends_by_time_keeps_the_reason_of_its_last_answer(
    client: SegmentationClient, stream: None, doubtful: None
) -> None:
    reasons = []
    for timeout in TIMES:
        reasons.append(client.find('the red mug', timeout=timeout).reason)
        if 'last result' in reasons[-1]:  # else the machine was too busy to answer an image
            break
    assert f'its lifetime of {timeout} s is over; last result: nothing in the image' in reasons[-1]


def test_a_search_reports_each_image_until_it_ends(
    client: SegmentationClient, probe: Probe, stream: None, doubtful: None
) -> None:
    reports: list[Segmentation] = []
    with ThreadPoolExecutor(1) as threads:
        search = threads.submit(
            client.find, 'the red mug', timeout=TIMEOUT, on_result=reports.append
        )
        wait_until(lambda: reports)
        client.cancel()
        assert search.result().state is State.EXPIRED
    assert all(answer.state is State.NOT_FOUND for answer in reports)


def test_a_listener_that_raises_does_not_end_the_client(
    client: SegmentationClient, stream: None
) -> None:
    def refuse(_: Segmentation) -> None:
        raise OSError('no room')

    assert client.find('the red mug', timeout=1.0, on_result=refuse).state is not State.UNKNOWN
    assert client.segment('the red mug', IMAGE).state in SEEN


def test_an_instruction_is_followed_until_the_loop_is_left(
    client: SegmentationClient, probe: Probe, stream: None
) -> None:
    answers = []
    for answer in client.follow('the red mug'):
        answers.append(answer)
        if len(answers) == 3:
            break
    assert all(answer.state in SEEN for answer in answers)
    stamps = [answer.header.stamp.nanosec + answer.header.stamp.sec * 10**9 for answer in answers]
    assert len(set(stamps)) == 3
    ended = client.segment('the red mug', IMAGE)  # the node has heard the end by now
    assert ended.state in SEEN
    assert client.cancel() == []


def test_a_rejected_command_with_the_same_id_ends_nothing(
    client: SegmentationClient, probe: Probe, stream: None
) -> None:
    followed = client.follow('the red mug')
    probe.request(id=next(followed).instruction.id, instruction='the bowl')
    probe.answer(lambda result: result.state == State.REJECTED)
    after = probe.answer().header
    while (answer := next(followed)).header != after:
        assert answer.state in SEEN
    followed.close()
    assert probe.answer(lambda result: result.final).state == State.EXPIRED


def test_a_followed_instruction_ends_after_its_lifetime(
    client: SegmentationClient, stream: None
) -> None:
    for lifetime in TIMES:
        *answers, last = client.follow('the red mug', lifetime=lifetime)
        assert (last.state, last.final) == (State.EXPIRED, True)
        if answers:  # else the machine was too busy to answer an image
            break
    assert answers and not any(answer.final for answer in answers)


def test_cancel_returns_the_ended_ids(client: SegmentationClient, probe: Probe) -> None:
    probe.request(id='mug', instruction='the red mug')
    probe.settle()
    assert client.cancel('mug') == ['mug']
    assert client.cancel('mug') == []


def test_searches_run_side_by_side_in_an_event_loop(
    client: SegmentationClient, stream: None
) -> None:
    async def search() -> list[Segmentation]:
        return await asyncio.gather(
            *(client.find_async(text, timeout=0.5) for text in ('the red mug', 'the mug'))
        )

    assert all(answer.state in (State.FOUND, State.EXPIRED) for answer in asyncio.run(search()))


def test_a_cancelled_task_cancels_its_search(
    client: SegmentationClient, probe: Probe, doubtful: None
) -> None:
    async def search() -> None:
        task = asyncio.create_task(client.find_async('the red mug', timeout=60.0))
        while not probe.results and not task.done():
            await asyncio.sleep(0.2)
            probe.spin(0.05)
            probe.show()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(search())
    ended = probe.answer(lambda result: result.final)
    assert ended.state == State.EXPIRED
    assert ended.reason.startswith('cancelled')


def test_streaming_is_switched_off_and_on(
    client: SegmentationClient, probe: Probe, stream: None
) -> None:
    probe.request(id='mug', instruction='the red mug')
    probe.answer()
    client.enable(False)
    disabled = stamp_to_nanoseconds(probe.show().stamp)

    def is_later(result: Any) -> bool:
        return stamp_to_nanoseconds(result.header.stamp) >= disabled

    wait_until(lambda: is_later(client.segment('the bowl')))  # so that such an image has come
    probe.settle()
    assert not any(map(is_later, probe.results))
    client.enable(True)
    probe.answer(is_later)


def test_without_a_node_the_error_names_the_remedy_for_networks_without_multicast(
    domain: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, value = localhost_setting()
    monkeypatch.setenv(name, '')
    with (
        SegmentationClient(namespace='/nowhere', discovery=0.1) as client,
        pytest.raises(NodeUnavailableError, match=f'set {name}={value} for every process'),
    ):
        client.cancel()


def test_plain_calls_work_where_an_event_loop_runs_as_in_jupyter(
    client: SegmentationClient, stream: None
) -> None:
    async def cell() -> list[Segmentation]:
        answers = [client.segment('the red mug', IMAGE), client.find('the mug', timeout=0.5)]
        for answer in client.follow('the red mug'):
            answers.append(answer)
            if len(answers) == 4:
                break
        client.enable(True)
        assert client.cancel() == []
        return answers + [await client.segment_async('the red mug', IMAGE)]

    answers = asyncio.run(cell())
    assert len(answers) == 5
    assert {answer.state for answer in answers} <= {*SEEN, State.EXPIRED}


def test_a_state_prints_its_name_and_an_answer_no_array(client: SegmentationClient) -> None:
    answer = client.segment('the red mug', IMAGE)
    assert str(answer.state) == f'{answer.state}' == answer.state.name
    assert answer.state.name in repr(answer) and 'array' not in repr(answer)


@pytest.mark.parametrize('name', ['find', 'segment', 'follow', 'cancel', 'enable'])
def test_a_plain_call_shows_the_arguments_of_its_twin(name: str) -> None:
    plain = inspect.signature(getattr(SegmentationClient, name)).parameters
    twin = inspect.signature(getattr(SegmentationClient, f'{name}_async')).parameters
    assert plain == twin
    assert not any(each.kind is each.VAR_KEYWORD for each in plain.values())


def test_a_followed_instruction_ends_with_the_client(
    robot: NodeProcess, probe: Probe, stream: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with patient_client(monkeypatch) as client:
        answers = client.follow('the red mug')
        command = next(answers).instruction.id
    answers.close()  # type: ignore[attr-defined]
    assert probe.answer(lambda each: each.final).command_id == command
    with pytest.raises(RuntimeError, match='the client is closed'):
        client.segment('the red mug', IMAGE)
    client.close()


FORGETFUL = f"""
from instructseg_ros.ros.client import SegmentationClient
client = SegmentationClient(namespace='/robot', discovery={TIMEOUT})
answers = client.follow('the red mug', timeout={TIMEOUT})
print(next(answers).instruction.id)
"""


def test_a_script_that_just_stops_while_it_follows_ends_and_so_does_its_instruction(
    robot: NodeProcess, probe: Probe, stream: None
) -> None:
    script = subprocess.run(
        [sys.executable, '-c', FORGETFUL],
        timeout=4 * TIMEOUT,
        check=True,
        capture_output=True,
        text=True,
    )
    ended = probe.answer(lambda each: each.final)
    assert ended.command_id == script.stdout.strip()
    assert 'Traceback' not in script.stderr


def test_without_a_node_the_error_names_the_remedy(domain: None) -> None:
    with SegmentationClient(namespace='/nowhere', discovery=0.1) as client:
        for call in (
            lambda: client.find('the mug', timeout=0.1),
            lambda: client.segment('the mug', timeout=0.1),
            lambda: next(client.follow('the mug', timeout=0.1)),
            lambda: client.cancel(timeout=0.1),
        ):
            with pytest.raises(NodeUnavailableError, match='from namespace /nowhere within'):
                call()
