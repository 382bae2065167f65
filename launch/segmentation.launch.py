"""The segmentation node on one camera or several.

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
    """Declare the arguments and start the node, and rviz where it is wanted."""
    # The group keeps the arguments from the launch files that are included after this one.
    return LaunchDescription(
        [*transport_setting(), GroupAction([*declare_arguments(), OpaqueFunction(function=start)])]
    )


def start(context: LaunchContext) -> list[Node]:
    """Return what is started."""
    value = {name: LaunchConfiguration(name).perform(context) for name in arguments()}
    pushed = context.launch_configurations.get('ros_namespace', '')
    logger = logger_name(pushed, value['namespace'], 'segmentation_node')
    return [segmentation_node(value, logger), *([rviz(value)] if is_true(value['rviz']) else [])]


def segmentation_node(value: dict[str, str], logger: str) -> Node:
    """Return the node, its topics remapped to those of the cameras' drivers."""
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
    """Return rviz on the camera, or the first of several."""
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
    """Return the default and meaning of every argument."""
    return {
        'camera': ('camera', "Namespace of the one camera's driver"),
        'cameras': (
            '',
            'Names of several cameras, such as "[front, wrist]": the namespaces of '
            'their drivers and of their results; camera is not used then. Empty: '
            'as the parameters say',
        ),
        'image': (
            'image',
            'Image topic in the namespace of each driver, or from the root where '
            'it begins with a slash; many call it image_raw',
        ),
        'camera_info': ('camera_info', 'Calibration topic, named likewise'),
        'depth': (
            'depth/image',
            'Topic of depth that is registered to the image, named likewise; '
            'a RealSense has aligned_depth_to_color/image_raw',
        ),
        'image_transport': (
            '',
            'compressed listens to <image>/compressed. Empty: as the parameters say',
        ),
        'namespace': (
            '',
            'Namespace of the node, its commands and results, and of all topics '
            'here that do not begin with a slash',
        ),
        'model': (
            '',
            'embedded, a folder in from_pretrained layout, or a hub id. Empty: as the '
            'parameters say',
        ),
        'device': ('', 'auto, cpu, cuda or cuda:N. Empty: as the parameters say'),
        'params_file': (
            str(CONFIG / 'segmentation.yaml'),
            'Parameters of the node; the arguments that are given win over it',
        ),
        'autostart': (
            '',
            'Configure and activate the node; false leaves it to a lifecycle '
            'manager. Empty: as the parameters say',
        ),
        'use_sim_time': ('', 'Take the time from /clock. Empty: as the parameters say'),
        'respawn': ('false', 'Start the node again when it dies'),
        'log_level': ('info', 'Least severity of the messages that the node logs'),
        'rviz': (
            'false',
            'Start rviz with camera, overlay, mask, labels, points and pose, of the '
            'first camera where there are several',
        ),
    }


def declare_arguments() -> list[DeclareLaunchArgument]:
    """Return the arguments as launch knows them."""
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
