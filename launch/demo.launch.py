"""A simulated RGB-D camera over a tabletop and the node that watches it.

ros2 launch instructseg_ros demo.launch.py rviz:=true
"""

from launch.actions import DeclareLaunchArgument, GroupAction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node, PushRosNamespace

from instructseg_ros.ros.launching import include_segmentation, transport_setting
from launch import LaunchDescription


def generate_launch_description() -> LaunchDescription:
    """Start the camera and include segmentation.launch.py, which takes its own arguments too."""
    return LaunchDescription([
        *declare_arguments(),
        *transport_setting(),
        GroupAction([
            PushRosNamespace(LaunchConfiguration('namespace')),
            Node(
                package='instructseg_ros', executable='sim_camera', name='sim_camera',
                namespace=LaunchConfiguration('camera'), output='screen', emulate_tty=True,
                parameters=[{'scene': LaunchConfiguration('scene'),
                             'source': LaunchConfiguration('source')}]),
        ]),
        include_segmentation(**{name: LaunchConfiguration(name)
                                for name in ('camera', 'namespace', 'rviz')}),
    ])


def declare_arguments() -> list[DeclareLaunchArgument]:
    """Return the arguments of the camera, and those that it shares with the node."""
    described = {
        'camera': ('camera', 'Namespace of the simulated camera'),
        'scene': ('0', 'Seed of the scene on the table'),
        'source': ('auto', 'auto, live (needs OpenGL) or recording'),
        'namespace': ('', 'Namespace of the camera and of the node'),
        'rviz': ('false', 'Start rviz with camera, overlay, mask, labels, points and pose'),
    }
    return [DeclareLaunchArgument(name, default_value=default, description=description)
            for name, (default, description) in described.items()]
