"""Nodes as real processes in a ROS domain of this test session's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
from rclpy.node import Node
from ros_domain import domain  # noqa: F401
from ros_probe import COMMAND_RATE, NodeProcess, Probe


@pytest.fixture
def run_process(tmp_path: Path) -> Iterator[Callable[..., NodeProcess]]:
    """Return a function that starts a node process; all are ended afterwards."""
    started: list[NodeProcess] = []

    def run(module: str, *, namespace: str = '/', **parameters: Any) -> NodeProcess:
        output = tmp_path / f'{module}-{len(started)}.txt'
        started.append(NodeProcess(module, output, parameters=parameters, namespace=namespace))
        return started[-1]

    yield run
    for node in started:
        if node.process.poll() is None:
            node.stop()


@pytest.fixture(scope='session')
def robot(
    domain: None,  # noqa: F811
    tiny_model_dir: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[NodeProcess]:
    """The segmentation node in the namespace /robot, active, with a tiny model."""
    node = NodeProcess(
        'segmentation_node',
        tmp_path_factory.mktemp('robot') / 'output.txt',
        namespace='/robot',
        parameters={
            'model': tiny_model_dir,
            'device': 'cpu',
            'max_age': 60.0,
            'image_timeout': 60.0,
            'max_command_rate': COMMAND_RATE,
        },
    )
    try:
        node.wait_for_output('activate: done')
        yield node
    finally:
        status = node.stop()
    assert status == 0
    assert 'Traceback' not in node.output()


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
