from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from builtin_interfaces.msg import Time
from ros_probe import TIMEOUT, NodeProcess, Probe
from rosgraph_msgs.msg import Clock
from std_msgs.msg import Header

from instructseg_ros.msg import Segmentation

pytestmark = pytest.mark.ros

SEEN = (Segmentation.FOUND, Segmentation.NOT_FOUND)


class Player:
    """Plays a recording: simulated time, and an image at each moment."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._clock = probe.node.create_publisher(Clock, '/clock', 10)

    def play(self, start: float, count: int) -> list[Segmentation]:
        """Return the answer on each of some images, 0.2 s apart."""
        return [self._show(start + 0.2 * number) for number in range(count)]

    def clock(self, seconds: float) -> None:
        """Set simulated time."""
        self._clock.publish(Clock(clock=time(seconds)))
        self._probe.spin(0.1)

    def _show(self, seconds: float) -> Segmentation:
        self.clock(seconds)
        header = self._probe.show(header=Header(stamp=time(seconds), frame_id='optical'))
        return self._probe.answer_to(header)


@pytest.fixture
def player(
    run_process: Callable[..., NodeProcess], tiny_model_dir: Path
) -> Iterator[tuple[Player, Probe]]:
    node = run_process(
        'segmentation_node',
        namespace='/replay',
        model=tiny_model_dir,
        device='cpu',
        use_sim_time=True,
        max_age=60.0,
        image_timeout=60.0,
    )
    node.wait_for_output('activate: done')
    probe = Probe('/replay')
    probe.wait_for_node()
    player = Player(probe)
    probe.wait(player._clock.get_subscription_count)
    yield player, probe
    probe.close()
    assert 'Traceback' not in node.output()


def seconds(time: Time) -> float:
    return time.sec + time.nanosec * 1e-9


def time(seconds: float) -> Time:
    return Time(sec=int(seconds), nanosec=round(seconds % 1.0 * 1e9))


def test_in_simulated_time_results_are_stamped_by_the_clock_that_is_played(
    player: tuple[Player, Probe],
) -> None:
    play, probe = player
    probe.request(id='mug', instruction='the red mug')
    probe.settle()
    for result in play.play(100.0, 3):
        assert result.state in SEEN
        for time in (result.received, result.started, result.finished):
            # The clock of the wall is decades ahead.
            assert 0.0 <= seconds(time) - seconds(result.header.stamp) < TIMEOUT
        assert seconds(result.latency) > 0.0  # by a clock that goes on


def test_a_recording_that_starts_over_is_answered_from_its_first_image_on(
    player: tuple[Player, Probe],
) -> None:
    play, probe = player
    probe.request(id='mug', instruction='the red mug')
    probe.settle()
    play.play(100.0, 4)
    [first, *_, last] = play.play(100.0, 4)
    assert first.state in SEEN and last.state in SEEN
    assert first.reference_frames == 0  # none from the future
    assert last.reference_frames > 0


def test_a_clock_that_jumps_ahead_or_back_ends_no_instruction(player: tuple[Player, Probe]) -> None:
    play, probe = player
    probe.request(id='mug', instruction='the red mug', lifetime=Segmentation().latency)
    probe.settle()
    for start in (100.0, 100_000.0, 5.0):
        assert all(result.state in SEEN for result in play.play(start, 2))
    assert not [result for result in probe.results if result.final]


def test_a_frame_from_before_a_jump_back_of_the_clock_is_answered_without_a_negative_age(
    player: tuple[Player, Probe],
) -> None:
    play, probe = player
    probe.request(id='mug', instruction='the red mug')
    probe.settle()
    play.play(100_000.0, 2)
    play.clock(5.0)
    for stamp in (100_000.4, 5.2):
        header = probe.show(header=Header(stamp=time(stamp), frame_id='optical'))
        result = probe.answer_to(header)
        assert result.state in SEEN
        times = (result.header.stamp, result.received, result.started, result.finished)
        assert sorted(map(seconds, times)) == [seconds(each) for each in times]
        assert seconds(result.finished) < stamp + TIMEOUT


def test_images_without_a_stamp_have_references_and_the_log_names_the_remedy_once(
    probe: Probe, robot: NodeProcess
) -> None:
    probe.request(id='mug', instruction='the red mug')
    references = 0
    while not references:
        result = probe.answer_to(probe.show(header=Header(frame_id='optical')))
        assert result.state in SEEN
        references = result.reference_frames
        probe.spin(0.1)
    robot.wait_for_output('images on /robot/image have no stamp (all zeros)')
    assert robot.output().count('have no stamp') == 1
    assert 'let the camera driver set header.stamp to the time of exposure' in robot.output()


def test_a_result_without_an_image_has_its_time(probe: Probe) -> None:
    probe.request(id='mug', instruction='the red mug')
    probe.request(id='mug', instruction='the bowl')
    rejected = probe.answer(lambda result: result.state == Segmentation.REJECTED)
    probe.request(id='mug')
    expired = probe.answer(lambda result: result.state == Segmentation.EXPIRED)
    for result in (rejected, expired):
        assert seconds(result.finished) > 0.0
        assert result.header.stamp == result.received == result.started == result.finished
