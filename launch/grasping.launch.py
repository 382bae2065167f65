"""segmentation.launch.py with the parameters for grasping; it takes the same arguments."""

from instructseg_ros.ros.launching import segmentation_with
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Start what the other file starts."""
    return LaunchDescription(segmentation_with('grasping.yaml'))
