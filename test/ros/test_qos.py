from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from ros_probe import NodeProcess, Probe

from instructseg_ros.ros import qos

pytestmark = pytest.mark.ros


def test_parameters_override_the_quality_of_a_topic(
    run_process: Callable[..., NodeProcess], tiny_model_dir: Path
) -> None:
    node = run_process(
        'segmentation_node',
        namespace='/quality',
        model=tiny_model_dir,
        **{
            'device': 'cpu',
            'qos_overrides./quality/image.subscription.reliability': 'reliable',
            'qos_overrides./quality/mask.publisher.reliability': 'best_effort',
        },
    )
    node.wait_for_output('activate: done')
    probe = Probe('/quality')
    probe.wait_for_node()
    image_of, mask_of = (
        partial(ask, f'/quality/{name}')
        for name, ask in (
            ('image', probe.node.get_subscriptions_info_by_topic),
            ('mask', probe.node.get_publishers_info_by_topic),
        )
    )
    probe.wait(lambda: image_of() and mask_of())
    [image], [mask] = image_of(), mask_of()
    probe.close()
    assert image.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    assert mask.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT


def test_an_override_for_an_unknown_topic_is_reported_with_the_nearest_known_one(
    run_process: Callable[..., NodeProcess], tiny_model_dir: Path
) -> None:
    node = run_process(
        'segmentation_node',
        namespace='/quality',
        model=tiny_model_dir,
        **{
            'device': 'cpu',
            'qos_overrides./quality/imge.subscription.reliability': 'reliable',
            'qos_overrides./quality/depth/image.subscription.reliability': 'reliable',
        },
    )
    node.wait_for_output('activate: done')
    assert node.output().count('has no effect') == 1
    assert 'did you mean "qos_overrides./quality/image.subscription.reliability"' in node.output()


def test_a_queue_without_bounds_is_refused_with_the_reason(
    run_process: Callable[..., NodeProcess], tiny_model_dir: Path
) -> None:
    node = run_process(
        'segmentation_node',
        namespace='/quality',
        model=tiny_model_dir,
        **{'device': 'cpu', 'qos_overrides./quality/image.subscription.history': 'keep_all'},
    )
    node.wait_for_output('cannot activate')
    assert 'no queue grows without bounds' in node.output()


@pytest.mark.parametrize(
    ('profile', 'is_allowed'),
    [
        (qos.sensor(), True),
        (qos.latched(), True),
        (qos.reliable(1000), True),
        (qos.reliable(1001), False),
        (QoSProfile(history=HistoryPolicy.KEEP_ALL), False),
    ],
)
def test_only_bounded_queues_are_allowed(profile: QoSProfile, is_allowed: bool) -> None:
    check = qos.overridable().callback
    assert check is not None
    assert check(profile).successful is is_allowed
