from __future__ import annotations

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Transform, TransformStamped, Vector3
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import Header

from instructseg_ros.ros.outputs_3d import Transforms
from instructseg_ros.spatial.box import Box

pytestmark = pytest.mark.ros


def held(node: Node) -> list[str]:
    """Topics and services of a node."""
    return sorted(
        [each.topic for each in (*node.publishers, *node.subscriptions)]
        + [each.srv_name for each in node.services]
    )


@pytest.fixture
def tf2() -> None:
    pytest.importorskip('tf2_ros', reason='tf2_ros is not installed')


def test_nothing_of_tf2_stays_with_the_node(
    tf2: None, node: Node, capfd: pytest.CaptureFixture[str]
) -> None:
    before = held(node)
    transforms = Transforms(node, target_frame='base_link', broadcast=True)
    assert len(held(node)) == len(before) + 4
    transforms.destroy()
    assert held(node) == before
    # A buffer that is still attached would log that the clock has jumped.
    node.set_parameters([Parameter('use_sim_time', value=True)])
    assert ''.join(capfd.readouterr()) == ''


def test_a_box_and_its_header_are_brought_to_the_target_frame(tf2: None, node: Node) -> None:
    transforms = Transforms(node, target_frame='base_link', broadcast=False)
    header = Header(stamp=Time(sec=7), frame_id='optical')
    transforms._buffer.set_transform_static(
        TransformStamped(
            header=Header(frame_id='base_link'),
            child_frame_id='optical',
            transform=Transform(translation=Vector3(z=2.0)),
        ),
        'test',
    )
    box = Box(center=np.zeros(3), size=np.ones(3), rotation=np.array([0.0, 0, 0, 1]))
    np.testing.assert_allclose(transforms.to_target_frame(box, header).center, (0, 0, 2))
    assert transforms.target_header(header) == Header(stamp=header.stamp, frame_id='base_link')
    transforms.destroy()


def test_without_a_target_frame_everything_stays_in_the_camera_s(node: Node) -> None:
    transforms = Transforms(node, target_frame='', broadcast=False)
    header = Header(frame_id='optical')
    assert transforms.target_header(header) == header
    transforms.destroy()
