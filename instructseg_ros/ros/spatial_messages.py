"""Between 3-D values and messages."""

from __future__ import annotations

import sys
from array import array

import numpy as np
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion, Transform
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from instructseg_ros.spatial.box import Box

FIELDS = [PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
          for index, name in enumerate('xyz')]


def points_to_cloud(points: np.ndarray, *, header: Header) -> PointCloud2:
    """Return (H, W, 3) float32 points, m, as an organised cloud; NaN where there is none."""
    height, width = points.shape[:2]
    data = array('B')
    data.frombytes(memoryview(np.ascontiguousarray(points).reshape(-1)).cast('B'))
    return PointCloud2(
        header=header, height=height, width=width, fields=FIELDS, point_step=12,
        row_step=12 * width, is_dense=False, is_bigendian=sys.byteorder == 'big', data=data)


def box_to_pose(box: Box) -> Pose:
    """Return centre and orientation of a box."""
    x, y, z = (float(value) for value in box.center)
    return Pose(position=Point(x=x, y=y, z=z), orientation=quaternion_message(box.rotation))


def box_to_pose_stamped(box: Box, *, header: Header) -> PoseStamped:
    """Return centre and orientation of a box in the frame of a header."""
    return PoseStamped(header=header, pose=box_to_pose(box))


def quaternion_message(rotation: np.ndarray) -> Quaternion:
    """Return an (x, y, z, w) quaternion as a message."""
    x, y, z, w = (float(value) for value in rotation)
    return Quaternion(x=x, y=y, z=z, w=w)


def transform_box(box: Box, transform: Transform) -> Box:
    """Return a box in the parent frame of a transform."""
    offset, turn = transform.translation, transform.rotation
    quaternion = np.array([turn.x, turn.y, turn.z, turn.w])
    center = rotate(quaternion, box.center) + np.array([offset.x, offset.y, offset.z])
    return Box(center=center, size=box.size, rotation=multiply(quaternion, box.rotation))


def multiply(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the (x, y, z, w) quaternion of the second rotation and then the first."""
    (v, w), (u, s) = (first[:3], first[3]), (second[:3], second[3])
    return np.append(w * u + s * v + np.cross(v, u), w * s - v @ u)


def rotate(quaternion: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Return an (x, y, z) vector turned by an (x, y, z, w) quaternion."""
    v, w = quaternion[:3], quaternion[3]
    return vector + 2.0 * np.cross(v, np.cross(v, vector) + w * vector)
