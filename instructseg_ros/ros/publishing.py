"""Results out: the message of each, and what is made of each frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rclpy.lifecycle import LifecycleNode
from std_msgs.msg import Header

from instructseg_ros.msg import Segmentation as SegmentationMessage
from instructseg_ros.ros import qos
from instructseg_ros.ros.camera_outputs import CameraOutputs
from instructseg_ros.ros.endpoints import create_publisher
from instructseg_ros.ros.messages import segmentation_to_message
from instructseg_ros.ros.segmentation_parameters import SegmentationParameters
from instructseg_ros.ros.transforms import Transforms
from instructseg_ros.streaming.instruction import Instruction, Until
from instructseg_ros.streaming.labels import Labels
from instructseg_ros.streaming.segmentation import Segmentation


class ResultPublisher:
    """Publishes on `segmentation` and on the topics of the cameras; one thread at a time."""

    def __init__(self, node: LifecycleNode, values: SegmentationParameters, labels: Labels, *,
                 warn: Callable[[str], object]) -> None:
        """Create the publishers on a node; they work while it is active.

        Args:
            node: Owner of the publishers.
            values: Its parameters.
            labels: Numbers of the instructions.
            warn: Is told why something cannot be published.

        Raises:
            TransformError: Parameters want tf2, which is not installed.
        """
        self._node = node
        self._labels = labels
        self._last: dict[str, list[Segmentation]] = {}  # of the newest frame of each camera
        self._wants_depth = values.depth
        self._transforms = Transforms(
            node, target_frame=values.target_frame, broadcast=values.broadcast_targets)
        self._segmentation = create_publisher(
            node, SegmentationMessage, 'segmentation', qos.reliable(10))
        self._cameras = {
            camera: CameraOutputs(node, camera, self._labels, self._transforms, values, warn=warn)
            for camera in values.cameras}

    def note_image(self, camera: str, header: Header) -> None:
        """Take note of an image, whose depth may be wanted."""
        outputs = self._cameras[camera]
        outputs.depth.listen(self._wants_depth and outputs.wants_depth())
        outputs.depth.add(header)

    def begin(self) -> None:
        """Say what labels stand for; the node must be active."""
        header = Header(stamp=self._node.get_clock().now().to_msg())
        for outputs in self._cameras.values():
            outputs.publish_labels(header)

    def publish(self, results: Sequence[Segmentation]) -> None:
        """Publish the results of a frame, or one without a frame.

        Answers to a question about one image go to the asker only, not to the topics.
        """
        shown = [each for each in results if each.instruction.until is not Until.ANSWERED]
        now = self._node.get_clock().now().to_msg()
        for result in shown:
            self._segmentation.publish(segmentation_to_message(result, now=now))
        seen = [each for each in shown if each.mask is not None]
        if seen:
            self._publish_frame(seen[0].camera, seen)
        for result in shown:
            if result.final:
                self._forget(result.instruction)

    def is_watched(self) -> bool:
        """Tell whether anybody subscribes to any result."""
        return bool(self._segmentation.get_subscription_count()) or any(
            outputs.is_watched() for outputs in self._cameras.values())

    def end(self) -> None:
        """Stop listening to depth, and let go of all results."""
        self._last.clear()
        for outputs in self._cameras.values():
            outputs.end()

    def destroy(self) -> None:
        """Remove the topics from the node."""
        self._node.destroy_lifecycle_publisher(self._segmentation)
        for outputs in self._cameras.values():
            outputs.destroy()
        self._transforms.destroy()

    def _publish_frame(self, camera: str, results: Sequence[Segmentation]) -> None:
        # An instruction that came later is answered later on the same frame.
        before = [each for each in self._last.get(camera, ()) if each.header is results[0].header]
        self._last[camera] = [*before, *results]
        # Kept with the frame: its depth may come when a number stands for another text.
        numbers = {each.instruction.id: self._labels.number(each) for each in self._last[camera]}
        self._cameras[camera].publish(self._last[camera], numbers)

    def _forget(self, instruction: Instruction) -> None:
        for camera, results in self._last.items():
            self._last[camera] = [
                each for each in results if each.instruction is not instruction]
