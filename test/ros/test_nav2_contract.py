"""Requirements of nav2's semantic segmentation layer on published labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from ros_probe import NodeProcess, Probe, headers
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header

from instructseg_ros.ros import qos
from instructseg_ros.ros.messages import array_to_image

pytestmark = pytest.mark.ros

WIDTH, HEIGHT = 64, 48


class Consumer:
    """Keeps what comes, in order, as the layer subscribes to it."""

    def __init__(self, probe: Probe) -> None:
        self.heard: list[tuple[str, Any]] = []
        for topic, message_type, profile in (
            ('labels', Image, qos.sensor(5)),
            ('confidence', Image, qos.sensor(5)),
            ('points', PointCloud2, qos.sensor(5)),
        ):
            probe.node.create_subscription(
                message_type,
                topic,
                lambda message, topic=topic: self.heard.append((topic, message)),
                profile,
            )
            probe.wait(lambda topic=topic: probe.node.count_publishers(topic))

    def of(self, topic: str, header: Any) -> Any:
        return next(
            (message for name, message in self.heard if name == topic and message.header == header),
            None,
        )


def start(run_process: Callable[..., NodeProcess], model: Path) -> Probe:
    node = run_process(
        'segmentation_node',
        namespace='/nav',
        model=model,
        device='cpu',
        max_age=60.0,
        image_timeout=60.0,
        threshold=0.0,
        label_encoding='mono8',
    )
    node.wait_for_output('activate: done')
    probe = Probe('/nav')
    probe.wait_for_node()
    return probe


def test_labels_confidence_and_cloud_of_a_frame_fit_each_other(
    run_process: Callable[..., NodeProcess], tiny_model_dir: Path
) -> None:
    probe = start(run_process, tiny_model_dir)
    depth = probe.node.create_publisher(Image, 'depth/image', 10)
    info = probe.node.create_publisher(CameraInfo, 'camera_info', 10)
    consumer = Consumer(probe)
    probe.request(id='mug', instruction='the red mug')
    probe.request(id='all', instruction='all of the blue')
    metres = np.full((HEIGHT, WIDTH), 1.0, np.float32)
    topics = ('labels', 'confidence', 'points')

    def show() -> Header:
        header = probe.show()
        info.publish(
            CameraInfo(
                header=header,
                width=WIDTH,
                height=HEIGHT,
                k=[60.0, 0.0, 32.0, 0.0, 60.0, 24.0, 0.0, 0.0, 1.0],
            )
        )
        depth.publish(array_to_image(metres, header=header, encoding='32FC1'))
        return header

    header = probe.show_until(
        lambda header: all(consumer.of(topic, header) for topic in topics), show=show
    ).header
    labels, confidence, cloud = (consumer.of(topic, header) for topic in topics)
    assert (labels.encoding, confidence.encoding) == ('mono8', 'mono8')
    assert {(each.height, each.width) for each in (labels, confidence, cloud)} == {(HEIGHT, WIDTH)}
    values = np.frombuffer(labels.data, np.uint8).reshape(HEIGHT, WIDTH)
    points = np.frombuffer(cloud.data, np.float32).reshape(HEIGHT, WIDTH, 3)
    assert set(np.unique(values)) <= {0, 1, 2}
    np.testing.assert_array_equal(np.isfinite(points).all(-1), values > 0)
    assert (np.frombuffer(confidence.data, np.uint8).reshape(HEIGHT, WIDTH)[values > 0] > 0).all()
    probe.close()


def number_of(text: str, probe: Probe, consumer: Consumer) -> int:
    """Say a text and return the number that it has in the labels."""
    probe.send_text(text)
    probe.settle()

    def has_labels(header: Header) -> bool:
        labels = consumer.of('labels', header)
        return labels is not None and any(labels.data)

    header = probe.show_until(has_labels).header
    return int(max(consumer.of('labels', header).data))


def test_a_label_number_is_not_reused_for_the_next_command_on_the_topic(
    run_process: Callable[..., NodeProcess], tiny_model_dir: Path
) -> None:
    probe = start(run_process, tiny_model_dir)
    consumer = Consumer(probe)
    book, ball, again = (
        number_of(text, probe, consumer) for text in ('the book', 'the ball', 'the book')
    )
    assert book == again != ball
    for transition in (
        Transition.TRANSITION_DEACTIVATE,
        Transition.TRANSITION_CLEANUP,
        Transition.TRANSITION_CONFIGURE,
        Transition.TRANSITION_ACTIVATE,
    ):
        assert probe.call(
            ChangeState,
            'segmentation_node/change_state',
            ChangeState.Request(transition=Transition(id=transition)),
        ).success
    probe.wait_for_node()
    assert number_of('the bowl', probe, consumer) not in (book, ball)
    probe.close()


def test_label_info_is_latched_and_comes_before_the_labels_it_explains(
    run_process: Callable[..., NodeProcess], tiny_model_dir: Path
) -> None:
    vision = pytest.importorskip('vision_msgs.msg', reason='vision_msgs is not installed')
    probe = start(run_process, tiny_model_dir)
    sent: dict[str, list[int]] = {'label_info': [], 'labels': []}
    for topic, message_type, profile in (
        ('label_info', vision.LabelInfo, qos.latched()),
        ('labels', Image, qos.sensor(5)),
    ):

        def note(message: Any, info: Any, topic: str = topic) -> None:
            sent[topic].append(info['source_timestamp'])

        probe.node.create_subscription(message_type, topic, note, profile)
    probe.wait(lambda: sent['label_info'])  # latched since the node is active
    probe.request(id='bowl', instruction='the blue bowl')  # a name that was not told before
    probe.show_until(lambda _: bool(sent['labels']))
    probe.wait(lambda: len(sent['label_info']) == 2)
    assert max(sent['label_info']) <= sent['labels'][0]
    late: list[Any] = []
    probe.node.create_subscription(vision.LabelInfo, 'label_info', late.append, qos.latched())
    probe.wait(lambda: late)
    assert {entry.class_id: entry.class_name for entry in late[0].class_map} == {
        0: 'background',
        1: 'the blue bowl',
    }
    detections: list[Any] = []
    probe.subscribe(vision.Detection2DArray, 'detections', detections)
    header = probe.show_until(lambda header: header in headers(detections)).header
    [detection] = next(each for each in detections if each.header == header).detections
    assert detection.results[0].hypothesis.class_id == '1'
    probe.close()
