"""The demo's ROS node: receives frames with ground truth and results, and sends instructions."""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import rclpy
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.client import Client
from sensor_msgs.msg import Image
from std_msgs.msg import Header, String

from instructseg_ros.msg import Command
from instructseg_ros.msg import Segmentation as SegmentationMessage
from instructseg_ros.ros import qos
from instructseg_ros.ros.messages import array_to_image, image_to_rgb, stamp_to_nanoseconds
from instructseg_ros.ros.node_runner import init_ros
from instructseg_ros.ros.transport import discovery_advice
from instructseg_ros.srv import Segment
from instructseg_ros.tabletop.world.scene_graph import SceneGraph, from_json

MAX_FRAMES = 120
START_TIMEOUT = 120.0
ANSWER_TIMEOUT = 20.0
SPIN_PERIOD = 0.05


@dataclass(kw_only=True, eq=False)
class CameraFrame:
    """The camera's messages with one stamp; each field is None until its message arrives."""

    stamp: int
    image: np.ndarray | None = None
    labels: np.ndarray | None = None
    graph: SceneGraph | None = None
    scene: int = -1

    @property
    def is_complete(self) -> bool:
        """Return whether image, labels and graph have all arrived."""
        return self.image is not None and self.labels is not None and self.graph is not None


@dataclass(frozen=True, kw_only=True)
class ReceivedResult:
    """A result of the node.

    Attributes:
        message: The result.
        arrival: Time of its arrival, ns on the ROS clock.
        received: Time of its arrival, s on the monotonic clock.
    """

    message: SegmentationMessage
    arrival: int
    received: float

    @property
    def stamp(self) -> int:
        """Stamp of its frame, ns."""
        return stamp_to_nanoseconds(self.message.header.stamp)


class Observer:
    """Subscribes to `camera/` and to results, and sends instructions, all from one thread."""

    def __init__(self, check: Callable[[], None]) -> None:
        """Join the ROS graph; `check` raises if a process of the demo has ended."""
        init_ros()
        self._check = check
        self._frames: OrderedDict[int, CameraFrame] = OrderedDict()
        self.results: list[ReceivedResult] = []
        self._node = rclpy.create_node('demo')
        self._commands = self._node.create_publisher(Command, 'command_request', qos.reliable(10))
        self._scenes: Client = self._node.create_client(
            SetParameters, 'camera/sim_camera/set_parameters'
        )
        self._segment: Client = self._node.create_client(Segment, 'segmentation_node/segment')
        self._node.create_subscription(
            SegmentationMessage, 'segmentation', self._on_result, qos.reliable(30)
        )
        self._camera_subscriptions = [
            self._node.create_subscription(Image, 'camera/image', self._on_image, qos.sensor()),
            self._node.create_subscription(
                Image, 'camera/truth/labels', self._on_labels, qos.sensor()
            ),
            self._node.create_subscription(String, 'camera/scene', self._on_scene, qos.sensor()),
        ]

    def __enter__(self) -> Observer:
        """Wait for the first complete frame and for the node's subscription to commands."""
        if not self.wait(
            lambda: self.newest() and self._commands.get_subscription_count(), timeout=START_TIMEOUT
        ):
            raise RuntimeError(
                f'no image or no segmentation node within {START_TIMEOUT:.0f} s; check '
                f'that both processes run{discovery_advice()}'
            )
        return self

    def __exit__(self, *raised: object) -> None:
        """Leave the ROS graph."""
        self._node.destroy_node()
        rclpy.try_shutdown()

    def wait(self, condition: Callable[[], object], *, timeout: float) -> bool:
        """Spin until the condition holds; return False after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                return False
            self._check()
            rclpy.spin_once(self._node, timeout_sec=SPIN_PERIOD)
        return True

    def listen(self, seconds: float) -> None:
        """Spin for `seconds`."""
        self.wait(lambda: False, timeout=seconds)

    def set_scene(self, scene: int) -> None:
        """Switch the camera to another scene and wait for its first frame."""
        value = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=scene)
        request = SetParameters.Request(parameters=[Parameter(name='scene', value=value)])
        self._scenes.wait_for_service(timeout_sec=ANSWER_TIMEOUT)
        self._scenes.call_async(request)
        self.wait(
            lambda: (newest := self.newest()) and newest.scene == scene, timeout=ANSWER_TIMEOUT
        )

    def send_instruction(self, *, id: str, text: str) -> None:
        """Send an instruction to the node."""
        self._commands.publish(Command(id=id, instruction=text, slot=Command.PERSON))

    def segment(self, image: np.ndarray, text: str) -> ReceivedResult | None:
        """Ask the node to segment an (H, W, 3) uint8 RGB image; None if it does not answer."""
        header = Header(stamp=self._node.get_clock().now().to_msg(), frame_id='photograph')
        message = array_to_image(image, header=header, encoding='rgb8')
        self._segment.wait_for_service(timeout_sec=ANSWER_TIMEOUT)
        answer = self._segment.call_async(Segment.Request(instruction=text, image=message))
        self.wait(answer.done, timeout=ANSWER_TIMEOUT)
        response = answer.result()
        return None if response is None else self._received(response.segmentation)

    def newest(self) -> CameraFrame | None:
        """Return the newest complete frame, if any."""
        complete = [frame for frame in self._frames.values() if frame.is_complete]
        return max(complete, key=lambda frame: frame.stamp) if complete else None

    def frame(self, stamp: int) -> CameraFrame | None:
        """Return the frame with this stamp; None if it is not complete."""
        frame = self._frames.get(stamp)
        return frame if frame is not None and frame.is_complete else None

    def stop_watching(self) -> None:
        """Unsubscribe from the camera, which then stops rendering ground truth."""
        for subscription in self._camera_subscriptions:
            self._node.destroy_subscription(subscription)

    def _at(self, stamp: int) -> CameraFrame:
        frame = self._frames.setdefault(stamp, CameraFrame(stamp=stamp))
        while len(self._frames) > MAX_FRAMES:
            self._frames.popitem(last=False)
        return frame

    def _on_image(self, message: Image) -> None:
        self._at(stamp_to_nanoseconds(message.header.stamp)).image = image_to_rgb(message)

    def _on_labels(self, message: Image) -> None:
        labels = image_to_rgb(message)[..., 0]
        self._at(stamp_to_nanoseconds(message.header.stamp)).labels = labels

    def _on_scene(self, message: String) -> None:
        fields = json.loads(message.data)
        frame = self._at(fields['stamp'])
        frame.graph, frame.scene = from_json(message.data), fields['scene']

    def _on_result(self, message: SegmentationMessage) -> None:
        self.results.append(self._received(message))

    def _received(self, message: SegmentationMessage) -> ReceivedResult:
        return ReceivedResult(
            message=message,
            arrival=self._node.get_clock().now().nanoseconds,
            received=time.monotonic(),
        )
