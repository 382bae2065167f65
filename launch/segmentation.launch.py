"""The segmentation node on one camera or several.

ros2 launch instructseg_ros segmentation.launch.py camera:=/camera/color image:=image_raw
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from instructseg_ros.ros.launching import camera_names, camera_remappings
from instructseg_ros.ros.share import share_folder
from instructseg_ros.ros.transport import profile_environment
from launch import LaunchContext, LaunchDescription

CONFIG = share_folder() / 'config'
TOPICS = {'image': 'image', 'camera_info': 'camera_info', 'depth/image': 'depth'}


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start the node, and rviz where it is wanted."""
    return LaunchDescription([
        *declare_arguments(),
        *(SetEnvironmentVariable(name, value)
          for name, value in profile_environment(CONFIG / 'fastdds.xml').items()),
        OpaqueFunction(function=start_node),
        Node(
            package='rviz2', executable='rviz2', name='rviz2',
            namespace=LaunchConfiguration('namespace'),
            arguments=['-d', str(CONFIG / 'instructseg.rviz')],
            remappings=[('camera/image', [
                LaunchConfiguration('camera'), '/', LaunchConfiguration('image')])],
            condition=IfCondition(LaunchConfiguration('rviz'))),
    ])


def start_node(context: LaunchContext) -> list[Node]:
    """Return the node, its topics remapped to those of the cameras' drivers."""
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    cameras = camera_names(value('cameras'))
    own = {'cameras': cameras} if cameras else {}
    return [Node(
        package='instructseg_ros', executable='segmentation_node', name='segmentation_node',
        namespace=value('namespace'), output='screen', emulate_tty=True,
        parameters=[value('params_file'), {
            'model': value('model'), 'device': value('device'),
            'autostart': value('autostart').lower() == 'true',
            'image_transports': [value('image_transport')], **own}],
        remappings=camera_remappings(
            cameras, value('camera'), {ours: value(name) for ours, name in TOPICS.items()}),
        respawn=value('respawn').lower() == 'true', respawn_delay=2.0,
        arguments=['--ros-args', '--log-level', f'segmentation_node:={value("log_level")}'])]


def declare_arguments() -> list[DeclareLaunchArgument]:
    """Return every argument with its default and meaning."""
    described = {
        'camera': ('camera', "Namespace of the one camera's driver"),
        'cameras': ('', 'Names of several cameras, such as "[front, wrist]": the namespaces of '
                        'their drivers and of their results; camera is not used then'),
        'image': ('image', 'Image topic in the namespace of a driver; many call it image_raw'),
        'camera_info': ('camera_info', 'Calibration topic in it'),
        'depth': ('depth/image', 'Topic in it of depth that is registered to the image, such as '
                                 '../aligned_depth_to_color/image_raw'),
        'image_transport': ('raw', 'raw, or compressed: listen to <image>/compressed'),
        'namespace': ('', 'Namespace of the node, its commands and results'),
        'model': ('embedded', 'embedded, a folder in from_pretrained layout, or a hub id'),
        'device': ('auto', 'auto, cpu, cuda or cuda:N'),
        'params_file': (str(CONFIG / 'segmentation.yaml'),
                        'Parameters of the node; those that are arguments here are not read'),
        'autostart': ('true', 'Configure and activate the node; false leaves it to a lifecycle '
                              'manager'),
        'respawn': ('false', 'Start the node again when it dies'),
        'log_level': ('info', 'debug, info, warn, error or fatal'),
        'rviz': ('false', 'Start rviz with camera, overlay, mask, points and pose'),
    }
    return [DeclareLaunchArgument(name, default_value=default, description=description)
            for name, (default, description) in described.items()]
