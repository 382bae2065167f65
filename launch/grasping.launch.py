"""segmentation.launch.py with parameters for grasping; it takes the same arguments."""

from instructseg_ros.ros.launching import segmentation_with
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Include segmentation.launch.py."""
    return LaunchDescription(segmentation_with('grasping.yaml'))
