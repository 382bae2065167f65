"""The segmentation node on one or several cameras.

ros2 launch instructseg_ros segmentation.launch.py camera:=/camera/color image:=image_raw
ros2 launch instructseg_ros segmentation.launch.py cameras:="[front, wrist]" image:=image_raw
"""

from launch.actions import DeclareLaunchArgument, GroupAction, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from instructseg_ros.ros.launching import (
    TRUE_OR_FALSE,
    camera_names,
    camera_remappings,
    declare,
    driver_topic,
    existing_file,
    is_true,
    logger_name,
    own_parameters,
    transport_setting,
)
from instructseg_ros.ros.segmentation_parameters import TRANSPORTS
from instructseg_ros.ros.transport import share_folder
from launch import LaunchContext, LaunchDescription

CONFIG = share_folder() / 'config'
LOG_LEVELS = ('debug', 'info', 'warn', 'error', 'fatal')
TOPICS = {'image': 'image', 'camera_info': 'camera_info', 'depth/image': 'depth'}
SHOWN = ('overlay', 'mask', 'labels', 'points', 'target_pose')


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and start the node, and rviz if requested."""
    # The group hides the arguments from launch files included later.
    return LaunchDescription(
        [*transport_setting(), GroupAction([*declare_arguments(), OpaqueFunction(function=start)])]
    )


def start(context: LaunchContext) -> list[Node]:
    """Return the node, and rviz if requested."""
    value = {name: LaunchConfiguration(name).perform(context) for name in arguments()}
    pushed = context.launch_configurations.get('ros_namespace', '')
    logger = logger_name(pushed, value['namespace'], 'segmentation_node')
    return [segmentation_node(value, logger), *([rviz(value)] if is_true(value['rviz']) else [])]


def segmentation_node(value: dict[str, str], logger: str) -> Node:
    """Return the node with its topics remapped to those of the camera drivers."""
    topics = {ours: value[argument] for ours, argument in TOPICS.items()}
    return Node(
        package='instructseg_ros',
        executable='segmentation_node',
        name='segmentation_node',
        namespace=value['namespace'],
        output='screen',
        emulate_tty=True,
        parameters=[existing_file('params_file', value['params_file']), own_parameters(value)],
        remappings=camera_remappings(camera_names(value['cameras']), value['camera'], topics),
        respawn=is_true(value['respawn']),
        respawn_delay=2.0,
        arguments=['--ros-args', '--log-level', f'{logger}:={value["log_level"]}'],
    )


def rviz(value: dict[str, str]) -> Node:
    """Return rviz, which shows the camera, or the first of several."""
    cameras = camera_names(value['cameras'])
    image = driver_topic(cameras[0] if cameras else value['camera'], value['image'])
    return Node(
        package='rviz2',
        executable='rviz2',
        name='rviz2',
        namespace=value['namespace'],
        arguments=['-d', str(CONFIG / 'instructseg.rviz')],
        parameters=[{name: is_true(value[name]) for name in ('use_sim_time',) if value[name]}],
        remappings=[
            ('camera/image', image),
            *((name, f'{camera}/{name}') for camera in cameras[:1] for name in SHOWN),
        ],
    )


def arguments() -> dict[str, tuple[str, str]]:
    """Return the default and the description of each argument."""
    return {
        'camera': ('camera', 'Namespace of the driver of a single camera'),
        'cameras': (
            '',
            'Names of several cameras, such as "[front, wrist]"; each is the namespace of one '
            'driver and its results, and the argument camera is ignored. Empty: as in the '
            'parameter file',
        ),
        'image': (
            'image',
            'Image topic in the namespace of each driver, or an absolute topic; often image_raw',
        ),
        'camera_info': ('camera_info', 'Calibration topic, relative or absolute like image'),
        'depth': (
            'depth/image',
            'Topic of depth registered to the image, relative or absolute like image; '
            'aligned_depth_to_color/image_raw for a RealSense',
        ),
        'image_transport': (
            '',
            'compressed subscribes to <image>/compressed. Empty: as in the parameter file',
        ),
        'namespace': (
            '',
            'Namespace of the node, of its commands and results, and of all topics in these '
            'arguments that do not begin with a slash',
        ),
        'model': (
            '',
            'embedded, a folder in from_pretrained layout, or a hub id. Empty: as in the parameter '
            'file',
        ),
        'device': ('', 'auto, cpu, cuda or cuda:N. Empty: as in the parameter file'),
        'params_file': (
            str(CONFIG / 'segmentation.yaml'),
            'Parameter file of the node; launch arguments override it',
        ),
        'autostart': (
            '',
            'Configure and activate the node; false leaves this to a lifecycle manager. Empty: as '
            'in the parameter file',
        ),
        'use_sim_time': ('', 'Use the time on /clock. Empty: as in the parameter file'),
        'respawn': ('false', 'Restart the node when it exits'),
        'log_level': ('info', 'Lowest severity of logged messages'),
        'rviz': (
            'false',
            'Start rviz with the image, overlay, mask, labels, points and pose of the first camera',
        ),
    }


def declare_arguments() -> list[DeclareLaunchArgument]:
    """Return the declarations of all arguments."""
    return declare(
        arguments(),
        choices={
            'image_transport': ('', *TRANSPORTS),
            'log_level': LOG_LEVELS,
            'rviz': TRUE_OR_FALSE,
            'respawn': TRUE_OR_FALSE,
            'autostart': ('', *TRUE_OR_FALSE),
            'use_sim_time': ('', *TRUE_OR_FALSE),
        },
    )
