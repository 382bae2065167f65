"""What the demo sees and hears: the camera's frames with their truth, and the node's results."""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import rclpy
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.client import Client
from sensor_msgs.msg import Image
from std_msgs.msg import String

from instructseg_ros.msg import Command
from instructseg_ros.msg import Segmentation as SegmentationMessage
from instructseg_ros.ros import qos
from instructseg_ros.ros.messages import image_to_rgb, stamp_to_nanoseconds
from instructseg_ros.ros.running import init_ros
from instructseg_ros.ros.transport import discovery_advice
from instructseg_ros.tabletop.world.scene_graph import SceneGraph, from_json

MOMENTS_KEPT = 120
START_TIMEOUT = 120.0
ANSWER_TIMEOUT = 20.0
SPIN_PERIOD = 0.05


@dataclass(kw_only=True, eq=False)
class Moment:
    """What the camera published with one stamp; None until it arrives."""

    stamp: int
    image: np.ndarray | None = None
    labels: np.ndarray | None = None
    graph: SceneGraph | None = None
    scene: int = -1

    @property
    def is_whole(self) -> bool:
        """Whether image, labels and graph have all arrived."""
        return self.image is not None and self.labels is not None and self.graph is not None


@dataclass(frozen=True, kw_only=True)
class Heard:
    """A result, with its arrival in ns of the stamps' clock and in s of the steady clock."""

    message: SegmentationMessage
    arrival: int
    heard: float

    @property
    def stamp(self) -> int:
        """Stamp of the frame that it answers, ns."""
        return stamp_to_nanoseconds(self.message.header.stamp)


class Observer:
    """Watches `camera/` and speaks to the node, from one thread; use it in a `with` block."""

    def __init__(self, check: Callable[[], None]) -> None:
        """Join the ROS graph; `check` raises when a process of the demo has ended."""
        init_ros()
        self._check = check
        self._moments: OrderedDict[int, Moment] = OrderedDict()
        self.results: list[Heard] = []
        self._node = rclpy.create_node('demo')
        self._commands = self._node.create_publisher(Command, 'command_request', qos.reliable(10))
        self._scenes: Client = self._node.create_client(
            SetParameters, 'camera/sim_camera/set_parameters'
        )
        self._node.create_subscription(
            SegmentationMessage, 'segmentation', self._on_result, qos.reliable(30)
        )
        self._views = [
            self._node.create_subscription(Image, 'camera/image', self._on_image, qos.sensor()),
            self._node.create_subscription(
                Image, 'camera/truth/labels', self._on_labels, qos.sensor()
            ),
            self._node.create_subscription(String, 'camera/scene', self._on_scene, qos.sensor()),
        ]

    def __enter__(self) -> Observer:
        """Wait until the camera shows something and the node listens."""
        if not self.wait(
            lambda: self.newest() and self._commands.get_subscription_count(), timeout=START_TIMEOUT
        ):
            raise RuntimeError(
                f'no image or no node came up within {START_TIMEOUT:.0f} s; see '
                f'whether both processes run{discovery_advice()}'
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the ROS graph."""
        self._node.destroy_node()
        rclpy.try_shutdown()

    def wait(self, condition: Callable[[], object], *, timeout: float) -> bool:
        """Listen until the condition holds; False when it does not within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                return False
            self._check()
            rclpy.spin_once(self._node, timeout_sec=SPIN_PERIOD)
        return True

    def spend(self, seconds: float) -> None:
        """Listen for so long."""
        self.wait(lambda: False, timeout=seconds)

    def lay(self, scene: int) -> None:
        """Ask the camera for another scene."""
        value = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=scene)
        request = SetParameters.Request(parameters=[Parameter(name='scene', value=value)])
        self._scenes.wait_for_service(timeout_sec=ANSWER_TIMEOUT)
        self._scenes.call_async(request)
        self.wait(
            lambda: (newest := self.newest()) and newest.scene == scene, timeout=ANSWER_TIMEOUT
        )

    def give(self, *, id: str, text: str) -> None:
        """Give the node an instruction."""
        self._commands.publish(Command(id=id, instruction=text, slot=Command.PERSON))

    def newest(self) -> Moment | None:
        """Return the newest moment of which everything has arrived."""
        whole = [moment for moment in self._moments.values() if moment.is_whole]
        return max(whole, key=lambda moment: moment.stamp) if whole else None

    def moment(self, stamp: int) -> Moment | None:
        """Return the moment of a stamp once everything of it has arrived."""
        moment = self._moments.get(stamp)
        return moment if moment is not None and moment.is_whole else None

    def look_away(self) -> None:
        """Stop watching the camera, which then renders no truth any more."""
        for view in self._views:
            self._node.destroy_subscription(view)

    def _at(self, stamp: int) -> Moment:
        moment = self._moments.setdefault(stamp, Moment(stamp=stamp))
        while len(self._moments) > MOMENTS_KEPT:
            self._moments.popitem(last=False)
        return moment

    def _on_image(self, message: Image) -> None:
        self._at(stamp_to_nanoseconds(message.header.stamp)).image = image_to_rgb(message)

    def _on_labels(self, message: Image) -> None:
        labels = image_to_rgb(message)[..., 0]
        self._at(stamp_to_nanoseconds(message.header.stamp)).labels = labels

    def _on_scene(self, message: String) -> None:
        fields = json.loads(message.data)
        moment = self._at(fields['stamp'])
        moment.graph, moment.scene = from_json(message.data), fields['scene']

    def _on_result(self, message: SegmentationMessage) -> None:
        self.results.append(
            Heard(
                message=message,
                arrival=self._node.get_clock().now().nanoseconds,
                heard=time.monotonic(),
            )
        )
