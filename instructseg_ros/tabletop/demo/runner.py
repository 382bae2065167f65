"""Runs the demo: processes, instructions, results and timing."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from instructseg_ros.ros.launching import NodeProcess
from instructseg_ros.ros.messages import segmentation_from_message
from instructseg_ros.ros.transport import choose_environment
from instructseg_ros.streaming.overlay import draw_overlay
from instructseg_ros.streaming.segmentation import State
from instructseg_ros.tabletop.demo.observer import ANSWER_TIMEOUT, Heard, Moment, Observer
from instructseg_ros.tabletop.demo.report import ABSENT, Answer, Report
from instructseg_ros.tabletop.instructions import TabletopInstruction, generate
from instructseg_ros.tabletop.world.scene_graph import SceneGraph

#: Kinds of the instructions, in the order in which they are given.
KINDS = (
    'attribute',
    'superlative',
    'relation',
    'plural',
    'use',
    'motion',
    ABSENT,
    'attribute',
    'relation',
    'motion',
)
FIRST_SCENE = 700_000


@dataclass(frozen=True, kw_only=True)
class Line:
    """One instruction of the script; the same seed gives the same words in a similar scene."""

    kind: str
    seed: int

    def instruction(self, graph: SceneGraph) -> TabletopInstruction | None:
        """Return the instruction over a scene, or None where the scene cannot give one."""
        rng = np.random.default_rng(self.seed)
        if self.kind == ABSENT:
            return generate(graph, rng, kind='attribute', absent=True)
        return generate(graph, rng, kind=self.kind)

    def targets(self, given: TabletopInstruction, graph: SceneGraph) -> frozenset[int]:
        """Return what the instruction means in a later frame of the scene it was given for.

        Where the scene has changed so much that the same seed gives other words, it is what was
        meant at first.
        """
        again = self.instruction(graph)
        return given.targets if again is None or again.text != given.text else again.targets


SETTLE = 1.0
PROPOSAL_TIMEOUT = 4.0
FILM_SECONDS = 2.0
FILM_PERIOD = 0.25
PACE_WARM_UP = 1.0
PACE_SECONDS = 8.0
SCENES_TRIED = 12
ANSWERED = (State.FOUND, State.NOT_FOUND)


class Demo(NamedTuple):
    """Figures of the demo and (H, W, 3) uint8 frames of its film."""

    report: Report
    film: list[np.ndarray]


def run(output: Path, *, model: str, source: str, say: Callable[[str], None]) -> Demo:
    """Run the demo; logs of its processes go to `output`, and `say` gets its progress.

    Raises:
        RuntimeError: A process has ended, or the scenes give no instruction.
    """
    choose_environment()
    camera = NodeProcess(
        'sim_camera',
        output / 'sim_camera.log',
        arguments=['-r', '__ns:=/camera'],
        parameters={'source': source, 'scene': FIRST_SCENE},
    )
    node = NodeProcess(
        'segmentation_node',
        output / 'segmentation_node.log',
        arguments=['-r', 'image:=camera/image'],
        parameters={'model': model},
    )

    def check() -> None:
        camera.check()
        node.check()

    with camera, node, Observer(check) as observer:
        film: list[np.ndarray] = []
        answers = []
        for number, kind in enumerate(KINDS):
            answers.append(_ask(observer, number, kind, film))
            say(f'"{answers[-1].text}": {answers[-1].state.name}')
        fps, ages = _measure_pace(observer, answers[0].text)
    return Demo(Report(answers=answers, fps=fps, ages=ages), film)


def _ask(observer: Observer, number: int, kind: str, film: list[np.ndarray]) -> Answer:
    line, instruction = _propose(observer, number, kind)
    given = time.monotonic()
    observer.give(id=f'demo-{number}', text=instruction.text)
    heard = _first_answer(observer, f'demo-{number}')
    if heard is None:
        return Answer(text=instruction.text, kind=kind)
    observer.wait(lambda: observer.moment(heard.stamp), timeout=ANSWER_TIMEOUT)
    moment = observer.moment(heard.stamp)
    film += _shoot(observer, f'demo-{number}')
    return Answer(
        text=instruction.text,
        kind=kind,
        result=segmentation_from_message(heard.message),
        latency=heard.heard - given,
        image=None if moment is None else moment.image,
        truth=None if moment is None else _truth(line, instruction, moment),
    )


def _propose(observer: Observer, number: int, kind: str) -> tuple[Line, TabletopInstruction]:
    """Lay scenes until one gives an instruction of the kind."""
    for attempt in range(SCENES_TRIED):
        scene = FIRST_SCENE + number + attempt * len(KINDS)
        line = Line(kind=kind, seed=scene)
        observer.lay(scene)
        observer.spend(SETTLE)
        observer.wait(lambda: _instruction(observer, line), timeout=PROPOSAL_TIMEOUT)  # noqa: B023
        instruction = _instruction(observer, line)
        if instruction is not None:
            return line, instruction
    raise RuntimeError(f'{SCENES_TRIED} scenes gave no instruction of the kind "{kind}"')


def _instruction(observer: Observer, line: Line) -> TabletopInstruction | None:
    moment = observer.newest()
    return None if moment is None or moment.graph is None else line.instruction(moment.graph)


def _first_answer(observer: Observer, id: str) -> Heard | None:
    """Wait for a result that says found or not found; else return the last that came, if any."""

    def answers() -> list[Heard]:
        return [
            heard
            for heard in observer.results
            if heard.message.command_id == id and heard.message.state in ANSWERED
        ]

    observer.wait(answers, timeout=ANSWER_TIMEOUT)
    failures = [heard for heard in observer.results if heard.message.command_id == id]
    return next(iter(answers() or failures[-1:]), None)


def _truth(line: Line, instruction: TabletopInstruction, moment: Moment) -> np.ndarray:
    assert moment.graph is not None and moment.labels is not None
    return np.isin(moment.labels, sorted(line.targets(instruction, moment.graph)))


def _shoot(observer: Observer, id: str) -> list[np.ndarray]:
    """Watch an instruction for a while; return pictures of its results, evenly in time."""
    observer.spend(FILM_SECONDS)
    pictures: list[np.ndarray] = []
    last = float('-inf')
    for heard in observer.results:
        moment = observer.moment(heard.stamp)
        if (
            heard.message.command_id != id
            or moment is None
            or moment.image is None
            or heard.stamp - last < 0.9e9 * FILM_PERIOD
        ):
            continue
        last = heard.stamp
        pictures.append(draw_overlay(moment.image, segmentation_from_message(heard.message)))
    return pictures


def _measure_pace(observer: Observer, text: str) -> tuple[float, list[float]]:
    """Return results per second and their ages in s, with nobody else watching the camera."""
    observer.look_away()
    observer.give(id='budget', text=text)
    observer.spend(PACE_WARM_UP)
    observer.results.clear()
    observer.spend(PACE_SECONDS)
    heard = [heard for heard in observer.results if heard.message.state in ANSWERED]
    return len(heard) / PACE_SECONDS, [1e-9 * (one.arrival - one.stamp) for one in heard]
