"""A publisher of results in this process, with no model behind it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import rclpy
from builtin_interfaces.msg import Time
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from ros_probe import wait_until
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from instructseg_ros.ros import parameters, qos
from instructseg_ros.ros.messages import array_to_image, rejection
from instructseg_ros.ros.outputs import ResultPublisher
from instructseg_ros.ros.segmentation_parameters import SegmentationParameters
from instructseg_ros.streaming.instruction import Instruction
from instructseg_ros.streaming.labels import Labels
from instructseg_ros.streaming.segmentation import Segmentation, State

pytestmark = pytest.mark.ros

HEADER = Header(stamp=Time(sec=7), frame_id='optical')
SIZE = (40, 6)


class Listener:
    """An active node whose results are published, and what arrives of them."""

    def __init__(self, context: rclpy.Context) -> None:
        self.node = LifecycleNode('publishing', context=context)
        parameters.declare(self.node, SegmentationParameters)
        self.publisher = ResultPublisher(
            self.node,
            parameters.read(self.node, SegmentationParameters),
            Labels(),
            warn=pytest.fail,
        )
        self.node.trigger_configure()
        self.node.trigger_activate()
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)

    def subscribe(self, message_type: type, topic: str) -> list[Any]:
        """Subscribe on the node itself and return the list that messages go to."""
        messages: list[Any] = []
        self.node.create_subscription(message_type, topic, messages.append, qos.reliable())
        wait_until(self.publisher.is_watched, idle=lambda: time.sleep(0.01))
        return messages

    def wait(self, messages: list[Any], count: int = 1) -> Any:
        wait_until(
            lambda: len(messages) == count, idle=lambda: self._executor.spin_once(timeout_sec=0.05)
        )
        return messages[-1]

    def close(self) -> None:
        self._executor.shutdown()
        self.publisher.destroy()
        self.node.destroy_node()


@pytest.fixture
def listener(domain: None) -> Iterator[Listener]:
    context = rclpy.Context()
    rclpy.init(context=context)
    made = Listener(context)
    yield made
    made.close()
    rclpy.try_shutdown(context=context)


def found(id: str, columns: slice, **fields: Any) -> Segmentation:
    mask = np.zeros(SIZE, bool)
    mask[:, columns] = True
    return Segmentation(
        instruction=Instruction(text=f'the {id}', id=id),
        state=State.FOUND,
        mask=mask,
        probability=mask.astype(np.float32),
        score=0.9,
        image=np.zeros((*SIZE, 3), np.uint8),
        **{'header': HEADER, **fields},
    )


def first_row(labels: Image) -> list[int]:
    return np.frombuffer(labels.data, np.uint16).reshape(SIZE)[0].tolist()


def test_a_later_result_on_a_frame_is_published_with_the_earlier_ones(listener: Listener) -> None:
    labels = listener.subscribe(Image, 'labels')
    listener.publisher.publish([found('mug', slice(0, 2))])
    listener.publisher.publish([found('bowl', slice(4, 6))])
    assert first_row(listener.wait(labels, 2)) == [1, 1, 0, 0, 2, 2]
    listener.publisher.publish([found('book', slice(0, 1), header=Header(stamp=Time(sec=8)))])
    assert first_row(listener.wait(labels, 3)) == [3, 0, 0, 0, 0, 0]


def test_an_ended_instruction_is_not_published_again(listener: Listener) -> None:
    labels = listener.subscribe(Image, 'labels')
    mug, bowl = found('mug', slice(0, 2)), found('bowl', slice(2, 3), final=True)
    listener.publisher.publish([mug, bowl])
    listener.publisher.publish(
        [
            Segmentation(
                instruction=mug.instruction, state=State.EXPIRED, reason='cancelled', final=True
            )
        ]
    )
    listener.publisher.publish([found('book', slice(4, 6))])
    assert first_row(listener.wait(labels, 2)) == [0, 0, 0, 0, 3, 3]


def test_a_rejected_command_takes_no_label_from_the_active_one_with_its_id(
    listener: Listener,
) -> None:
    labels = listener.subscribe(Image, 'labels')
    listener.publisher.publish([found('mug', slice(0, 2))])
    listener.publisher.publish([rejection('the bowl', 'mug is active already', id='mug')])
    listener.publisher.publish([found('bowl', slice(4, 6), header=Header(stamp=Time(sec=8)))])
    assert first_row(listener.wait(labels, 2)) == [0, 0, 0, 0, 2, 2]


def test_late_depth_gives_no_label_to_an_ended_instruction(listener: Listener) -> None:
    vision = pytest.importorskip('vision_msgs.msg', reason='vision_msgs is not installed')
    detections = listener.subscribe(vision.Detection3DArray, 'detections_3d')
    listener.publisher.publish([found('mug', slice(0, 3), final=True)])
    depth = array_to_image(np.ones(SIZE, np.float32), header=HEADER, encoding='32FC1')
    info = CameraInfo(width=6, height=40, k=[6.0, 0.0, 3.0, 0.0, 6.0, 20.0, 0.0, 0.0, 1.0])
    listener.publisher._cameras['']._targets.add_depth(HEADER, depth, info)
    [detection] = listener.wait(detections).detections
    assert detection.results[0].hypothesis.class_id == '1'
    listener.publisher.begin()
    published: list[Any] = []
    listener.node.create_subscription(
        vision.LabelInfo, 'label_info', published.append, qos.latched()
    )
    assert [each.class_name for each in listener.wait(published).class_map] == [
        'background',
        'the mug',
    ]


def test_ended_instructions_stay_in_label_info_and_labels_and_detections_agree_with_it(
    listener: Listener,
) -> None:
    vision = pytest.importorskip('vision_msgs.msg', reason='vision_msgs is not installed')
    labels = listener.subscribe(Image, 'labels')
    detections = listener.subscribe(vision.Detection2DArray, 'detections')
    infos = listener.subscribe(vision.LabelInfo, 'label_info')
    listener.publisher.publish([found('mug', slice(0, 2), final=True)])
    listener.wait(detections)
    listener.publisher.publish([found('bowl', slice(4, 6), header=Header(stamp=Time(sec=8)))])
    [detection] = listener.wait(detections, 2).detections
    assert detection.results[0].hypothesis.class_id == '2'
    assert first_row(listener.wait(labels, 2)) == [0, 0, 0, 0, 2, 2]
    assert {each.class_id: each.class_name for each in listener.wait(infos, 2).class_map} == {
        0: 'background',
        1: 'the mug',
        2: 'the bowl',
    }
