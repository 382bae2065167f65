"""Starts a simulated RGB-D camera over a tabletop and the segmentation node.

Usage: ros2 launch instructseg_ros demo.launch.py rviz:=true
"""

from launch.actions import DeclareLaunchArgument, GroupAction, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node, PushRosNamespace

from instructseg_ros.ros.launching import (
    TRUE_OR_FALSE,
    declare,
    include_segmentation,
    is_true,
    transport_setting,
)
from instructseg_ros.tabletop.sim_camera import SOURCES
from launch import LaunchContext, LaunchDescription

SHARED = ('camera', 'namespace', 'rviz', 'use_sim_time')


def generate_launch_description() -> LaunchDescription:
    """Start the camera and include segmentation.launch.py, which has further arguments."""
    # The group hides the arguments from launch files included later.
    return LaunchDescription(
        [
            *transport_setting(),
            GroupAction(
                [
                    *declare_arguments(),
                    GroupAction(
                        [
                            PushRosNamespace(LaunchConfiguration('namespace')),
                            OpaqueFunction(function=sim_camera),
                        ]
                    ),
                    include_segmentation(**{name: LaunchConfiguration(name) for name in SHARED}),
                ]
            ),
        ]
    )


def sim_camera(context: LaunchContext) -> list[Node]:
    """Return the simulated camera."""
    use_sim_time = context.launch_configurations['use_sim_time']
    return [
        Node(
            package='instructseg_ros',
            executable='sim_camera',
            name='sim_camera',
            namespace=LaunchConfiguration('camera'),
            output='screen',
            emulate_tty=True,
            parameters=[
                {
                    'scene': LaunchConfiguration('scene'),
                    'source': LaunchConfiguration('source'),
                    **({'use_sim_time': is_true(use_sim_time)} if use_sim_time else {}),
                }
            ],
        )
    ]


def declare_arguments() -> list[DeclareLaunchArgument]:
    """Return the arguments of the camera, and those shared with the node."""
    described = {
        'camera': ('camera', 'Namespace of the simulated camera'),
        'scene': ('0', 'Seed of the scene on the table'),
        'source': (
            'auto',
            'live renders with OpenGL; recording plays the recording in the package; auto: live '
            'if OpenGL works, else recording',
        ),
        'namespace': ('', 'Namespace of the camera and of the node'),
        'rviz': ('false', 'Start rviz with the image, overlay, mask, labels, points and pose'),
        'use_sim_time': ('', 'Use the time on /clock. Empty: as in the parameter file'),
    }
    return declare(
        described,
        choices={'source': SOURCES, 'rviz': TRUE_OR_FALSE, 'use_sim_time': ('', *TRUE_OR_FALSE)},
    )
