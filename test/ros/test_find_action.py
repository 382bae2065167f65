from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import rclpy
from action_msgs.msg import GoalStatus
from action_msgs.srv import CancelGoal
from builtin_interfaces.msg import Duration
from color_stream import ColorModel
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from ros_probe import Probe, headers, wait_until

from instructseg_ros.action import Find
from instructseg_ros.msg import Command, Segmentation
from instructseg_ros.ros.requests import FindAction, RequestBroker
from instructseg_ros.srv import Cancel
from instructseg_ros.streaming.engine import Engine
from instructseg_ros.streaming.instruction import Instruction
from instructseg_ros.streaming.schedule import EngineSettings

pytestmark = pytest.mark.ros


class Finder:
    """A client of `~/find`, and a probe."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._client = ActionClient(probe.node, Find, 'segmentation_node/find')
        probe.wait(self._client.server_is_ready)
        self.feedback: list[Segmentation] = []

    def send(self, **fields: Any) -> Any:
        future = self._client.send_goal_async(
            Find.Goal(command=Command(**fields)),
            feedback_callback=lambda message: self.feedback.append(message.feedback.segmentation),
        )
        self._probe.wait(future.done)
        assert future.result().accepted
        return future.result()

    def result(self, goal: Any) -> tuple[int, Segmentation]:
        future = goal.get_result_async()
        self._probe.wait(future.done)
        return future.result().status, future.result().result.segmentation

    def close(self) -> None:
        self._client.destroy()


@pytest.fixture
def finder(probe: Probe) -> Iterator[Finder]:
    finder = Finder(probe)
    yield finder
    finder.close()


def test_a_search_succeeds_with_the_first_image_on_which_it_is_found(
    probe: Probe, finder: Finder, certain: None
) -> None:
    goal = finder.send(instruction='the red mug')
    probe.show()
    status, result = finder.result(goal)
    assert (status, result.state, result.final) == (
        GoalStatus.STATUS_SUCCEEDED,
        Segmentation.FOUND,
        True,
    )
    assert probe.answer_to(result.header).final
    probe.request(id='other', instruction='the bowl')
    probe.settle()
    header = probe.show()
    probe.wait(lambda: header in headers(probe.results))  # those of a frame come together
    probe.settle()
    assert {each.command_id for each in probe.results} == {'other'}


def test_until_then_each_image_gives_feedback(probe: Probe, finder: Finder, doubtful: None) -> None:
    goal = finder.send(instruction='the red mug')
    shown = []
    for _ in range(4):
        shown.append(probe.show())
        probe.wait(lambda: shown[-1] in headers(finder.feedback))
    assert [each for each in headers(finder.feedback) if each in shown] == shown
    assert {each.state for each in finder.feedback} == {Segmentation.NOT_FOUND}
    goal.cancel_goal_async()
    status, result = finder.result(goal)
    assert (status, result.state) == (GoalStatus.STATUS_CANCELED, Segmentation.EXPIRED)
    assert result.reason == f'cancelled; last result: {finder.feedback[-1].reason}'


def test_a_search_ends_when_its_time_is_over(finder: Finder, doubtful: None) -> None:
    goal = finder.send(instruction='the red mug', lifetime=Duration(nanosec=200_000_000))
    status, result = finder.result(goal)
    assert (status, result.state) == (GoalStatus.STATUS_ABORTED, Segmentation.EXPIRED)
    assert result.reason.startswith('its lifetime of 0.2 s is over')


def test_a_search_continues_when_the_command_topic_is_stopped(
    probe: Probe, finder: Finder, doubtful: None
) -> None:
    goal = finder.send(instruction='the red mug')
    probe.send_text('the bowl')
    probe.send_text('')
    assert probe.answer(lambda result: result.final).instruction == 'the bowl'
    goal.cancel_goal_async()
    status, result = finder.result(goal)
    assert status == GoalStatus.STATUS_CANCELED
    assert result.reason.startswith('cancelled')


def test_a_search_that_cannot_begin_gives_the_reason(finder: Finder) -> None:
    status, result = finder.result(finder.send(instruction='the [SEG] mug', id='bad'))
    assert (status, result.state, result.command_id) == (
        GoalStatus.STATUS_ABORTED,
        Segmentation.REJECTED,
        'bad',
    )
    assert 'reserved for the model' in result.reason


def test_a_search_may_be_ended_by_its_id(probe: Probe, finder: Finder, doubtful: None) -> None:
    goal = finder.send(instruction='the red mug', id='search')
    response = probe.call(Cancel, 'segmentation_node/cancel', Cancel.Request(id='search'))
    assert list(response.cancelled) == ['search']
    status, result = finder.result(goal)
    assert (status, result.state) == (GoalStatus.STATUS_ABORTED, Segmentation.EXPIRED)


def test_a_second_search_with_an_active_id_is_rejected_and_the_first_continues(
    probe: Probe, finder: Finder, doubtful: None
) -> None:
    first = finder.send(instruction='the red mug', id='twin')
    status, result = finder.result(finder.send(instruction='the bowl', id='twin'))
    assert (status, result.state) == (GoalStatus.STATUS_ABORTED, Segmentation.REJECTED)
    first.cancel_goal_async()
    assert finder.result(first)[0] == GoalStatus.STATUS_CANCELED


def test_cancelling_a_search_whose_id_is_taken_leaves_the_command_of_that_id(node: Node) -> None:
    node.declare_parameter('max_text_length', 512)
    broker = RequestBroker(node)
    engine = Engine(ColorModel(), on_results=broker.dispatch, settings=EngineSettings())
    engine.give(Instruction(text='find red', id='taken'))
    broker.open(engine, [''])
    action = FindAction(node, broker)
    accepted: list[Any] = []
    action._server.register_handle_accepted_callback(accepted.append)  # the search has to wait
    other = rclpy.create_node('other', context=node.context)
    finder = ActionClient(other, Find, 'mine/find')
    canceller = other.create_client(CancelGoal, 'mine/find/_action/cancel_goal')
    executors = [SingleThreadedExecutor(context=node.context) for _ in range(2)]
    for executor, each in zip(executors, (node, other), strict=True):
        executor.add_node(each)

    def wait(condition: Callable[[], object]) -> None:
        wait_until(condition, idle=lambda: [each.spin_once(timeout_sec=0.05) for each in executors])

    wait(lambda: finder.server_is_ready() and canceller.service_is_ready())
    sent = finder.send_goal_async(Find.Goal(command=Command(instruction='find red', id='taken')))
    wait(sent.done)
    cancelled = canceller.call_async(CancelGoal.Request())  # every goal
    wait(cancelled.done)
    [goal] = accepted
    goal.execute()
    result = sent.result().get_result_async()
    wait(result.done)
    answer = result.result().result.segmentation
    assert (answer.state, answer.reason) == (
        Segmentation.REJECTED,
        'cancelled before the search began',
    )
    assert [each.id for each in engine.active()] == ['taken']
    action.destroy()
    finder.destroy()
    for executor in executors:
        executor.shutdown()
    other.destroy_node()
