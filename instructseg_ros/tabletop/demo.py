"""Runs the demo (`make demo`): a node follows instructions on a simulated camera's images."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from instructseg_ros import interruption
from instructseg_ros.research.evaluation.photographs import (
    PHOTOGRAPHS,
    Photograph,
    read_photographs,
)
from instructseg_ros.ros.launching import NodeProcess
from instructseg_ros.ros.messages import segmentation_from_message
from instructseg_ros.ros.transport import choose_environment
from instructseg_ros.streaming.overlay import draw_overlay
from instructseg_ros.streaming.segmentation import State
from instructseg_ros.tabletop.demo_observer import (
    ANSWER_TIMEOUT,
    CameraFrame,
    Observer,
    ReceivedResult,
)
from instructseg_ros.tabletop.demo_report import (
    ABSENT,
    Answer,
    DemoReport,
    contact_sheet,
    save_video,
)
from instructseg_ros.tabletop.instructions import (
    INSTRUCTION_CATEGORIES,
    TabletopInstruction,
    generate,
)
from instructseg_ros.tabletop.world.scene_graph import SceneGraph

#: Categories of the instructions, in the order in which they are sent.
SCRIPT = (
    *INSTRUCTION_CATEGORIES,
    ABSENT,
    *(name for name, one in INSTRUCTION_CATEGORIES.items() for _ in range(1, one.demo_examples)),
)
FIRST_SCENE = 700_000
PHOTOGRAPH = 'photograph'
SHOWN_PHOTOGRAPHS = 4


@dataclass(frozen=True, kw_only=True)
class ScriptLine:
    """One instruction of the demo; its seed yields the same text again on a similar frame."""

    category: str
    seed: int

    def instruction(self, graph: SceneGraph) -> TabletopInstruction | None:
        """Generate the instruction for a scene graph; None if the scene does not offer one."""
        rng = np.random.default_rng(self.seed)
        if self.category == ABSENT:
            return generate(graph, rng, category='attribute', absent=True)
        return generate(graph, rng, category=self.category)

    def targets(self, sent: TabletopInstruction, graph: SceneGraph) -> frozenset[int]:
        """Return the labels of the objects that the instruction means in a later frame.

        These are the original targets if the scene has changed so much that the seed gives another
        text.
        """
        again = self.instruction(graph)
        return sent.targets if again is None or again.text != sent.text else again.targets


SETTLE = 1.0
PROPOSAL_TIMEOUT = 4.0
VIDEO_SECONDS = 2.0
VIDEO_PERIOD = 0.25
PACE_WARM_UP = 1.0
PACE_SECONDS = 8.0
MAX_SCENES = 12
ANSWERED = (State.FOUND, State.NOT_FOUND)


class Demo(NamedTuple):
    """The report of the demo, and the (H, W, 3) uint8 frames of its video."""

    report: DemoReport
    video: list[np.ndarray]


def run(output: Path, *, model: str, source: str, log: Callable[[str], None]) -> Demo:
    """Run the demo.

    Args:
        output: Folder for the logs of the processes.
        model: `embedded`, a folder or a hub id.
        source: Source of the camera's frames: auto, live or recording.
        log: Receives a line of progress for each instruction.

    Raises:
        RuntimeError: A process ended or did not start in time, or no scene offered an instruction
            of a category.
    """
    choose_environment()
    camera = NodeProcess(
        'sim_camera',
        output / 'sim_camera.log',
        arguments=['-r', '__ns:=/camera'],
        parameters={'source': source, 'scene': FIRST_SCENE},
        room='tabletop',
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
        video: list[np.ndarray] = []
        answers = []
        for number, category in enumerate(SCRIPT):
            answers.append(_ask(observer, number, category, video))
            log(f'"{answers[-1].text}": {answers[-1].state.name}')
        for photograph in read_photographs(PHOTOGRAPHS)[:SHOWN_PHOTOGRAPHS]:
            answers.append(_ask_about(observer, photograph))
            log(f'"{answers[-1].text}" on a photograph: {answers[-1].state.name}')
        fps, ages = _measure_pace(observer, answers[0].text)
    return Demo(DemoReport(answers=answers, fps=fps, ages=ages), video)


def _ask(observer: Observer, number: int, category: str, video: list[np.ndarray]) -> Answer:
    line, instruction = _propose(observer, number, category)
    sent = time.monotonic()
    observer.send_instruction(id=f'demo-{number}', text=instruction.text)
    result = _first_answer(observer, f'demo-{number}')
    if result is None:
        return Answer(text=instruction.text, category=category)
    observer.wait(lambda: observer.frame(result.stamp), timeout=ANSWER_TIMEOUT)
    frame = observer.frame(result.stamp)
    video += _record(observer, f'demo-{number}')
    return Answer(
        text=instruction.text,
        category=category,
        result=segmentation_from_message(result.message),
        latency=result.received - sent,
        image=None if frame is None else frame.image,
        truth=None if frame is None else _truth(line, instruction, frame),
    )


def _ask_about(observer: Observer, photograph: Photograph) -> Answer:
    """Ask the node for the first noun of a photograph."""
    noun = next(iter(photograph.present))
    image, text = np.asarray(photograph.image()), f'the {noun}'
    sent = time.monotonic()
    result = observer.segment(image, text)
    if result is None:
        return Answer(text=text, category=PHOTOGRAPH)
    return Answer(
        text=text,
        category=PHOTOGRAPH,
        result=segmentation_from_message(result.message),
        latency=result.received - sent,
        image=image,
        truth=photograph.truth(noun),
    )


def _propose(
    observer: Observer, number: int, category: str
) -> tuple[ScriptLine, TabletopInstruction]:
    """Try scenes until one offers an instruction of the category."""
    for attempt in range(MAX_SCENES):
        scene = FIRST_SCENE + number + attempt * len(SCRIPT)
        line = ScriptLine(category=category, seed=scene)
        observer.set_scene(scene)
        observer.listen(SETTLE)
        observer.wait(lambda: _instruction(observer, line), timeout=PROPOSAL_TIMEOUT)  # noqa: B023
        instruction = _instruction(observer, line)
        if instruction is not None:
            return line, instruction
    raise RuntimeError(f'{MAX_SCENES} scenes offered no instruction of category "{category}"')


def _instruction(observer: Observer, line: ScriptLine) -> TabletopInstruction | None:
    frame = observer.newest()
    return None if frame is None or frame.graph is None else line.instruction(frame.graph)


def _first_answer(observer: Observer, id: str) -> ReceivedResult | None:
    """Wait for the first FOUND or NOT_FOUND; if none comes, return the last result, if any."""

    def answers() -> list[ReceivedResult]:
        return [
            result
            for result in observer.results
            if result.message.command_id == id and result.message.state in ANSWERED
        ]

    observer.wait(answers, timeout=ANSWER_TIMEOUT)
    failures = [result for result in observer.results if result.message.command_id == id]
    return next(iter(answers() or failures[-1:]), None)


def _truth(line: ScriptLine, instruction: TabletopInstruction, frame: CameraFrame) -> np.ndarray:
    assert frame.graph is not None and frame.labels is not None
    return np.isin(frame.labels, sorted(line.targets(instruction, frame.graph)))


def _record(observer: Observer, id: str) -> list[np.ndarray]:
    """Watch an instruction for a while; return overlays of its results at a steady rate."""
    observer.listen(VIDEO_SECONDS)
    overlays: list[np.ndarray] = []
    last = float('-inf')
    for result in observer.results:
        frame = observer.frame(result.stamp)
        if (
            result.message.command_id != id
            or frame is None
            or frame.image is None
            or result.stamp - last < 0.9e9 * VIDEO_PERIOD
        ):
            continue
        last = result.stamp
        overlays.append(draw_overlay(frame.image, segmentation_from_message(result.message)))
    return overlays


def _measure_pace(observer: Observer, text: str) -> tuple[float, list[float]]:
    """Unsubscribe from the camera, then return results per second and their ages in seconds."""
    observer.stop_watching()
    observer.send_instruction(id='budget', text=text)
    observer.listen(PACE_WARM_UP)
    observer.results.clear()
    observer.listen(PACE_SECONDS)
    received = [result for result in observer.results if result.message.state in ANSWERED]
    return len(received) / PACE_SECONDS, [1e-9 * (one.arrival - one.stamp) for one in received]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo, write its files and print its table; return 0 if it passed."""
    interruption.raise_again()
    options = _parse(arguments)
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        report, video = run(
            options.output,
            model=options.model,
            source=options.source,
            log=lambda text: print(text, flush=True),
        )
    except (OSError, RuntimeError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    (options.output / 'demo.json').write_text(json.dumps(report.to_json(), indent=2) + '\n')
    contact_sheet(report.answers).save(options.output / 'demo.png')
    if video:
        save_video(video, options.output / 'demo.gif', seconds_per_frame=VIDEO_PERIOD)
    print(f'\n{report.to_table()}\nSee {options.output}/demo.png, demo.gif and demo.json.')
    return 1 if report.shortcomings() else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='python -m instructseg_ros.tabletop.demo',
        description='Start a simulated camera and the segmentation node, send instructions of '
        'every category and compare the masks with the ground truth.',
    )
    parser.add_argument(
        '--output',
        type=Path,
        default=Path('demo'),
        help='folder for images, figures and logs (default: demo)',
    )
    parser.add_argument(
        '--model',
        default='embedded',
        help='embedded, a folder or a Hugging Face model id (default: embedded)',
    )
    parser.add_argument(
        '--source',
        choices=('auto', 'live', 'recording'),
        default='auto',
        help='render frames live, play the recording, or auto: live if possible (default: auto)',
    )
    return parser.parse_args(arguments)


if __name__ == '__main__':
    sys.exit(main())
