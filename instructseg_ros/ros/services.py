"""The services `~/segment`, `~/cancel` and `~/enable`."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node
from std_srvs.srv import SetBool

from instructseg_ros.msg import Command
from instructseg_ros.ros import qos
from instructseg_ros.ros.conversions import ConversionError
from instructseg_ros.ros.desk import Desk
from instructseg_ros.ros.messages import rejection, segmentation_to_message
from instructseg_ros.srv import Cancel, Segment
from instructseg_ros.streaming.instruction import InstructionError, Until
from instructseg_ros.streaming.quoting import quote


class Services:
    """Offers the services as long as the node lives; they say so where it is not active."""

    def __init__(self, node: Node, desk: Desk, *, enable: Callable[[bool], str]) -> None:
        """Offer them on a node.

        Args:
            node: Owner of the services.
            desk: Takes what is asked.
            enable: Switches streaming on or off and says in words what it did.
        """
        self._node = node
        self._desk = desk
        self._enable_streaming = enable
        for service_type, name, answer in (
                (Segment, '~/segment', self._segment), (Cancel, '~/cancel', self._cancel),
                (SetBool, '~/enable', self._enable)):
            # By default the eleventh request of a burst is lost without a word, and while one
            # request waits for its answer nothing else of the node runs.
            node.create_service(service_type, name, answer, qos_profile=qos.reliable(100),
                                callback_group=desk.callback_group)

    async def _segment(self, request: Segment.Request,
                       response: Segment.Response) -> Segment.Response:
        """Answer once, on the image of the request or the newest one of a camera."""
        image = request.image
        has_image = bool(image.width or image.height or image.data)
        command = Command(
            instruction=request.instruction, task=request.task,
            cameras=[] if has_image else [request.camera or self._desk.cameras[0]])
        try:
            answer = await self._desk.hand_in(
                command, until=Until.ANSWERED, image=image if has_image else None)
        except (InstructionError, ConversionError) as error:
            answer = rejection(request.instruction, str(error))
        response.segmentation = segmentation_to_message(
            answer, now=self._node.get_clock().now().to_msg())
        return response

    def _cancel(self, request: Cancel.Request, response: Cancel.Response) -> Cancel.Response:
        try:
            response.cancelled = self._desk.engine.cancel(request.id)
        except InstructionError as error:
            response.reason = str(error)
            return response
        if not response.cancelled:
            active = ', '.join(each.id for each in self._desk.engine.live())
            response.reason = (
                f'no instruction {quote(request.id)} is active; active are {active}'
                if active else 'nothing to cancel: no instruction is active')
        return response

    def _enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.message = self._enable_streaming(request.data)
        response.success = True
        return response
