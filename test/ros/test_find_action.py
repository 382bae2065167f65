from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from action_msgs.msg import GoalStatus
from builtin_interfaces.msg import Duration
from rclpy.action import ActionClient
from ros_probe import Probe, headers

from instructseg_ros.action import Find
from instructseg_ros.msg import Command, Segmentation
from instructseg_ros.srv import Cancel

pytestmark = pytest.mark.ros


class Finder:
    """A client of `~/find` beside a probe."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._client = ActionClient(probe.node, Find, 'segmentation_node/find')
        probe.wait(self._client.server_is_ready)
        self.feedback: list[Segmentation] = []

    def send(self, **fields: Any) -> Any:
        future = self._client.send_goal_async(
            Find.Goal(command=Command(**fields)),
            feedback_callback=lambda message: self.feedback.append(message.feedback.segmentation))
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
        probe: Probe, finder: Finder, certain: None) -> None:
    goal = finder.send(instruction='the red mug')
    probe.show()
    status, result = finder.result(goal)
    assert (status, result.state, result.final) == (
        GoalStatus.STATUS_SUCCEEDED, Segmentation.FOUND, True)
    assert probe.answer_to(result.header).final
    probe.show()
    probe.spin(0.3)
    assert probe.results == []


def test_until_then_each_image_gives_feedback(
        probe: Probe, finder: Finder, doubtful: None) -> None:
    goal = finder.send(instruction='the red mug')
    shown = []
    for _ in range(4):
        shown.append(probe.show())
        probe.wait(lambda: shown[-1] in headers(finder.feedback))
    assert [each for each in headers(finder.feedback) if each in shown] == shown
    assert {each.state for each in finder.feedback} == {Segmentation.NOT_FOUND}
    goal.cancel_goal_async()
    status, result = finder.result(goal)
    assert (status, result.state, result.reason) == (
        GoalStatus.STATUS_CANCELED, Segmentation.EXPIRED, 'cancelled')


def test_a_search_ends_when_its_time_is_over(finder: Finder, doubtful: None) -> None:
    goal = finder.send(instruction='the red mug', lifetime=Duration(nanosec=200_000_000))
    status, result = finder.result(goal)
    assert (status, result.state) == (GoalStatus.STATUS_ABORTED, Segmentation.EXPIRED)
    assert 'lifetime of 0.2 s' in result.reason


def test_a_search_that_cannot_begin_says_why(finder: Finder) -> None:
    status, result = finder.result(finder.send(instruction='the [SEG] mug', id='bad'))
    assert (status, result.state, result.command_id) == (
        GoalStatus.STATUS_ABORTED, Segmentation.REJECTED, 'bad')
    assert 'reserved for the model' in result.reason


def test_a_search_may_be_ended_by_its_id(
        probe: Probe, finder: Finder, doubtful: None) -> None:
    goal = finder.send(instruction='the red mug', id='search')
    response = probe.call(
        Cancel, 'segmentation_node/cancel', Cancel.Request(id='search'))
    assert list(response.cancelled) == ['search']
    status, result = finder.result(goal)
    assert (status, result.state) == (GoalStatus.STATUS_ABORTED, Segmentation.EXPIRED)


def test_a_second_search_of_a_live_id_is_rejected_and_the_first_goes_on(
        probe: Probe, finder: Finder, doubtful: None) -> None:
    first = finder.send(instruction='the red mug', id='twin')
    status, result = finder.result(finder.send(instruction='the bowl', id='twin'))
    assert (status, result.state) == (GoalStatus.STATUS_ABORTED, Segmentation.REJECTED)
    first.cancel_goal_async()
    assert finder.result(first)[0] == GoalStatus.STATUS_CANCELED
