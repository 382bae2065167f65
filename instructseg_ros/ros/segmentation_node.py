"""The segmentation node: instructions and camera images in, masks out."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Container, Sequence
from contextlib import ExitStack
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from instructseg_ros.model.memory import keep_freed_memory
from instructseg_ros.ros import parameters
from instructseg_ros.ros import running as stopping
from instructseg_ros.ros.diagnostics import Diagnostics
from instructseg_ros.ros.logs import PackageLog, ThrottledLog
from instructseg_ros.ros.pipeline import Pipeline, free_segmenter_memory
from instructseg_ros.ros.requests import FailedAnswers, FindAction, RequestBroker, Services
from instructseg_ros.ros.running import StopRequested, run_node
from instructseg_ros.ros.segmentation_parameters import SegmentationParameters
from instructseg_ros.streaming.instruction import describe_error
from instructseg_ros.streaming.labels import Labels

SUCCESS, FAILURE, ERROR = (
    TransitionCallbackReturn.SUCCESS,
    TransitionCallbackReturn.FAILURE,
    TransitionCallbackReturn.ERROR,
)


class SegmentationNode(LifecycleNode):
    """Lifecycle node: configure loads the model, activate follows instructions."""

    def __init__(self) -> None:
        """Declare the parameters and offer the services; nothing is loaded yet."""
        # First, because rclpy destroys a node whose parameters are refused.
        self._held = ExitStack()
        self._pipeline: Pipeline | None = None
        self._failed: FailedAnswers | None = None
        self._labels = Labels()  # consumers remember numbers when the node is configured anew
        super().__init__('segmentation_node')
        self._warn = ThrottledLog(self.get_logger().warning)
        self._held.callback(PackageLog(self).close)
        parameters.declare(self, SegmentationParameters)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._desk = RequestBroker(self)
        Services(self, self._desk, enable=self._enable)
        self._held.callback(FindAction(self, self._desk).destroy)
        self._held.callback(self._close)
        self._diagnostics = Diagnostics(self, why_closed=lambda: self._desk.why_closed)
        parameters.warn_of_unknown(self)

    def start(self) -> None:
        """Configure and activate where `autostart` asks for it; a failure leaves the node idle."""
        if self.get_parameter('autostart').value and self.trigger_configure() == SUCCESS:
            self.trigger_activate()

    def destroy_node(self) -> None:
        """End live instructions and free the model, then the node."""
        self._held.close()
        super().destroy_node()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and create what publishes results."""
        return self._attempt('configure', self._configure, undo=self._close, otherwise=FAILURE)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin to listen to the cameras and to commands."""
        super().on_activate(state)
        outcome = self._attempt('activate', self._start, undo=self._stop, otherwise=FAILURE)
        if outcome != SUCCESS:
            super().on_deactivate(state)
        return outcome

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End live instructions and stop listening."""
        outcome = self._attempt('deactivate', self._stop, otherwise=ERROR)
        super().on_deactivate(state)
        return outcome

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model."""
        return self._attempt('cleanup', self._close, otherwise=ERROR)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and free everything, from any state."""
        return self._attempt('shutdown', self._close, otherwise=ERROR)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Go back to unconfigured with nothing held, whatever failed."""
        try:
            self._close()
        except Exception as error:
            self.get_logger().error(
                f'not everything could be stopped, restart the node: {describe_error(error)}'
            )
        self._pipeline = None
        self._desk.close('a transition of the node failed, see its log')
        return SUCCESS

    def _attempt(
        self,
        transition: str,
        action: Callable[[], None],
        *,
        otherwise: TransitionCallbackReturn,
        undo: Callable[[], None] = lambda: None,
    ) -> TransitionCallbackReturn:
        """Do the work of a transition; what it raises is logged, which rclpy would not do."""
        before = self._endpoints()
        try:
            action()
        except StopRequested as request:
            reason = f'{transition}: given up, {request}'
            self.get_logger().info(reason)
        except Exception as error:
            reason = f'cannot {transition}: {describe_error(error).rstrip(".")}'
            self.get_logger().debug(traceback.format_exc())
            self.get_logger().error(
                f'{reason}. Then try again: '
                f'"ros2 lifecycle set {self.get_fully_qualified_name()} {transition}"'
            )
        else:
            self.get_logger().info(f'{transition}: done')
            return SUCCESS
        # Outside of the handler, whose traceback would keep a model that was loaded.
        self._undo(undo, before)
        self._desk.close(reason)
        if transition == 'configure':
            self._failed = FailedAnswers(self, reason)
        return otherwise

    def _undo(self, undo: Callable[[], None], before: Container[Any]) -> None:
        """Take back what a transition did before it failed, also what was made only in part."""
        try:
            undo()
        except Exception as error:
            self.get_logger().debug(traceback.format_exc())
            self.get_logger().error(
                f'not everything could be undone, restart the node: {describe_error(error)}'
            )
        for endpoint, destroy in self._endpoints().items():
            if endpoint not in before:
                destroy(endpoint)

    def _endpoints(self) -> dict[Any, Callable[[Any], object]]:
        """Return all that the node has in the ROS graph, and what removes each."""
        return {
            endpoint: destroy
            for endpoints, destroy in (
                (self.publishers, self.destroy_lifecycle_publisher),
                (self.subscriptions, self.destroy_subscription),
                (self.timers, self.destroy_timer),
                (self.services, self.destroy_service),
            )
            for endpoint in endpoints
        }

    def _configure(self) -> None:
        stopping.check()
        self._stop_answering_failed()
        values = parameters.read(self, SegmentationParameters)
        self._pipeline = Pipeline(
            self, values, self._desk, self._diagnostics, self._labels, warn=self._warn
        )
        self._desk.close('the node is inactive')

    def _start(self) -> None:
        stopping.check()
        assert self._pipeline is not None
        self._pipeline.start()

    def _stop(self) -> None:
        self._desk.close('the node is inactive')
        if self._pipeline is not None:
            self._pipeline.stop()

    def _close(self) -> None:
        self._stop_answering_failed()
        self._desk.close('the node is not configured')
        if self._pipeline is not None:
            self._pipeline.destroy()
            self._pipeline = None
        free_segmenter_memory()

    def _stop_answering_failed(self) -> None:
        failed, self._failed = self._failed, None
        if failed is not None:
            failed.destroy()

    def _enable(self, value: bool) -> str:
        if self._pipeline is None:
            return 'the node is not configured; streaming is on when it is'
        self._pipeline.enable(value)
        return (
            'live commands are answered'
            if value
            else 'live commands wait; services and actions are answered'
        )

    def _on_set_parameters(self, changes: list[Parameter]) -> SetParametersResult:
        outcome = parameters.check_change(
            SegmentationParameters, changes, is_configured=self._pipeline is not None
        )
        if outcome.successful and self._pipeline is not None:
            apply = {
                'threshold': self._pipeline.set_threshold,
                'max_rate': self._pipeline.set_max_rate,
                'lazy': self._pipeline.set_lazy,
            }
            for change in changes:
                apply.get(change.name, lambda value: None)(change.value)
        return outcome


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until it is stopped; return the exit status."""
    keep_freed_memory()

    def make_node() -> SegmentationNode:
        node = SegmentationNode()
        node.start()
        return node

    return run_node(
        make_node, name='segmentation_node', about=__doc__, table=SegmentationParameters, args=args
    )


if __name__ == '__main__':
    sys.exit(main())
