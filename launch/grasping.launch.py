"""segmentation.launch.py with the parameters for grasping; it takes the same arguments."""

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from instructseg_ros.ros.share import share_folder
from launch import LaunchDescription

SHARE = share_folder()


def generate_launch_description() -> LaunchDescription:
    """Include the other file; what is not said here is passed through."""
    return LaunchDescription([
        DeclareLaunchArgument(
            'params_file', default_value=str(SHARE / 'config' / 'grasping.yaml'),
            description='Parameters of the node'),
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource(str(SHARE / 'launch' / 'segmentation.launch.py')),
            launch_arguments={'params_file': LaunchConfiguration('params_file')}.items()),
    ])
