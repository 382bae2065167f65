from __future__ import annotations

import io
import json
import threading
from array import array
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import numpy as np
import PIL.Image
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from ros_domain import domain  # noqa: F401
from ros_nodes import rendering, run_process  # noqa: F401
from ros_probe import NodeProcess, wait_until
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header, String

from instructseg_ros.ros import qos
from instructseg_ros.ros.messages import array_to_image, stamp_to_nanoseconds
from instructseg_ros.spatial.pinhole import Pinhole
from instructseg_ros.streaming.encodings import decode_labels
from instructseg_ros.tabletop.sim_camera import camera_info
from instructseg_ros.teaching.camera import CameraError, TeachingNode, frames_of_camera
from instructseg_ros.teaching.capture import CaptureProgress, collect

pytestmark = pytest.mark.ros

COUNTED = 250  # images
PINHOLE = Pinhole(width=64, height=48, fx=60.0, fy=60.0, cx=31.5, cy=23.5)


class Background:
    """A node that spins in a thread of its own."""

    def __init__(self, namespace: str = '/') -> None:
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self.node: Node = rclpy.create_node('other', namespace=namespace, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._spin)

    def __enter__(self) -> Background:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        self._thread.join()
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()

    def _spin(self) -> None:
        while not self._stop.is_set():
            self._executor.spin_once(timeout_sec=0.05)


def meet(teaching: TeachingNode, *publishers: Publisher | None) -> None:
    """Wait until a teaching has discovered publishers, which can take seconds."""
    topics = [each.topic_name for each in publishers if each is not None]
    wait_until(lambda: all(teaching._node.count_publishers(topic) for topic in topics))


class GrayCamera(Background):
    """Publishes images whose brightness counts them, with or without depth.

    Attributes:
        has_depth: Whether the next images have depth.
        is_on: Whether there are next images.
        newest: Number of the newest image.
    """

    def __init__(
        self, teaching: TeachingNode, namespace: str, *, depth: str = '', info: bool = True
    ) -> None:
        super().__init__(namespace)
        self._teaching = teaching
        self.has_depth, self.is_on, self.newest = bool(depth), True, 0
        self._image = self.node.create_publisher(Image, 'image', 1)
        self._depth = self.node.create_publisher(Image, depth, 1) if depth else None
        self._info = self.node.create_publisher(CameraInfo, 'camera_info', 1) if info else None
        self.node.create_timer(0.02, self._publish)

    def __enter__(self) -> GrayCamera:
        super().__enter__()
        meet(self._teaching, self._image, self._depth, self._info)
        return self

    def _publish(self) -> None:
        if not self.is_on:
            return
        self.newest = number = (self.newest + 1) % COUNTED
        header = Header(stamp=self.node.get_clock().now().to_msg(), frame_id='optical')
        if self._info is not None:
            self._info.publish(camera_info(PINHOLE, header))
        if self._depth is not None and self.has_depth:
            millimetres = np.full((48, 64), 1000 + number, np.uint16)
            self._depth.publish(array_to_image(millimetres, header=header, encoding='16UC1'))
        pixels = np.full((48, 64, 3), number, np.uint8)
        self._image.publish(array_to_image(pixels, header=header, encoding='bgr8'))


@pytest.fixture
def teaching() -> Iterator[TeachingNode]:
    with TeachingNode() as node:
        yield node


@pytest.fixture
def sim_camera(
    rendering: None,  # noqa: F811
    run_process: Callable[..., NodeProcess],  # noqa: F811
) -> Callable[..., NodeProcess]:
    """Return a function that starts a simulated camera in a namespace."""
    return lambda namespace, **parameters: run_process(
        'sim_camera', namespace=namespace, **parameters
    )


def test_an_object_shown_to_a_camera_becomes_examples_with_its_true_masks(
    teaching: TeachingNode, sim_camera: Callable[..., NodeProcess]
) -> None:
    labels: dict[int, np.ndarray] = {}  # by the stamp in ms
    progress: list[dict[str, Any]] = []

    def keep(message: Image) -> None:
        labels[round(stamp_to_nanoseconds(message.header.stamp) / 1e6)] = decode_labels(message) > 0

    with Background() as other:
        other.node.create_subscription(Image, 'front/truth/labels', keep, 10)
        other.node.create_subscription(
            String, 'teach/progress', lambda text: progress.append(json.loads(text.data)), 100
        )
        sim_camera(
            '/front', source='live', show='star', show_seconds=2.0, width=320, height=240, rate=8.0
        )
        with closing(teaching.frames('front', timeout=120.0)) as frames:
            examples = collect(
                frames, 'star', count=4, live=True, report=teaching.progress.publish_capture
            )
        times = [round(1000 * float(each.source.split()[-2])) for each in examples]
        wait_until(lambda: labels.keys() >= {*times} and progress[-1]['done'] == 1.0)
    assert progress[-1] == {
        'stage': 'capture',
        'done': 1.0,
        'accepted': 4,
        'wanted': 4,
        'problem': '',
    }
    for example, time in zip(examples, times, strict=True):
        mask, truth = example.objects[0].mask, labels[time]
        assert example.source.startswith('/front/image at ')
        assert (mask & truth).sum() / (mask | truth).sum() > 0.9


def test_a_frame_has_the_depth_of_its_image_and_the_camera(teaching: TeachingNode) -> None:
    with (
        GrayCamera(teaching, '/arm', depth='depth/image'),
        closing(teaching.frames('arm')) as frames,
    ):
        seen = [next(frames) for _ in range(4)]
    for frame in seen:
        assert frame.depth is not None
        np.testing.assert_allclose(frame.depth, 1 + 0.001 * frame.rgb[..., 0], atol=1e-5)
        assert frame.pinhole == PINHOLE and frame.pinhole is seen[0].pinhole


def test_frames_that_came_while_another_one_was_judged_are_skipped(teaching: TeachingNode) -> None:
    with (
        GrayCamera(teaching, '/arm', depth='depth/image') as camera,
        closing(teaching.frames('arm')) as frames,
    ):
        first, start = int(next(frames).rgb[0, 0, 0]), camera.newest
        wait_until(lambda: (camera.newest - start) % COUNTED >= 30)
        assert (int(next(frames).rgb[0, 0, 0]) - first) % COUNTED > 15


def test_the_depth_can_come_on_a_topic_of_another_name(teaching: TeachingNode) -> None:
    with (
        GrayCamera(teaching, '/arm', depth='/arm/aligned_depth'),
        closing(teaching.frames('arm', depth='/arm/aligned_depth')) as frames,
    ):
        assert next(frames).depth is not None


def test_a_camera_without_depth_has_frames_without_depth(teaching: TeachingNode) -> None:
    with GrayCamera(teaching, '/web'), closing(teaching.frames('web')) as frames:
        for _ in range(2):
            frame = next(frames)
            assert (frame.depth, frame.pinhole) == (None, None)
            assert frame.rgb.shape == (48, 64, 3)


def test_a_picture_can_be_taken_of_a_camera_of_any_name() -> None:
    arguments = ['--ros-args', '-r', 'image:=/web/image']
    with TeachingNode(arguments) as teaching, GrayCamera(teaching, '/web'):
        assert teaching.first_picture('').shape == (48, 64, 3)


def test_compressed_images_are_received_on_request(teaching: TeachingNode) -> None:
    content = io.BytesIO()
    PIL.Image.fromarray(np.full((48, 64, 3), 77, np.uint8)).save(content, 'png')
    message = CompressedImage(format='png', data=array('B', content.getvalue()))
    with Background() as other:
        publisher = other.node.create_publisher(CompressedImage, '/web/image/compressed', 1)
        other.node.create_timer(0.05, lambda: publisher.publish(message))
        picture = teaching.first_picture('web', transport='compressed')
    assert picture.shape == (48, 64, 3) and (picture == 77).all()


def test_images_that_come_only_compressed_are_named(teaching: TeachingNode) -> None:
    with Background() as other:
        meet(teaching, other.node.create_publisher(CompressedImage, '/web/image/compressed', 1))
        with pytest.raises(CameraError, match='but /web/image/compressed has: let the camera'):
            teaching.first_picture('web', timeout=0.5)


def test_an_image_of_an_unknown_encoding_is_an_error_with_its_topic(teaching: TeachingNode) -> None:
    message = Image(width=2, height=2, step=2, encoding='dreams', data=array('B', bytes(4)))
    with Background() as other:
        publisher = other.node.create_publisher(Image, '/web/image', 1)
        other.node.create_timer(0.05, lambda: publisher.publish(message))
        with pytest.raises(CameraError, match='an image on /web/image cannot be read: encoding'):
            teaching.first_picture('web')


def test_depth_that_was_named_and_is_missing_is_an_error(teaching: TeachingNode) -> None:
    with (
        GrayCamera(teaching, '/arm'),
        closing(teaching.frames('arm', depth='range', timeout=4.0)) as frames,
        pytest.raises(CameraError, match=r'no message on /range \(0 publishers\) has the time of'),
    ):
        next(frames)


def test_depth_without_a_calibration_is_an_error_that_names_its_topic(
    teaching: TeachingNode,
) -> None:
    with (
        GrayCamera(teaching, '/arm', depth='depth/image', info=False),
        closing(teaching.frames('arm', timeout=3.5)) as frames,
        pytest.raises(CameraError, match=r'no message on /arm/camera_info \(0 publishers\)'),
    ):
        next(frames)


def test_depth_that_stops_is_an_error(teaching: TeachingNode) -> None:
    with (
        GrayCamera(teaching, '/arm', depth='depth/image') as camera,
        closing(teaching.frames('arm', timeout=4.0)) as frames,
    ):
        next(frames)
        camera.has_depth = False
        with pytest.raises(CameraError, match=r'no message on /arm/depth/image \(1 publisher\)'):
            list(frames)


def test_a_camera_that_does_not_exist_is_an_error_with_its_topic_and_the_remedy() -> None:
    with (
        closing(frames_of_camera('front', timeout=0.5)) as frames,
        pytest.raises(CameraError) as raised,
    ):
        next(frames)
    assert str(raised.value) == (
        'no image came on /front/image within 0.5 s, which has 0 publishers: start the camera, or '
        'name it; `ros2 topic list -t` lists the topics of type sensor_msgs/msg/Image'
    )


def test_a_camera_that_stops_is_an_error_that_counts_its_publishers(teaching: TeachingNode) -> None:
    with (
        GrayCamera(teaching, '/web') as camera,
        closing(teaching.frames('web', depth='', timeout=4.0)) as frames,
    ):
        next(frames)
        camera.is_on = False
        with pytest.raises(CameraError, match='which has 1 publisher: check that the camera'):
            list(frames)


def test_progress_of_another_thread_reaches_a_subscriber_that_comes_late(
    teaching: TeachingNode,
) -> None:
    thread = threading.Thread(target=teaching.progress.publish, args=('pixels', 0.25))
    thread.start()
    thread.join()
    received: list[str] = []
    with Background() as other:
        other.node.create_subscription(
            String, 'teach/progress', lambda text: received.append(text.data), qos.latched()
        )
        wait_until(lambda: received)
    assert received == ['{"stage": "pixels", "done": 0.25}']


def test_progress_without_wanted_examples_is_not_an_error(teaching: TeachingNode) -> None:
    teaching.progress.publish_capture(CaptureProgress(accepted=0, wanted=0))
    received: list[str] = []
    with Background() as other:
        other.node.create_subscription(
            String, 'teach/progress', lambda text: received.append(text.data), qos.latched()
        )
        wait_until(lambda: received)
    assert json.loads(received[0])['done'] == 0.0


def test_closing_the_frames_unsubscribes_and_keeps_the_node(teaching: TeachingNode) -> None:
    with GrayCamera(teaching, '/web') as camera:
        with closing(teaching.frames('web', depth='')) as frames:
            next(frames)
            assert camera.node.count_subscribers('/web/image') == 1
        wait_until(lambda: camera.node.count_subscribers('/web/image') == 0)
        teaching.progress.publish('views', 0.5)
