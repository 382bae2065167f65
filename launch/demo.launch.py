"""A simulated tabletop camera and the segmentation node that watches it."""

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, SetEnvironmentVariable
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from instructseg_ros.ros.share import share_folder
from instructseg_ros.ros.transport import profile_environment
from launch import LaunchDescription

SHARE = share_folder()


def generate_launch_description() -> LaunchDescription:
    """Start the simulated camera in its namespace and include segmentation.launch.py."""
    camera = LaunchConfiguration('camera')
    return LaunchDescription([
        DeclareLaunchArgument('camera', default_value='camera',
                              description='Namespace of the simulated camera'),
        DeclareLaunchArgument('scene', default_value='0', description='Seed of the scene'),
        DeclareLaunchArgument('source', default_value='auto',
                              description='auto, live (needs OpenGL) or recording'),
        *(SetEnvironmentVariable(name, value)
          for name, value in profile_environment(SHARE / 'config' / 'fastdds.xml').items()),
        Node(
            package='instructseg_ros', executable='sim_camera', name='sim_camera',
            namespace=camera, output='screen', emulate_tty=True,
            parameters=[{'scene': LaunchConfiguration('scene'),
                         'source': LaunchConfiguration('source')}]),
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource(str(SHARE / 'launch' / 'segmentation.launch.py')),
            launch_arguments={'camera': camera}.items()),
    ])
