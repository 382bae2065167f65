from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rclpy.action import get_action_server_names_and_types_by_node
from ros_probe import NodeProcess, Probe

from instructseg_ros.ros.transport import share_folder

pytestmark = pytest.mark.ros

NODE = 'segmentation_node'
PROFILE = (
    ElementTree.parse(share_folder() / 'config/sros2/policy.xml')
    .getroot()
    .find(f'.//profile[@node="{NODE}"]')
)
# Only with vision_msgs, tf2, compressed images, simulated time, or while somebody wants depth.
OPTIONAL = {
    '/detections',
    '/detections_3d',
    '/label_info',
    '/tf',
    '/tf_static',
    '/tf2_frames',
    '/clock',
    '/image/compressed',
    '/depth/image',
    '/camera_info',
    '/parameter_events',
    # Only some distributions have these.
    f'/{NODE}/get_type_description',
}


def allowed(group: str, permission: str) -> set[str]:
    """The full names that the policy allows."""
    assert PROFILE is not None
    names = [
        element.text or ''
        for part in PROFILE.findall(group)
        if part.get(permission) == 'ALLOW'
        for element in part
    ]
    return {
        name.replace('~', f'/{NODE}') if name[0] == '~' else name if name[0] == '/' else f'/{name}'
        for name in names
    }


def hidden(names: list[tuple[str, list[str]]]) -> set[str]:
    """Names apart from those that an action is made of."""
    return {name for name, _ in names if '/_action/' not in name}


@pytest.fixture
def probe(run_process: Callable[..., NodeProcess], tiny_model_dir: Path) -> Probe:
    node = run_process(NODE, model=tiny_model_dir, device='cpu')
    node.wait_for_output('activate: done')
    probe = Probe('/')
    probe.wait_for_node()
    return probe


def test_the_policy_allows_exactly_the_endpoints_of_the_node(probe: Probe) -> None:
    node = probe.node
    probe.wait(lambda: (NODE, '/') in node.get_node_names_and_namespaces())
    for (group, permission), look in {
        ('topics', 'publish'): node.get_publisher_names_and_types_by_node,
        ('topics', 'subscribe'): node.get_subscriber_names_and_types_by_node,
        ('services', 'reply'): node.get_service_names_and_types_by_node,
        ('actions', 'execute'): partial(get_action_server_names_and_types_by_node, node),
    }.items():
        policy = allowed(group, permission)
        probe.wait(lambda look=look, policy=policy: policy - hidden(look(NODE, '/')) <= OPTIONAL)
        assert hidden(look(NODE, '/')) <= policy, f'{group} {permission}'
    probe.close()
