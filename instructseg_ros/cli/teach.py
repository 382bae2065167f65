"""`instructseg teach`, `forget` and `words`: what a model knows, and how it learns more."""

from __future__ import annotations

import argparse
import json
import os
import sys
import textwrap
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from instructseg_ros.cli.arguments import (
    Subparsers,
    add_ros_args,
    add_threads,
    positive,
    ros_args,
    set_threads,
)

if TYPE_CHECKING:
    from instructseg_ros.teaching.capture import CaptureProgress, ShownFrame
    from instructseg_ros.teaching.examples import Example
    from instructseg_ros.teaching.trainer import Progress

_NICE: Final = 10  # of a teaching, so that a robot's other processes go first
_WIDTH: Final = 96  # of a list, characters


def add(commands: Subparsers) -> None:
    """Add the commands of this module."""
    _add_teach(commands)
    _add_forget(commands)
    _add_words(commands)


def _add_teach(commands: Subparsers) -> None:
    parser = commands.add_parser(
        'teach',
        help='teach a model new objects from a handful of pictures',
        description='Makes a model that knows new objects. Examples are labelled pictures (--data) '
        'or frames in which the object is shown alone on a table (--camera, --bag). Takes minutes '
        'on a CPU. Started again after a kill, it resumes; Ctrl-C keeps the best so far.',
    )
    parser.add_argument('names', nargs='+', metavar='NAME', help='noun in singular, as "stapler"')
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        '--data',
        type=Path,
        help='labelled pictures: COCO, labelme or VIA JSON, a folder with annotations.jsonl, a bag '
        'with labels',
    )
    source.add_argument('--camera', help='show the object to this camera; "" is the topic `image`')
    source.add_argument('--bag', type=Path, help='the object was shown in this recording')
    _add_output(parser)
    parser.add_argument(
        '--count', type=positive, default=10, help='frames to capture of a shown object'
    )
    parser.add_argument(
        '--empty-table',
        type=Path,
        metavar='PICTURE',
        help='picture of the table without the object, for cameras without depth',
    )
    parser.add_argument(
        '--hold-out',
        nargs='+',
        default=[],
        metavar='ID',
        help='pictures of --data that are only measured: COCO ids or file names',
    )
    parser.add_argument(
        '--add', action='store_true', help='add examples of a noun that the model knows'
    )
    parser.add_argument('--timeout', type=float, default=20.0, help='seconds to wait for images')
    add_ros_args(parser)
    parser.set_defaults(run=_teach)


def _add_forget(commands: Subparsers) -> None:
    parser = commands.add_parser('forget', help='make a model without some of its taught objects')
    parser.add_argument('names', nargs='+', metavar='NAME', help='a noun that the model was taught')
    _add_output(parser)
    parser.set_defaults(run=_forget)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--model', default='embedded', help='the model to start from; stays as is')
    parser.add_argument(
        '-o', '--output', type=Path, help='folder of the new model (default: taught/NAMES)'
    )
    parser.add_argument(
        '--steps', type=positive, default=900, help='steps of the training (default: 900)'
    )
    parser.add_argument(
        '--check-scenes',
        type=_not_negative,
        default=4,
        metavar='N',
        help='simulated scenes that compare what both models knew before; 0: none (default: 4)',
    )
    add_threads(parser)


def _not_negative(text: str) -> int:
    """Parse a whole number of at least 0."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError('must be at least 0')
    return value


def _add_words(commands: Subparsers) -> None:
    parser = commands.add_parser('words', help='list the nouns that a model knows')
    parser.add_argument('--model', default='embedded', help='"embedded", a folder or a hub id')
    parser.add_argument('--json', action='store_true', help='print them as JSON')
    parser.set_defaults(run=_words)


def _teach(options: argparse.Namespace) -> int:
    from instructseg_ros.model.model_files import find_model
    from instructseg_ros.teaching import teach

    _leave_room(options)
    model = find_model(options.model)
    names = _normalized(options.names)
    output = options.output or _default_output('-'.join(names))
    _check_source(options, names)
    teach.check_names(model, names, add=options.add)
    teach.check_output(output)
    with _Reporter(None if options.camera is None else ros_args(options)) as report:
        new, held_out = _examples(options, names, output, report)
        examples = teach.all_examples(model, new, names)
        teach.teach(model, examples, output, steps=options.steps, report=report.training)
    _print_results(options, output, names, examples, held_out)
    return 0


def _leave_room(options: argparse.Namespace) -> None:
    """Let a robot's other processes go first: threads that compete for cores slow all down."""
    set_threads(options, default=max(1, (os.cpu_count() or 2) // 2))
    os.nice(_NICE)


def _normalized(names: Sequence[str]) -> list[str]:
    """Return names as nouns in lower case, each once."""
    from instructseg_ros.teaching.annotated_image import normalize_name

    return list(dict.fromkeys(map(normalize_name, names)))


def _default_output(title: str) -> Path:
    return Path('taught') / title.replace(' ', '_')


def _check_source(options: argparse.Namespace, names: Sequence[str]) -> None:
    """Check that the options fit the source of the examples.

    Raises:
        ValueError: They do not; the message says what to do.
    """
    from instructseg_ros.teaching.teach import MIN_EXAMPLES

    if options.data is not None:
        return
    if options.hold_out:
        raise ValueError('--hold-out chooses among labelled pictures: use it with --data')
    if options.count < MIN_EXAMPLES:
        raise ValueError(f'--count {options.count} is too few: capture at least {MIN_EXAMPLES}')
    if len(names) > 1 and (options.bag is not None or not sys.stdin.isatty()):
        why = 'a recording shows one object' if options.bag else 'only a terminal can ask for each'
        raise ValueError(
            f'{why}: teach {names[0]} first, and then {names[1]} with --model FOLDER_OF_THE_FIRST'
        )


class _Reporter:
    """Shows the progress of a teaching as a bar, and on a topic if there is a camera."""

    def __init__(self, node_args: Sequence[str] | None = None) -> None:
        """Show an empty bar.

        Args:
            node_args: ROS arguments of the node that publishes the progress; None: no node.
        """
        from tqdm import tqdm

        self._opened = ExitStack()
        self._bar = self._opened.enter_context(
            tqdm(total=100, bar_format='{desc:40} {bar} {percentage:3.0f}% {elapsed}')
        )
        self.node = None
        if node_args is not None:
            from instructseg_ros.teaching.camera import TeachingNode

            self.node = self._opened.enter_context(TeachingNode(node_args))

    def __enter__(self) -> _Reporter:
        return self

    def __exit__(self, *raised: object) -> None:
        self._opened.close()

    def capture(self, name: str, progress: CaptureProgress) -> None:
        """Show how many frames of an object are captured, and what is wrong with the newest."""
        state = f'{name}: {progress.accepted} of {progress.wanted} frames'
        self._show(f'{state}; {progress.problem}' if progress.problem else state, 0.0)
        if self.node is not None:
            self.node.progress.publish_capture(progress)

    def training(self, progress: Progress) -> None:
        """Show how far the training is."""
        quality = '' if progress.iou is None else f', IoU {progress.iou:.2f}'
        self._show(f'{progress.stage}{quality}', progress.done)
        if self.node is not None:
            self.node.progress.publish(progress.stage, progress.done, iou=progress.iou)

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._bar.write(text, file=sys.stderr)

    def _show(self, text: str, done: float) -> None:
        self._bar.n = round(100 * done)
        self._bar.set_description_str(text)


def _examples(
    options: argparse.Namespace, names: Sequence[str], output: Path, report: _Reporter
) -> tuple[list[Example], list[Example]]:
    """Read or capture the examples; return those to learn from, and those to measure with."""
    from instructseg_ros.teaching import teach
    from instructseg_ros.teaching.example_files import read_examples, select

    if options.data is not None:
        examples = read_examples(options.data, names)
        if not options.hold_out:
            return examples, []
        held_out, rest = select(examples, options.hold_out)
        return rest, held_out
    captured: list[Example] = []
    for name in names:
        kept = teach.kept_capture(output, name)
        if len(kept) >= options.count:
            report.say(f'{len(kept)} frames of the {name} were captured before')
        else:
            kept = _capture(options, name, report, is_next=name != names[0])
            teach.keep_capture(output, name, kept)
        captured += kept
    return captured, []


def _capture(
    options: argparse.Namespace, name: str, report: _Reporter, *, is_next: bool
) -> list[Example]:
    """Capture examples of one object that is shown to the camera, or was shown in a bag.

    Before the next object, wait for the Enter key: the one before may still be on the table.
    """
    from functools import partial

    import numpy as np

    from instructseg_ros.streaming.image_files import read_rgb
    from instructseg_ros.teaching.capture import collect, frames_of_bag

    empty = None
    if options.empty_table is not None:
        empty = np.array(read_rgb(options.empty_table))
    frames: Iterable[ShownFrame]
    if report.node is None:
        frames = bag = frames_of_bag(options.bag)
        live = bag.live
    else:
        report.say(
            f'Put the {name} alone on the table before the camera'
            + (', and press Enter' if is_next else '')
            + '. Move or turn it after each picture, and take your hand away.'
        )
        if is_next:
            sys.stdin.readline()
        frames, live = report.node.frames(options.camera, timeout=options.timeout), True
    return collect(
        frames,
        name,
        count=options.count,
        live=live,
        empty_table=empty,
        report=partial(report.capture, name),
    )


def _print_results(
    options: argparse.Namespace,
    output: Path,
    names: Sequence[str],
    examples: Sequence[Example],
    held_out: Sequence[Example] = (),
) -> None:
    """Measure the new model; print the table and the next steps; write the page of pictures."""
    from instructseg_ros.model.model_files import find_model
    from instructseg_ros.teaching import report, report_page

    print(f'model: {output}; measuring it takes about a minute', flush=True)
    figures, pictures = report.measure(
        find_model(options.model), output, examples, held_out, names, scenes=options.check_scenes
    )
    page = report_page.write_page(output, figures, examples, pictures)
    print(f'\n{report_page.table(figures)}\n\npictures: {page}')
    for title, command in report_page.next_commands(output, names or [*figures['taught']]):
        print(f'{title}: {command}')


def _forget(options: argparse.Namespace) -> int:
    from instructseg_ros.model.model_files import find_model
    from instructseg_ros.teaching import teach
    from instructseg_ros.teaching.examples import FOLDER, load_examples

    _leave_room(options)
    names = _normalized(options.names)
    output = options.output or _default_output(f'without-{"-".join(names)}')
    with _Reporter() as report:
        teach.forget(
            find_model(options.model), names, output, steps=options.steps, report=report.training
        )
    _print_results(options, output, [], load_examples(output / FOLDER))
    return 0


def _words(options: argparse.Namespace) -> int:
    from instructseg_ros.model.model_files import NOUNS, PROCESSOR, find_model
    from instructseg_ros.teaching.examples import FOLDER, load_examples, names_of

    folder = find_model(options.model)
    nouns = folder / NOUNS
    words = {
        'taught': names_of(load_examples(folder / FOLDER)),
        'tabletop': sorted(json.loads((folder / PROCESSOR).read_text()).get('nouns', [])),
        'photographs': sorted(json.loads(nouns.read_text())) if nouns.is_file() else [],
    }
    if options.json:
        print(json.dumps(words))
        return 0
    for title, some in words.items():
        text = ', '.join(some) or 'none'
        print(textwrap.fill(f'{title} ({len(some)}): {text}', _WIDTH, subsequent_indent='  '))
    return 0
