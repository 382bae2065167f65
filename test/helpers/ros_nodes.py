"""Fixtures and helpers that start nodes as processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ros_probe import COMMAND_RATE, NodeProcess

from instructseg_ros.tabletop.world.mujoco_model import load_mujoco


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


@pytest.fixture
def rendering() -> None:
    """Skip the test where nothing can be rendered."""
    try:
        load_mujoco().GLContext(32, 24).free()
    except Exception as error:  # Each OpenGL library has errors of its own.
        pytest.skip(f'nothing can be rendered: {error}')


@contextmanager
def active_node(output: Path, namespace: str, **parameters: Any) -> Iterator[NodeProcess]:
    """Run an active segmentation node for patient tests; it must stop without an error."""
    node = NodeProcess(
        'segmentation_node',
        output,
        namespace=namespace,
        parameters={
            'device': 'cpu',
            'max_age': 60.0,
            'image_timeout': 60.0,
            'max_command_rate': COMMAND_RATE,
            **parameters,
        },
    )
    try:
        node.wait_for_output('activate: done')
        yield node
    finally:
        status = node.stop()
    assert status == 0
    assert 'Traceback' not in node.output()
