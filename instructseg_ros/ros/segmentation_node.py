"""The node: an instruction and a camera in, segmentations out."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.subscription import Subscription
from sensor_msgs.msg import Image
from std_msgs.msg import String

from instructseg_ros.memory import keep_freed_memory
from instructseg_ros.msg import Command
from instructseg_ros.ros import parameters, qos
from instructseg_ros.ros.conversions import ConversionError, image_to_rgb
from instructseg_ros.ros.failed_answers import FailedAnswers
from instructseg_ros.ros.loading import load_segmenter, make_engine
from instructseg_ros.ros.messages import (
    instruction_from_command,
    rejection,
    seconds_to_duration,
    stamp_to_nanoseconds,
)
from instructseg_ros.ros.publishing import ResultPublisher
from instructseg_ros.ros.running import run_node
from instructseg_ros.ros.segmentation_parameters import SegmentationParameters
from instructseg_ros.ros.throttled_log import ThrottledLog
from instructseg_ros.streaming.engine import Engine
from instructseg_ros.streaming.instruction import InstructionError
from instructseg_ros.streaming.segmentation import Segmentation, State

if TYPE_CHECKING:
    from instructseg_ros.model.segmenter import Segmenter

CAMERAS = ('',)


class SegmentationNode(LifecycleNode):
    """Lifecycle node of one camera: configure loads the model, activate follows instructions."""

    def __init__(self) -> None:
        """Declare the parameters; nothing is loaded yet."""
        # First, because rclpy destroys a node whose parameters are refused.
        self._segmenter: Segmenter | None = None
        self._engine: Engine | None = None
        self._results: ResultPublisher | None = None
        self._inputs: list[Subscription] = []
        self._failed: FailedAnswers | None = None
        self._last_error = ''
        super().__init__('segmentation_node')
        self._warn = ThrottledLog(self.get_logger().warning)
        parameters.declare(self, SegmentationParameters)
        self.add_on_set_parameters_callback(self._on_set_parameters)

    def start(self) -> None:
        """Configure and activate where `autostart` asks for it; a failure leaves the node idle."""
        if not self.get_parameter('autostart').value:
            return
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def destroy_node(self) -> None:
        """End live instructions and free the model, then the node."""
        self._close()
        super().destroy_node()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and create what publishes results."""
        outcome = self._attempt('configure', self._configure, undo=self._close)
        if outcome == TransitionCallbackReturn.FAILURE:
            self._failed = FailedAnswers(self, self._last_error)
        return outcome

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin to listen to the camera and to commands."""
        super().on_activate(state)
        return self._attempt('activate', self._listen, undo=self._stop)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End live instructions and stop listening."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model."""
        self._free()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and free everything, from any state."""
        self._close()
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Go back to unconfigured with nothing held."""
        self._close()
        return TransitionCallbackReturn.SUCCESS

    def _attempt(self, transition: str, action: Callable[[], None], *,
                 undo: Callable[[], None]) -> TransitionCallbackReturn:
        try:
            action()
        except Exception as error:
            reason = str(error).rstrip('.') or type(error).__name__
            self._last_error = f'cannot {transition}: {reason}'
            self.get_logger().error(
                f'cannot {transition}: {reason}. Then try again: '
                f'"ros2 lifecycle set {self.get_fully_qualified_name()} {transition}"')
            undo()
            return TransitionCallbackReturn.FAILURE
        self.get_logger().info(f'{transition}: done')
        return TransitionCallbackReturn.SUCCESS

    def _configure(self) -> None:
        self._stop_answering_failed()
        values = parameters.read(self, SegmentationParameters)
        self._segmenter = load_segmenter(values)
        self._own_threshold = self._segmenter.threshold
        self._set_threshold(values.threshold)
        self._results = ResultPublisher(self)
        self._engine = make_engine(
            self._segmenter, values, topic=self.resolve_topic_name('image'),
            on_result=self._on_result, clock=lambda: self.get_clock().now().nanoseconds,
            on_notice=self.get_logger().info)

    def _listen(self) -> None:
        assert self._engine is not None
        self._engine.start()
        for message_type, topic, callback, profile in (
                (Image, 'image', self._on_image, qos.sensor()),
                (String, 'command', self._on_text, qos.reliable(10)),
                (Command, 'command_request', self._on_command, qos.reliable(10))):
            self._inputs.append(self.create_subscription(
                message_type, topic, callback, profile,
                qos_overriding_options=qos.overridable()))

    def _close(self) -> None:
        self._stop_answering_failed()
        self._stop()
        self._free()

    def _stop(self) -> None:
        for subscription in self._inputs:
            self.destroy_subscription(subscription)
        self._inputs.clear()
        if self._engine is not None:
            self._engine.stop()

    def _stop_answering_failed(self) -> None:
        if self._failed is not None:
            self._failed.destroy()
            self._failed = None

    def _free(self) -> None:
        if self._results is not None:
            self._results.destroy()
        self._results = self._engine = self._segmenter = None
        gc.collect()

    def _on_image(self, message: Image) -> None:
        if self._engine is None:
            return
        try:
            rgb = image_to_rgb(message)
        except ConversionError as error:
            reason = f'image on {self.resolve_topic_name("image")} refused: {error}'
            self._warn(reason)
            self._engine.refuse_frame(reason, header=message.header)
            return
        self._engine.add_frame(
            rgb, stamp=stamp_to_nanoseconds(message.header.stamp), header=message.header)

    def _on_text(self, message: String) -> None:
        lifetime = seconds_to_duration(self.get_parameter('lifetime').value)
        self._on_command(
            Command(instruction=message.data, lifetime=lifetime, slot=Command.PERSON))

    def _on_command(self, message: Command) -> None:
        if self._engine is None:
            return
        text = message.instruction
        if not text.strip() and self._engine.cancel(message.id, reason='stopped on command'):
            return
        try:
            self._engine.give(instruction_from_command(
                message, cameras=CAMERAS,
                max_length=self.get_parameter('max_text_length').value))
        except InstructionError as error:
            self._on_result(rejection(text, str(error), id=message.id))

    def _on_result(self, result: Segmentation) -> None:
        if result.state in (State.REJECTED, State.FAILED):
            self._warn(f'{result.state.name}: {result.reason}')
        if self._results is not None:
            self._results.publish(result)

    def _on_set_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        outcome = parameters.check_change(
            SegmentationParameters, changes, is_configured=self._segmenter is not None)
        for change in changes if outcome.successful and self._segmenter is not None else ():
            if change.name == 'threshold':
                self._set_threshold(change.value)
        return outcome

    def _set_threshold(self, value: float) -> None:
        assert self._segmenter is not None
        self._segmenter.threshold = self._own_threshold if value < 0 else value


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is stopped; return the exit status."""
    keep_freed_memory()

    def make_node() -> SegmentationNode:
        node = SegmentationNode()
        node.start()
        return node

    return run_node(make_node, args=args)
