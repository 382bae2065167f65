from __future__ import annotations

import numpy as np
import pytest
from geometry_msgs.msg import Quaternion, Transform, Vector3
from std_msgs.msg import Header

from instructseg_ros.ros.messages import box_to_pose, points_to_cloud, transform_box
from instructseg_ros.spatial.box import Box
from instructseg_ros.spatial.quaternions import to_matrix

QUARTER = np.array([0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5)])  # about z, from x to y


def box(center: tuple[float, float, float] = (1.0, 2.0, 3.0)) -> Box:
    return Box(center=np.array(center), size=np.array([0.1, 0.2, 0.3]), rotation=QUARTER)


def test_points_come_out_of_the_cloud_as_they_went_in() -> None:
    points = np.arange(24, dtype=np.float32).reshape(2, 4, 3)
    points[0, 1] = np.nan
    cloud = points_to_cloud(points, header=Header(frame_id='optical'))
    assert (cloud.height, cloud.width, cloud.row_step, cloud.is_dense) == (2, 4, 48, False)
    np.testing.assert_array_equal(np.frombuffer(cloud.data, np.float32).reshape(2, 4, 3), points)


def test_a_box_is_moved_and_turned_into_the_parent_frame() -> None:
    x, y, z, w = QUARTER.tolist()
    moved = transform_box(
        box(),
        Transform(
            translation=Vector3(x=10.0, y=0.0, z=0.0), rotation=Quaternion(x=x, y=y, z=z, w=w)
        ),
    )
    np.testing.assert_allclose(moved.center, [8.0, 1.0, 3.0], atol=1e-9)
    np.testing.assert_allclose(moved.size, box().size)
    np.testing.assert_allclose(
        to_matrix(moved.rotation) @ [1.0, 0.0, 0.5], [-1.0, 0.0, 0.5], atol=1e-9
    )


def test_a_pose_has_the_box_s_centre_and_orientation() -> None:
    pose = box_to_pose(box())
    assert (pose.position.x, pose.position.y, pose.position.z) == (1.0, 2.0, 3.0)
    assert pose.orientation.w == pytest.approx(np.sqrt(0.5))
