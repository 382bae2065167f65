"""Nodes as real processes in a ROS domain of this test session's own."""

from ros_domain import domain  # noqa: F401
