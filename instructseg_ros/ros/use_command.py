"""Lets a running node take up another model, from a terminal."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from typing import Any, Final

import rclpy
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python

from instructseg_ros.model.model_files import EMBEDDED, ModelError, check_manifest, find_model
from instructseg_ros.ros.node_runner import init_ros, spin_until
from instructseg_ros.ros.transport import discovery_advice
from instructseg_ros.srv import Cancel
from instructseg_ros.streaming.instruction import new_id

DISCOVERY: Final = 10.0  # s
SETTLED_STATES: Final = (
    State.PRIMARY_STATE_UNCONFIGURED,
    State.PRIMARY_STATE_INACTIVE,
    State.PRIMARY_STATE_ACTIVE,
)
NODE_NAME_RULE: Final = re.compile(r'(?:\w+:)?__(?:node|name):=(\w+)')


class UseError(RuntimeError):
    """The node does not run the model; the message says why and what to do."""


class NoAnswerError(UseError):
    """The node does not answer, so nothing more can be done with it."""


def use(model: str, *, timeout: float = 300.0, ros_args: Sequence[str] = ()) -> int:
    """Let a running node unload its model and load another one, and print what it runs then.

    An active node is active again afterwards, with its instructions; an inactive node stays
    inactive. If the node cannot load the model, it gets its old one back.

    Args:
        model: A model folder, `embedded` or a hub id. Checked first: the node keeps its model if
            this one is incomplete or damaged.
        timeout: Longest time to wait for each step of the node, such as loading the model, s.
        ros_args: ROS arguments of the node, such as `--ros-args -r __ns:=/robot -r __node:=eye`.

    Returns:
        The exit status: 0 if the node runs the model, else 1.
    """
    name, ros_args = take_node_name(ros_args)
    try:
        model = checked_model(model)
        init_ros(ros_args)
        print(ModelSwitcher(name, timeout=timeout).use(model))
    except (ModelError, UseError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('interrupted; "ros2 lifecycle get" shows the state of the node', file=sys.stderr)
        return 130
    finally:
        rclpy.try_shutdown()
    return 0


def checked_model(model: str) -> str:
    """Check the files of a model and return its name for a node in any working directory.

    Raises:
        ModelError: The model does not exist, or it is incomplete or damaged.
    """
    check_manifest(find_model(model))
    folder = os.path.expanduser(model)
    return os.path.abspath(folder) if model != EMBEDDED and os.path.isdir(folder) else model


def take_node_name(ros_args: Sequence[str]) -> tuple[str, list[str]]:
    """Return the name that ROS arguments give to the segmentation node, and the other arguments.

    The command's own node must not take that name.
    """
    name = 'segmentation_node'
    others: list[str] = []
    for argument in ros_args:
        rule = NODE_NAME_RULE.fullmatch(argument)
        if rule and others[-1:] in (['-r'], ['--remap']):
            name = rule[1]
            others.pop()
        else:
            others.append(argument)
    return name, others


class ModelSwitcher:
    """Changes the model of one node through its lifecycle and its parameters."""

    def __init__(self, name: str, *, timeout: float) -> None:
        """Create the clients of a node's services.

        Args:
            name: Name of the node, without its namespace.
            timeout: Longest time to wait for each answer, s.
        """
        self._node: Node = rclpy.create_node('instructseg_use')
        self._name = self._node.resolve_service_name(name)
        self._timeout = timeout
        self._clients: dict[type, Any] = {
            service: self._node.create_client(service, f'{self._name}/{suffix}')
            for service, suffix in (
                (ChangeState, 'change_state'),
                (GetParameters, 'get_parameters'),
                (SetParameters, 'set_parameters'),
                (Cancel, 'cancel'),
                # Last: a node that answers this client has discovered those before it, too.
                (GetState, 'get_state'),
            )
        }

    def use(self, model: str) -> str:
        """Let the node run another model and return a description of what it runs.

        Raises:
            UseError: It does not; the message says why, and what it runs instead.
        """
        self._find_node()
        state = self._state()
        if state not in SETTLED_STATES:
            raise UseError(
                f'{self._name} is neither active nor inactive nor unconfigured; see its output, '
                f'and start it again'
            )
        old, autostart = self._get('model', 'autostart')
        # An unconfigured node may have started with a model that it could not load.
        activate = state == State.PRIMARY_STATE_ACTIVE or (
            state == State.PRIMARY_STATE_UNCONFIGURED and autostart
        )
        try:
            self._unload()
            self._load(model, activate=activate)
        except NoAnswerError:
            raise
        except UseError as error:
            raise UseError(f'{error}. {self._restore(old, before=state)}') from None
        return self._describe(old)

    def _restore(self, model: str, *, before: int) -> str:
        """Let the node run its old model as before; return a description of the outcome."""
        try:
            self._unload()
            if before == State.PRIMARY_STATE_UNCONFIGURED:
                self._set('model', model)
                return f'{self._name} is unconfigured as before, with the model {model}'
            self._load(model, activate=before == State.PRIMARY_STATE_ACTIVE)
        except UseError as error:
            return (
                f'Its old model {model} could not be put back either ({error}): name a model that '
                f'works, and run "instructseg use" again'
            )
        label = 'active' if before == State.PRIMARY_STATE_ACTIVE else 'inactive'
        return f'{self._name} is {label} with its old model {model} again'

    def _describe(self, old: str) -> str:
        """Return what the node runs, as the node itself reports it."""
        [model] = self._get('model')
        was = 'as before, loaded again' if model == old else f'before: {old}'
        if self._state() == State.PRIMARY_STATE_ACTIVE:
            return f'{self._name} is active with the model {model} ({was})'
        return (
            f'{self._name} is inactive with the model {model} ({was}); to activate it: '
            f'ros2 lifecycle set {self._name} activate'
        )

    def _unload(self) -> None:
        """Bring the node to the state unconfigured; its active instructions are kept."""
        if self._state() == State.PRIMARY_STATE_ACTIVE:
            self._deactivate()
        if self._state() == State.PRIMARY_STATE_INACTIVE:
            self._change(Transition.TRANSITION_CLEANUP)

    def _load(self, model: str, *, activate: bool) -> None:
        self._set('model', model)
        self._change(Transition.TRANSITION_CONFIGURE)
        if activate:
            self._change(Transition.TRANSITION_ACTIVATE)

    def _deactivate(self) -> None:
        """Deactivate the node, which keeps its active instructions this time."""
        [before] = self._get('keep_instructions')
        self._set('keep_instructions', True)
        is_done = self._try(Transition.TRANSITION_DEACTIVATE)
        self._set('keep_instructions', before)
        if not is_done:
            raise UseError(f'{self._name}: {self._why_closed()}')

    def _find_node(self) -> None:
        clients = self._clients.values()
        timeout = min(self._timeout, DISCOVERY)
        if not spin_until(
            self._node, lambda: all(each.service_is_ready() for each in clients), timeout
        ):
            raise NoAnswerError(
                f'no node offers {self._name}/change_state; is segmentation_node running, in this '
                f'namespace and ROS domain? See its output{discovery_advice()}'
            )

    def _state(self) -> int:
        return int(self._call(GetState.Request()).current_state.id)

    def _get(self, *names: str) -> list[Any]:
        values = self._call(GetParameters.Request(names=names)).values
        if len(values) < len(names):
            raise UseError(f'{self._name} lacks the parameters {", ".join(names)}: update the node')
        return [parameter_value_to_python(each) for each in values]

    def _set(self, name: str, value: str | bool) -> None:
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]
        )
        [result] = self._call(request).results
        if not result.successful:
            raise UseError(f'{self._name} refuses {name} {value}: {result.reason}')

    def _change(self, transition: int) -> None:
        if not self._try(transition):
            raise UseError(f'{self._name}: {self._why_closed()}')

    def _try(self, transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self._call(request).success)

    def _why_closed(self) -> str:
        """Return why the last transition of the node failed."""
        # A node that is not active answers every request with the reason; this id does not exist.
        reason = self._call(Cancel.Request(id=new_id())).reason
        return str(reason).partition('; check "ros2 lifecycle get')[0]

    def _call(self, request: Any) -> Any:
        """Call the service that the request is for, and return the response."""
        client = next(
            client
            for service, client in self._clients.items()
            if isinstance(request, service.Request)  # type: ignore[attr-defined]
        )
        future = client.call_async(request)
        is_over = spin_until(
            self._node, lambda: future.done() or not client.service_is_ready(), self._timeout
        )
        if future.done():
            return future.result()
        raise NoAnswerError(
            f'{self._name} has ended; see its output, and start it again'
            if is_over
            else f'{self._name} did not answer {client.srv_name} within {self._timeout:g} s; see '
            f'its output, and run "instructseg use" again with a longer --timeout'
        )
