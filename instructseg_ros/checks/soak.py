"""Soak test of a node: floods, camera dropouts and restarts, a suspended and a killed node."""

from __future__ import annotations

import dataclasses
import itertools
import resource
import signal
import statistics
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from sensor_msgs.msg import Image

from instructseg_ros.checks.node_tester import NodeTester, start_node
from instructseg_ros.ros import qos

IMAGE_TIMEOUT: Final = 2.0  # s
TRIM_TIME: Final = 1.0  # s from the report of a dropout until the node has returned freed memory
WARM_UP: Final = 0.25  # share of the time after which memory should no longer grow
KILLS: Final = 3


@dataclasses.dataclass(kw_only=True)
class Tally:
    """Counts of a soak test.

    Attributes:
        valid_requests: Valid images published between the disturbances.
        unanswered: Valid images without a result for the steady instruction.
        disturbances: Dropouts, image floods, camera restarts, suspensions and commands of floods.
        failures: Expected reactions that did not occur.
        header_mismatches: Results whose header fits no image, or differs from their mask's.
        restarts_survived: Number of kills after which the node, restarted, gave results again.
    """

    valid_requests: int = 0
    unanswered: int = 0
    disturbances: int = 0
    failures: list[str] = dataclasses.field(default_factory=list)
    header_mismatches: int = 0
    restarts_survived: int = 0


@dataclasses.dataclass(kw_only=True)
class MemorySamples:
    """Resident memory of a node, in bytes.

    Attributes:
        idle: Samples while no camera publishes. Other samples depend on the number of large images
            in progress, and say little about leaks.
        peak: The highest of all samples.
    """

    idle: list[int] = dataclasses.field(default_factory=list)
    peak: int = 0

    def add(self, resident: int, *, idle: bool) -> None:
        """Add a sample."""
        self.peak = max(self.peak, resident)
        if idle:
            self.idle.append(resident)

    def growth(self) -> float:
        """Return the relative growth of idle memory from warm-up to the last tenth of samples."""
        if not self.idle:
            return 0.0
        tenth = max(1, len(self.idle) // 10)
        early = self.idle[int(len(self.idle) * WARM_UP) :][:tenth]
        return statistics.median(self.idle[-tenth:]) / statistics.median(early) - 1.0


def soak(
    log: Path,
    *,
    minutes: float,
    model: str = 'embedded',
    device: str = 'auto',
    report: Callable[[str], object] = print,
) -> dict[str, Any]:
    """Disturb a node for some minutes, and check that it keeps publishing results.

    Args:
        log: File for the output of the node.
        minutes: Duration, not counting the kills.
        model: Value of the node's parameter `model`.
        device: Value of the node's parameter `device`.
        report: Called with the name of each phase.

    Returns:
        The counts of `Tally`; `memory_growth`, the fraction by which idle memory grew after the
        warm-up; the idle memory in each dropout; and the peak.
    """
    with start_node(log, model=model, device=device, image_timeout=IMAGE_TIMEOUT) as process:
        tester = NodeTester(process)
        try:
            tally, memory = _run(tester, minutes, report)
        finally:
            tester.close()
    return {
        **dataclasses.asdict(tally),
        'memory_growth': round(memory.growth(), 4),
        'memory_idle_mb': [round(sample / 1e6) for sample in memory.idle],
        'memory_peak_mb': round(memory.peak / 1e6),
        'minutes': minutes,
    }


def is_passed(report: dict[str, Any]) -> bool:
    """Return whether a report of `soak` shows no fault and no growth of memory."""
    faults = ('unanswered', 'failures', 'header_mismatches')
    return not any(report[name] for name in faults) and report['memory_growth'] < 0.01


def resident_memory_of(pid: int) -> int:
    """Return the resident memory of another process, bytes."""
    return int(Path(f'/proc/{pid}/statm').read_text().split()[1]) * resource.getpagesize()


def _run(
    tester: NodeTester, minutes: float, report: Callable[[str], object]
) -> tuple[Tally, MemorySamples]:
    tally, memory = Tally(), MemorySamples()
    if not tester.connect():
        raise RuntimeError(f'the node did not answer; see {tester.process.log}')
    deadline = time.monotonic() + 60.0 * minutes
    phases: tuple[tuple[str, Callable[[NodeTester, Tally], None]], ...] = (
        ('camera dropout', _drop_out),
        ('1080p images at 60 Hz', _flood_with_images),
        ('50 commands per second', _flood_with_commands),
        ('camera restart', _restart_camera),
        ('suspended node', _suspend_node),
    )
    for name, phase in itertools.cycle(phases):
        report(name)
        phase(tester, tally)
        memory.add(resident_memory_of(tester.process.pid), idle=phase is _drop_out)
        _request(tester, tally)
        if time.monotonic() > deadline:
            break
    report('killed node')
    for _ in range(KILLS):
        _kill(tester, tally)
    tally.header_mismatches = tester.mismatches
    return tally, memory


def _request(tester: NodeTester, tally: Tally) -> None:
    tally.valid_requests += 1
    tally.unanswered += not tester.request()


def _drop_out(tester: NodeTester, tally: Tally) -> None:
    """Stop both cameras until the node has reported that and returned freed memory."""
    tester.request()
    since = len(tester.reasons)
    if not tester.wait(
        lambda: any('no image for' in each for each in tester.reasons[since:]),
        timeout=5.0 * IMAGE_TIMEOUT,
    ):
        tally.failures.append('report of a camera dropout')
    tester.spin(TRIM_TIME)
    tally.disturbances += 1


def _flood_with_images(tester: NodeTester, tally: Tally) -> None:
    pixels = array('B', bytes(1920 * 1080 * 3))
    begun = time.monotonic()
    for number in range(180):
        tester.publish_image(
            tester.image(height=1080, width=1920, step=5760, encoding='bgr8', data=pixels)
        )
        tester.spin(max(0.0, begun + number / 60 - time.monotonic()))
    tester.spin(1.0)
    tally.disturbances += 1


def _flood_with_commands(tester: NodeTester, tally: Tally) -> None:
    """Send fifty commands per second; each must have exactly one final result."""
    sent = [f'many{time.monotonic_ns()}_{number}' for number in range(150)]
    already = len(tester.ended)
    for id in sent:
        tester.send(id=id, instruction='the blue bowl', slot='many')
        tester.spin(0.02)
    tester.wait(lambda: len(set(tester.ended[already:]) & set(sent)) >= len(sent) - 1, timeout=5.0)
    tester.spin(3.0)  # until the rate limit accepts commands again
    tester.send(id='last', instruction='the blue bowl', slot='many')
    tester.send(id='last')
    tester.wait(lambda: 'last' in tester.ended[already:], timeout=5.0)
    if sorted(id for id in tester.ended[already:] if id in sent) != sorted(sent):
        tally.failures.append('one final result of each command')
    tally.disturbances += len(sent)


def _restart_camera(tester: NodeTester, tally: Tally) -> None:
    tester.node.destroy_publisher(tester.images)
    tester.spin(1.0)
    tester.images = tester.node.create_publisher(Image, 'front/image', qos.reliable())
    tester.wait(tester.images.get_subscription_count)
    tester.spin(1.0)  # the node may discover the new publisher a little later
    tally.disturbances += 1


def _suspend_node(tester: NodeTester, tally: Tally) -> None:
    tester.process.send(signal.SIGSTOP)
    for _ in range(20):
        tester.publish_image(tester.image())
        tester.spin(0.1)
    tester.process.send(signal.SIGCONT)
    tester.spin(0.5)
    tally.disturbances += 1


def _kill(tester: NodeTester, tally: Tally) -> None:
    tester.process.send(signal.SIGKILL)
    tester.process.respawn()
    tally.restarts_survived += tester.connect()
    _request(tester, tally)
