"""The action `~/find`: looks until what is meant is found, the time is over or the goal ends."""

from __future__ import annotations

import uuid
from typing import Final

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node

from instructseg_ros.action import Find
from instructseg_ros.msg import Segmentation as SegmentationMessage
from instructseg_ros.ros.desk import Desk
from instructseg_ros.ros.messages import rejection, segmentation_to_message
from instructseg_ros.streaming.instruction import InstructionError, Until
from instructseg_ros.streaming.segmentation import Segmentation, State

# Seconds for which a result, with its mask, waits to be fetched; the default is 15 minutes.
RESULT_TIMEOUT: Final = 30


class FindAction:
    """Follows one instruction for each goal; its answers go to the topics as well."""

    def __init__(self, node: Node, desk: Desk) -> None:
        """Offer the action on a node."""
        self._node = node
        self._desk = desk
        self._server = ActionServer(
            node, Find, '~/find', execute_callback=self._find, goal_callback=self._accept,
            cancel_callback=self._cancel, result_timeout=RESULT_TIMEOUT,
            callback_group=desk.callback_group)

    def destroy(self) -> None:
        """Withdraw the action."""
        self._server.destroy()

    def _accept(self, goal: Find.Goal) -> GoalResponse:
        """Accept every goal: only a result can say why one cannot be followed."""
        goal.command.id = goal.command.id or uuid.uuid4().hex[:12]
        return GoalResponse.ACCEPT

    async def _find(self, goal: ServerGoalHandle) -> Find.Result:
        command = goal.request.command

        def tell(result: Segmentation) -> None:
            goal.publish_feedback(Find.Feedback(segmentation=self._to_message(result)))

        try:
            if goal.is_cancel_requested:
                raise InstructionError('cancelled before the search began')
            answer = await self._desk.hand_in(command, until=Until.FOUND, on_result=tell)
        except InstructionError as error:
            answer = rejection(command.instruction, str(error), id=command.id)
        _finish(goal, answer.state)
        return Find.Result(segmentation=self._to_message(answer))

    def _cancel(self, goal: ServerGoalHandle) -> CancelResponse:
        self._desk.withdraw(goal.request.command)
        return CancelResponse.ACCEPT

    def _to_message(self, result: Segmentation) -> SegmentationMessage:
        return segmentation_to_message(result, now=self._node.get_clock().now().to_msg())


def _finish(goal: ServerGoalHandle, state: State) -> None:
    if goal.is_cancel_requested:
        goal.canceled()
    elif state is State.FOUND:
        goal.succeed()
    else:
        goal.abort()
