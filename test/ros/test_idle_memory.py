from __future__ import annotations

import time

import numpy as np
import pytest
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from ros_probe import wait_until

from instructseg_ros.model.frame_buffer import Frame
from instructseg_ros.ros import pipeline
from instructseg_ros.streaming.statistics import Statistics

pytestmark = pytest.mark.ros
AFTER = 60.0  # s
LONG = 1000.0  # s


class CountingStatistics(Statistics):
    """Statistics that count how often somebody asks whether the cameras are silent."""

    asked = 0

    def silence(self) -> float:
        self.asked += 1
        return super().silence()

    def show(self, camera: str, *, silent_since: float) -> None:
        """Note an image of so many seconds ago; negative: the camera stays awake for as long."""
        self.note_frame(
            camera,
            Frame(
                image=np.zeros((2, 2, 3), np.uint8),
                stamp=0,
                arrived=time.monotonic() - silent_since,
            ),
        )


def test_memory_is_returned_once_each_time_that_all_cameras_are_idle(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back: list[bool] = []
    monkeypatch.setattr(pipeline, 'POLL_PERIOD', 0.01)
    monkeypatch.setattr(pipeline, 'release_freed_memory', lambda: given_back.append(True))
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    statistics = CountingStatistics(['front', 'wrist'])

    def given_back_after(camera: str, silent_since: float) -> int:
        statistics.show(camera, silent_since=silent_since)
        enough = statistics.asked + 3
        wait_until(lambda: statistics.asked >= enough, idle=executor.spin_once)
        return len(given_back)

    statistics.show('wrist', silent_since=-LONG)
    watch = pipeline.IdleMemoryTrimmer(node, statistics, after=AFTER)
    assert given_back_after('front', LONG) == 0  # The other one still shows something.
    assert given_back_after('wrist', LONG) == 1
    assert given_back_after('front', -LONG) == 1
    assert given_back_after('front', LONG) == 2
    watch.destroy()
    asked = statistics.asked
    executor.spin_once(timeout_sec=0.1)
    assert statistics.asked == asked
    executor.shutdown()
