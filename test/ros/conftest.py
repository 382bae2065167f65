"""Nodes as real processes in a ROS domain of this test session's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import rclpy
from rclpy.node import Node
from ros_domain import domain  # noqa: F401
from ros_nodes import active_node, run_process  # noqa: F401
from ros_probe import NodeProcess, Probe


@pytest.fixture(scope='session')
def robot(
    domain: None,  # noqa: F811
    tiny_model_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[NodeProcess]:
    """The segmentation node in the namespace /robot, active, with a tiny model."""
    output = tmp_path_factory.mktemp('robot') / 'output.txt'
    with active_node(output, '/robot', model=tiny_model_dir) as node:
        yield node


@pytest.fixture(scope='module')
def discovered(robot: NodeProcess) -> Iterator[Probe]:
    """A probe that the robot has met: discovery takes longer than most tests."""
    probe = Probe('/robot')
    try:
        probe.wait_for_node()
        probe.begin_test()
        yield probe
    finally:
        probe.close()


@pytest.fixture
def probe(robot: NodeProcess, discovered: Probe) -> Iterator[Probe]:
    """A probe for the robot, which has one image and no active instruction, before and after."""
    yield discovered
    discovered.begin_test()
    assert robot.process.poll() is None, robot.output()


@pytest.fixture
def certain(probe: Probe) -> Iterator[None]:
    """Let the model with random weights find whatever it is asked for."""
    probe.set_threshold(0.0)
    yield
    probe.set_threshold(-1.0)


@pytest.fixture
def doubtful(probe: Probe) -> Iterator[None]:
    """Let the model find nothing."""
    probe.set_threshold(1.0)
    yield
    probe.set_threshold(-1.0)


@pytest.fixture
def node(domain: None) -> Iterator[Node]:  # noqa: F811
    """A node of this process."""
    context = rclpy.Context()
    rclpy.init(context=context)
    made = rclpy.create_node('mine', context=context)
    yield made
    made.destroy_node()
    rclpy.try_shutdown(context=context)
