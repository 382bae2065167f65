"""The segmentation node on one camera: `ros2 launch instructseg_ros segmentation.launch.py`."""

from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from instructseg_ros.ros.share import share_folder
from instructseg_ros.ros.transport import profile_environment
from launch import LaunchDescription

CONFIG = share_folder() / 'config'


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start the node, and rviz where it is wanted."""
    image = [LaunchConfiguration('camera'), '/', LaunchConfiguration('image')]
    return LaunchDescription([
        *declare_arguments(),
        *(SetEnvironmentVariable(name, value)
          for name, value in profile_environment(CONFIG / 'fastdds.xml').items()),
        Node(
            package='instructseg_ros', executable='segmentation_node', name='segmentation_node',
            output='screen', emulate_tty=True,
            parameters=[LaunchConfiguration('params_file'), {
                'model': LaunchConfiguration('model'),
                'device': LaunchConfiguration('device'),
                'autostart': LaunchConfiguration('autostart'),
            }],
            remappings=[('image', image)],
            arguments=['--ros-args', '--log-level',
                       ['segmentation_node:=', LaunchConfiguration('log_level')]]),
        Node(
            package='rviz2', executable='rviz2', name='rviz2',
            arguments=['-d', str(CONFIG / 'instructseg.rviz')],
            remappings=[('camera/image', image)],
            condition=IfCondition(LaunchConfiguration('rviz'))),
    ])


def declare_arguments() -> list[DeclareLaunchArgument]:
    """Return every argument with its default and meaning."""
    return [
        DeclareLaunchArgument(
            'camera', default_value='camera',
            description='Namespace of the camera; its images are expected on <camera>/<image>'),
        DeclareLaunchArgument(
            'image', default_value='image',
            description='Name of the image topic in it; many drivers call it image_raw'),
        DeclareLaunchArgument(
            'model', default_value='embedded',
            description='embedded, a folder in from_pretrained layout, or a hub id'),
        DeclareLaunchArgument(
            'device', default_value='auto', description='auto, cpu, cuda or cuda:N'),
        DeclareLaunchArgument(
            'params_file', default_value=str(CONFIG / 'segmentation.yaml'),
            description='Parameters of the node; model, device and autostart are arguments here'),
        DeclareLaunchArgument(
            'autostart', default_value='true',
            description='Configure and activate the node; false leaves it to a lifecycle manager'),
        DeclareLaunchArgument(
            'log_level', default_value='info', description='debug, info, warn, error or fatal'),
        DeclareLaunchArgument(
            'rviz', default_value='false', description='Start rviz with camera and overlay'),
    ]
