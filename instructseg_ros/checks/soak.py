"""A long trial: hostile input, floods, dropouts, restarts, a stopped and a killed node."""

from __future__ import annotations

import dataclasses
import signal
import statistics
import time
from array import array
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from sensor_msgs.msg import Image

from instructseg_ros.checks.abuse import Tally, abuse, request, resident_memory_of
from instructseg_ros.checks.hostile_input import HostileInput, catalogue
from instructseg_ros.checks.node_tester import NAMESPACE, Tester
from instructseg_ros.ros import qos
from instructseg_ros.ros.processes import NodeProcess

IMAGE_TIMEOUT: Final = 2.0  # s
REST: Final = 1.0  # s from the word that a camera is silent until its memory is given back
WARM_UP: Final = 0.25  # share of the time after which memory should no longer grow
KILLS: Final = 3


def start_node(log: Path, *, model: str = 'embedded', device: str = 'auto') -> NodeProcess:
    """Start a node with the cameras front (raw) and wrist (compressed)."""
    return NodeProcess(
        'segmentation_node',
        log,
        arguments=['-r', f'__ns:={NAMESPACE}'],
        parameters={
            'model': model,
            'device': device,
            'cameras': '[front, wrist]',
            'image_transports': '[raw, compressed]',
            'max_instructions': 8,
            'image_timeout': IMAGE_TIMEOUT,
            'max_age': 5.0,
        },
    )


def soak(
    log: Path,
    *,
    minutes: float,
    model: str = 'embedded',
    device: str = 'auto',
    tell: Callable[[str], object] = print,
) -> dict[str, Any]:
    """Try a node for some minutes.

    Args:
        log: File for the node's output.
        minutes: For how long; kills of the node come after that.
        model: As the parameter of the node.
        device: As the parameter of the node.
        tell: Is told what goes on.

    Returns:
        The counts of `Tally`, `memory_growth` (the share by which the resident memory of the node
        at rest grew from the first quarter of the time to its end), that memory each time that it
        was at rest and its peak, and the names of what was not explained.
    """
    with start_node(log, model=model, device=device) as process:
        tester = Tester(process)
        try:
            tally, memory = _try(tester, minutes, tell)
        finally:
            tester.close()
    return {
        **dataclasses.asdict(tally),
        'unexplained': len(tally.unexplained),
        'unexplained_inputs': sorted(set(tally.unexplained)),
        'memory_growth': round(memory_growth(memory.at_rest), 4),
        'memory_at_rest_mb': [round(sample / 1e6) for sample in memory.at_rest],
        'memory_peak_mb': round(memory.peak / 1e6),
        'minutes': minutes,
        'kinds': len(catalogue()),
    }


@dataclasses.dataclass(kw_only=True)
class Memory:
    """Resident memory of a node, in bytes.

    Attributes:
        at_rest: Each time that its cameras rested. What it holds while they run depends on how
            many large images were under way at once, and says little of leaks.
        peak: The most of all times.
    """

    at_rest: list[int] = dataclasses.field(default_factory=list)
    peak: int = 0

    def note(self, resident: int, *, at_rest: bool) -> None:
        """Take a sample."""
        self.peak = max(self.peak, resident)
        if at_rest:
            self.at_rest.append(resident)


def memory_growth(samples: list[int]) -> float:
    """Share by which the last tenth of samples is above the tenth after the warm-up."""
    if not samples:
        return 0.0
    tenth = max(1, len(samples) // 10)
    early = samples[int(len(samples) * WARM_UP) :][:tenth]
    return statistics.median(samples[-tenth:]) / statistics.median(early) - 1.0


def _try(tester: Tester, minutes: float, tell: Callable[[str], object]) -> tuple[Tally, Memory]:
    tally, memory = Tally(), Memory()
    if not tester.begin():
        raise RuntimeError(f'the node did not answer; see {tester.process.log}')
    deadline = time.monotonic() + 60.0 * minutes
    for name, phase in _phases():
        tell(name)
        phase(tester, tally)
        memory.note(resident_memory_of(tester.process.pid), at_rest=phase is _drop_out)
        request(tester, tally)
        if time.monotonic() > deadline:
            break
    tell('killing the node')
    for _ in range(KILLS):
        _kill(tester, tally)
    tally.header_mismatches = tester.mismatches
    return tally, memory


def _phases() -> Iterator[tuple[str, Callable[[Tester, Tally], None]]]:
    """Yield what is done, over and over."""
    inputs = catalogue()
    hard = [
        ('dropping out', _drop_out),
        ('images of 1080p at 60 Hz', _flood_with_images),
        ('50 instructions a second', _flood_with_commands),
        ('restarting the camera', _restart_camera),
        ('stopping the node', _stop_and_go_on),
    ]
    while True:
        for index, (name, phase) in enumerate(hard):
            part = inputs[index :: len(hard)]
            yield 'hostile input', partial(_abuse, part)
            yield name, phase


def _abuse(inputs: list[HostileInput], tester: Tester, tally: Tally) -> None:
    abuse(tester, inputs, tally)


def _drop_out(tester: Tester, tally: Tally) -> None:
    """Let both cameras be silent until the node says so and has given memory back."""
    tester.request()
    since = len(tester.heard)
    if not tester.wait(
        lambda: any('no image for' in each for each in tester.heard[since:]),
        timeout=5.0 * IMAGE_TIMEOUT,
    ):
        tally.unexplained.append('a camera that stops')
    tester.listen(REST)
    tally.bad_inputs += 1


def _flood_with_images(tester: Tester, tally: Tally) -> None:
    pixels = array('B', bytes(1920 * 1080 * 3))
    begun = time.monotonic()
    for number in range(180):
        tester.show(tester.image(height=1080, width=1920, step=5760, encoding='bgr8', data=pixels))
        tester.listen(max(0.0, begun + number / 60 - time.monotonic()))
    tester.listen(1.0)
    tally.bad_inputs += 1


def _flood_with_commands(tester: Tester, tally: Tally) -> None:
    """Send fifty commands a second; each must end in exactly one final state."""
    sent = [f'many{time.monotonic_ns()}_{number}' for number in range(150)]
    already = len(tester.finals)
    for id in sent:
        tester.ask(id=id, instruction='the blue bowl', slot='many')
        tester.listen(0.02)
    tester.wait(lambda: len(set(tester.finals[already:]) & set(sent)) >= len(sent) - 1, timeout=5.0)
    tester.listen(3.0)  # until the bucket has tokens again
    tester.ask(id='last', instruction='the blue bowl', slot='many')
    tester.ask(id='last')
    tester.wait(lambda: 'last' in tester.finals[already:], timeout=5.0)
    ends = [id for id in tester.finals[already:] if id in sent]
    if sorted(ends) != sorted(sent):
        tally.unexplained.append('commands that do not end exactly once')
    tally.bad_inputs += len(sent)


def _restart_camera(tester: Tester, tally: Tally) -> None:
    tester.node.destroy_publisher(tester.images)
    tester.listen(1.0)
    tester.images = tester.node.create_publisher(Image, 'front/image', qos.reliable())
    tester.wait(tester.images.get_subscription_count)
    tester.listen(1.0)  # the node's side may see the new camera a little later
    tally.bad_inputs += 1


def _stop_and_go_on(tester: Tester, tally: Tally) -> None:
    tester.process.send(signal.SIGSTOP)
    for _ in range(20):
        tester.show(tester.image())
        tester.listen(0.1)
    tester.process.send(signal.SIGCONT)
    tester.listen(0.5)
    tally.bad_inputs += 1


def _kill(tester: Tester, tally: Tally) -> None:
    tester.process.send(signal.SIGKILL)
    tester.process.respawn()
    tally.restarts_survived += tester.begin()
    request(tester, tally)
