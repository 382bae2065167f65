"""The segmentation node: camera images and instructions in, masks out."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Container, Sequence
from contextlib import ExitStack
from typing import Any, Final

from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from instructseg_ros.model.process_memory import keep_freed_memory
from instructseg_ros.ros import parameters
from instructseg_ros.ros.diagnostics import Diagnostics
from instructseg_ros.ros.node_runner import (
    PackageLog,
    StopRequested,
    ThrottledLog,
    check_stop,
    run_node,
)
from instructseg_ros.ros.pipeline import Pipeline, free_segmenter_memory
from instructseg_ros.ros.requests import FailureReporter, FindAction, RequestBroker, Services
from instructseg_ros.ros.segmentation_parameters import SegmentationParameters
from instructseg_ros.streaming.instruction import describe_error
from instructseg_ros.streaming.labels import Labels

SUCCESS, FAILURE, ERROR = (
    TransitionCallbackReturn.SUCCESS,
    TransitionCallbackReturn.FAILURE,
    TransitionCallbackReturn.ERROR,
)
SUSPENDED: Final = (
    'the node was deactivated; it continues this instruction when it is activated again'
)


class SegmentationNode(LifecycleNode):
    """Lifecycle node: configuring loads the model, activating starts to segment."""

    def __init__(self) -> None:
        """Declare the parameters and create the services; the model is not loaded yet."""
        # Set first, because rclpy calls destroy_node if a parameter is refused below.
        self._cleanup = ExitStack()
        self._pipeline: Pipeline | None = None
        self._failure_reporter: FailureReporter | None = None
        # Shared by all configurations, because consumers remember the numbers.
        self._labels = Labels()
        super().__init__('segmentation_node')
        self._warn = ThrottledLog(self.get_logger().warning)
        self._cleanup.callback(PackageLog(self).close)
        parameters.declare(self, SegmentationParameters)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._broker = RequestBroker(self)
        Services(self, self._broker, enable=self._enable)
        self._cleanup.callback(FindAction(self, self._broker).destroy)
        self._cleanup.callback(self._close)
        self._diagnostics = Diagnostics(self, why_closed=lambda: self._broker.why_closed)
        parameters.warn_of_unknown(self)

    def start(self) -> None:
        """Configure, then activate, if `autostart` is set; stop at a transition that fails."""
        if self.get_parameter('autostart').value and self.trigger_configure() == SUCCESS:
            self.trigger_activate()

    def destroy_node(self) -> None:
        """End active instructions, free the model and destroy the node."""
        self._cleanup.close()
        super().destroy_node()

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and create the publishers."""
        return self._attempt('configure', self._configure, undo=self._close, otherwise=FAILURE)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe to the cameras and to commands."""
        super().on_activate(state)
        outcome = self._attempt('activate', self._start, undo=self._stop, otherwise=FAILURE)
        if outcome != SUCCESS:
            super().on_deactivate(state)
        return outcome

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """End active instructions, or suspend them (`keep_instructions`), and unsubscribe."""
        outcome = self._attempt('deactivate', self._deactivate, otherwise=ERROR)
        super().on_deactivate(state)
        return outcome

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model."""
        return self._attempt('cleanup', self._close, otherwise=ERROR)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and free everything, from any state."""
        return self._attempt('shutdown', self._close, otherwise=ERROR)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Return to unconfigured, with everything freed."""
        try:
            self._close()
        except Exception as error:
            self.get_logger().error(
                f'not everything could be stopped, restart the node: {describe_error(error)}'
            )
        self._pipeline = None
        self._broker.close('a transition of the node failed, see its log')
        return SUCCESS

    def _attempt(
        self,
        transition: str,
        action: Callable[[], None],
        *,
        otherwise: TransitionCallbackReturn,
        undo: Callable[[], None] = lambda: None,
    ) -> TransitionCallbackReturn:
        """Run a transition and log its errors, which rclpy would not.

        Args:
            transition: Name of the transition.
            action: Function that performs it.
            otherwise: Result if the action fails.
            undo: Function that reverts the action if it fails.
        """
        before = self._endpoints()
        try:
            action()
        except StopRequested as request:
            reason = f'{transition}: aborted, {request}'
            self.get_logger().info(reason)
        except Exception as error:
            reason = f'cannot {transition}: {describe_error(error).rstrip(".")}'
            self.get_logger().debug(traceback.format_exc())
            self.get_logger().error(
                f'{reason}. Once this is fixed, try again: '
                f'"ros2 lifecycle set {self.get_fully_qualified_name()} {transition}"'
            )
        else:
            self.get_logger().info(f'{transition}: done')
            return SUCCESS
        # Outside the handler: the traceback would keep a loaded model alive.
        self._undo(undo, before)
        self._broker.close(reason)
        if transition == 'configure':
            self._failure_reporter = FailureReporter(self, reason)
        return otherwise

    def _undo(self, undo: Callable[[], None], before: Container[Any]) -> None:
        """Revert a failed transition, and destroy the endpoints created before it failed."""
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
        """Return each ROS endpoint of the node and the function that destroys it."""
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
        check_stop()
        self._stop_failure_reporter()
        values = parameters.read(self, SegmentationParameters)
        self._pipeline = Pipeline(
            self, values, self._broker, self._diagnostics, self._labels, warn=self._warn
        )
        self._broker.close('the node is inactive')

    def _start(self) -> None:
        check_stop()
        assert self._pipeline is not None
        self._pipeline.start()
        self._pipeline.engine.resume(self._broker.take_suspended())

    def _deactivate(self) -> None:
        if self._pipeline is not None and self.get_parameter('keep_instructions').value:
            self._broker.suspended = self._pipeline.engine.suspend(SUSPENDED)
        self._stop()

    def _stop(self) -> None:
        self._broker.close('the node is inactive')
        if self._pipeline is not None:
            self._pipeline.stop()

    def _close(self) -> None:
        self._stop_failure_reporter()
        self._broker.close('the node is not configured')
        if self._pipeline is not None:
            self._pipeline.destroy()
            self._pipeline = None
        free_segmenter_memory()

    def _stop_failure_reporter(self) -> None:
        reporter, self._failure_reporter = self._failure_reporter, None
        if reporter is not None:
            reporter.destroy()

    def _enable(self, value: bool) -> str:
        if self._pipeline is None:
            return 'the node is not configured; configuring it turns streaming on'
        self._pipeline.enable(value)
        return (
            'streaming is on'
            if value
            else 'streaming is off: active instructions wait; services and the action work'
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
    """Run the node until a signal stops it; return the exit status."""
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
