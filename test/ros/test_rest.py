from __future__ import annotations

import time

import numpy as np
import pytest
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from instructseg_ros.ros import rest
from instructseg_ros.streaming.frame_buffer import Frame
from instructseg_ros.streaming.statistics import Statistics

pytestmark = pytest.mark.ros
AFTER = 0.3  # s


def spin(node: Node, seconds: float) -> None:
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        executor.spin_once(timeout_sec=0.05)
    executor.shutdown()


def show(statistics: Statistics, camera: str) -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    statistics.note_frame(camera, Frame(image=image, stamp=0, arrived=time.monotonic()))


def test_memory_is_given_back_once_each_time_that_all_cameras_rest(
        node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    given_back: list[float] = []
    monkeypatch.setattr(rest, 'PERIOD', 0.1)
    monkeypatch.setattr(
        rest, 'release_freed_memory', lambda: given_back.append(time.monotonic()))
    statistics = Statistics(['front', 'wrist'])
    show(statistics, 'front')
    watch = rest.Rest(node, statistics, after=AFTER)
    spin(node, 0.2)
    show(statistics, 'wrist')
    spin(node, 0.2)
    assert not given_back  # one of them still shows something
    spin(node, 2 * AFTER)
    assert len(given_back) == 1
    show(statistics, 'front')
    spin(node, 2 * AFTER + 0.2)
    assert len(given_back) == 2
    watch.destroy()
    show(statistics, 'front')
    spin(node, 2 * AFTER)
    assert len(given_back) == 2
