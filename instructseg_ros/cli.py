"""The command `instructseg`: one door to everything that is not a ROS node."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_DTYPES = {
    **{name: name for name in ('auto', 'float32', 'bfloat16', 'float16', 'mixed', 'int8')},
    'fp32': 'float32',
    'bf16': 'bfloat16',
    'fp16': 'float16',
}
_SCHEDULES = ('exact', 'fixed_references', 'two_rate', 'auto')


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (ValueError, OSError, RuntimeError) as error:
        # ModelError and the like say what to do; a traceback would hide it.
        print(f'instructseg: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='instructseg', description=__doc__)
    commands = parser.add_subparsers(required=True, metavar='COMMAND')
    _add_say(commands)
    _add_segment(commands)
    _add_video(commands)
    _add_evaluate(commands)
    _add_calibrate(commands)
    _add_train(commands)
    _add_convert(commands)
    _add_benchmark(commands)
    return parser


def _add_say(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser('say', help='tell a running node what to segment')
    parser.add_argument('text', help='the instruction, for example "the red mug"')
    parser.add_argument('--timeout', type=float, default=10.0, help='seconds to wait for an answer')
    parser.add_argument(
        '--answers', type=_positive, default=1, help='how many results to print'
    )
    parser.add_argument(
        '--ros-args', nargs=argparse.REMAINDER, default=[], help='remappings and the like'
    )
    parser.set_defaults(run=_say)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError('at least 1')
    return value


def _say(options: argparse.Namespace) -> int:
    from instructseg_ros.ros.say import say

    ros_args = ['--ros-args', *options.ros_args] if options.ros_args else []
    return say(options.text, timeout=options.timeout, answers=options.answers, ros_args=ros_args)


def _add_segment(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser('segment', help='segment a picture from a file')
    parser.add_argument('image', type=Path, help='the picture, or a video frame')
    parser.add_argument('instruction', help='for example "the red mug"')
    _add_model(parser)
    parser.add_argument(
        '--reference', type=Path, nargs='+', default=[], metavar='IMG',
        help='frames before it, oldest first',
    )  # fmt: skip
    parser.add_argument('-o', '--output', type=Path, metavar='FILE',
                        help='draw the answer here, and write its mask beside: FILE_mask.png')
    parser.add_argument('--json', action='store_true', help='print the answer as JSON')
    parser.set_defaults(run=_segment)


def _segment(options: argparse.Namespace) -> int:
    from instructseg_ros.memory import keep_freed_memory
    from instructseg_ros.model.segmenter import Segmenter
    from instructseg_ros.streaming.instruction import clean_text
    from instructseg_ros.streaming.still import (
        check_output,
        read_picture,
        segment_still,
        summary,
        write_pictures,
    )

    keep_freed_memory()
    clean_text(options.instruction)
    if options.output:
        check_output(options.output, inputs=[options.image, *options.reference])
    image, *references = map(read_picture, [options.image, *options.reference])
    segmenter = Segmenter.from_pretrained(
        options.model, device=options.device, dtype=_DTYPES[options.dtype]
    )
    result = segment_still(segmenter, image, options.instruction, references)
    answer = summary(result)
    if options.output:
        answer |= write_pictures(result, options.output)
    if options.json:
        print(json.dumps(answer))
    else:
        print(f'{result.state.name}, score {result.score:.2f}, {result.pixels} pixels'
              + (f': {result.reason}' if result.reason else ''))
    return 0


def _add_video(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        'video', help='segment every frame of a film, a folder of frames or a bag',
        description='Segment every frame of a film, a folder of frames or a bag. A run that was '
                    'stopped goes on when the same command is given again.')  # fmt: skip
    parser.add_argument('file', type=Path, help='an mp4, a folder of pictures, an MCAP or a bag')
    parser.add_argument('instructions', nargs='+', help='for example "the red mug"')
    _add_model(parser)
    parser.add_argument('-o', '--output', type=Path, metavar='FOLDER',
                        help='for what is written (default: FILE_masks)')
    parser.add_argument(
        '--formats', nargs='+', choices=['png', 'rle', 'overlay', 'bag'],
        default=['rle', 'overlay'],
        help='masks as pictures, as run lengths (masks.jsonl, which is always written), drawn into '
             'a film for each instruction, or as a bag (default: rle overlay)',
    )  # fmt: skip
    parser.add_argument('--topic', help='the images of a bag, where it has several')
    parser.add_argument('--overwrite', action='store_true', help='begin anew, do not go on')
    parser.set_defaults(run=_video)


def _video(options: argparse.Namespace) -> int:
    from functools import partial

    from instructseg_ros.memory import keep_freed_memory
    from instructseg_ros.video.loading import load_model
    from instructseg_ros.video.segment_video import segment_video

    keep_freed_memory()
    folder = options.output or Path(f'{options.file.resolve().stem}_masks')
    load = partial(
        load_model, options.model, device=options.device, dtype=_DTYPES[options.dtype]
    )
    summary = segment_video(
        options.file, options.instructions, folder, load=load, model=options.model,
        formats=options.formats, topic=options.topic, overwrite=options.overwrite,
    )  # fmt: skip
    print(f'{summary.frames} frames in {folder}')
    for text, states in summary.states.items():
        print(f'{text}: ' + ', '.join(f'{count} {state.name}' for state, count in states.items()))
    return 0


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--model', default='embedded', help='"embedded", a folder or a hub id')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')
    parser.add_argument('--dtype', choices=_DTYPES, default='auto', help='number format')


def _add_evaluate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser('evaluate', help='measure a model on a benchmark')
    parser.add_argument('benchmark', choices=['tabletop'])
    _add_model(parser)
    parser.add_argument('--scenes', type=int, default=300, help='scenes for each wording')
    parser.add_argument('--json', type=Path, help='file for the figures')
    parser.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace) -> int:
    from instructseg_ros.evaluation.tabletop import evaluate_tabletop, table
    from instructseg_ros.model.segmenter import Segmenter

    segmenter = Segmenter.from_pretrained(
        options.model, device=options.device, dtype=_DTYPES[options.dtype]
    )
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
    figures = evaluate_tabletop(segmenter, scenes=options.scenes)
    print(table(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + '\n')
    return 0


def _add_calibrate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        'calibrate', help='choose the thresholds of a model on the tabletop and store them in it'
    )
    _add_model(parser)
    parser.add_argument('--scenes', type=_positive, default=300, help='to choose them on')
    parser.set_defaults(run=_calibrate)


def _calibrate(options: argparse.Namespace) -> int:
    from instructseg_ros.evaluation.calibration import calibrate
    from instructseg_ros.evaluation.tabletop import CALIBRATION_SEED, answer_scenes
    from instructseg_ros.model.checkpoints import find_model
    from instructseg_ros.model.segmenter import Segmenter

    segmenter = Segmenter.from_pretrained(
        options.model, device=options.device, dtype=_DTYPES[options.dtype]
    )
    seeds = range(CALIBRATION_SEED, CALIBRATION_SEED + options.scenes)
    thresholds = calibrate(answer_scenes(segmenter, seeds))
    file = thresholds.write(find_model(options.model))
    print(f'found from {thresholds.found:.2f} on, gone below {thresholds.release:.2f}: {file}')
    return 0


def _add_train(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser('train', help='train a model')
    parser.add_argument('source', choices=['tabletop'])
    parser.add_argument('--folder', type=Path, default=Path('runs/tabletop'), help='its state')
    parser.add_argument('--recipe', choices=['full', 'polish', 'smoke'], default='full')
    parser.add_argument(
        '--stages', nargs='+', default=(), help='only these, in order (default: all)'
    )
    parser.add_argument('--model', help='go on from this model, not from nothing')
    parser.add_argument('--processes', type=int, default=2, help='renderers side by side')
    parser.set_defaults(run=_train)


def _train(options: argparse.Namespace) -> int:
    from instructseg_ros.memory import keep_freed_memory
    from instructseg_ros.training.tabletop.recipe import RECIPES
    from instructseg_ros.training.tabletop.train import TabletopTraining

    keep_freed_memory()
    TabletopTraining(
        options.folder,
        RECIPES[options.recipe],
        processes=options.processes,
        start=options.model,
        stages=options.stages,
    ).run()
    return 0


def _add_convert(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser('convert', help="the authors' checkpoint to this layout")
    parser.add_argument(
        'source', help="the release's folder or hub id; or that of a Mask2Former to train from"
    )
    parser.add_argument('target', type=Path, help='new folder')
    parser.add_argument('--reverse', action='store_true', help='from a converted folder, back')
    parser.set_defaults(run=_convert)


def _convert(options: argparse.Namespace) -> int:
    from instructseg_ros.conversion.mask2former import convert_mask2former
    from instructseg_ros.conversion.released import convert_released, restore_released
    from instructseg_ros.conversion.source import find_source, read_config

    source = find_source(options.source)
    if options.reverse:
        restore_released(source, options.target)
    elif read_config(source).get('model_type') == 'mask2former':
        convert_mask2former(source, options.target)
    else:
        convert_released(source, options.target)
    print(f'written: {options.target}')
    return 0


def _add_benchmark(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser('benchmark', help='measure speed and memory on this machine')
    kinds = parser.add_subparsers(required=True, metavar='WHAT')
    _add_benchmark_model(kinds)
    _add_benchmark_stream(kinds)
    _add_benchmark_soak(kinds)


def _add_measured(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--dtype', choices=_DTYPES, default='auto', help='number format')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')
    parser.add_argument('--json', type=Path, help='file for the figures')


def _add_benchmark_model(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = kinds.add_parser('model', help='the stages of the model, one by one')
    parser.add_argument(
        '--size', choices=['full', 'medium', 'tiny'], default='full',
        help='the released size, a tenth of it, or a trial',
    )  # fmt: skip
    parser.add_argument(
        '--frames', type=_positive, default=2, help='timed runs of each stage; the fastest counts'
    )
    parser.add_argument(
        '--naive', action='store_true', help='the straightforward float32 pass as well'
    )
    _add_measured(parser)
    parser.set_defaults(run=_benchmark_model)


def _benchmark_model(options: argparse.Namespace) -> int:
    from instructseg_ros.benchmark.model import benchmark_model, table
    from instructseg_ros.memory import keep_freed_memory
    from instructseg_ros.model.precision import choose_device, choose_precision

    keep_freed_memory()
    device = choose_device(options.device)
    large = options.size == 'full'
    precision = choose_precision(_DTYPES[options.dtype], device, large=large)
    _prepare(options.json)
    figures = benchmark_model(
        options.size, precision, device, frames=options.frames, naive=options.naive
    )
    print(table(figures))
    _write(figures, options.json)
    return 0


def _add_benchmark_stream(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = kinds.add_parser('stream', help='the schedules on a video')
    parser.add_argument(
        '--size', choices=['embedded', 'medium', 'full', 'tiny'], default='embedded',
        help='the embedded model; or random weights of the released size, a tenth of it, a trial',
    )  # fmt: skip
    parser.add_argument(
        '--schedules', nargs='+', choices=_SCHEDULES, default=_SCHEDULES[:3], metavar='SCHEDULE',
        help=f'which of {", ".join(_SCHEDULES)} (default: all but the last)',
    )
    parser.add_argument('--frames', type=_positive, default=40, help='length of the timed video')
    parser.add_argument(
        '--reason-every', type=_positive, default=5, metavar='K',
        help='two_rate: frames from one run of the language model to the next',
    )  # fmt: skip
    parser.add_argument(
        '--refresh-every', type=_positive, default=10, metavar='K',
        help='fixed_references: frames for which reference frames stay',
    )  # fmt: skip
    parser.add_argument('--target-rate', type=float, default=30.0, help='auto: frames a second')
    parser.add_argument(
        '--scenes', type=int, default=4, help='embedded: videos on which J&F is measured'
    )
    parser.add_argument('--naive', action='store_true', help="the authors' procedure as well")
    parser.add_argument('--plot', type=Path, metavar='PNG', help='draw latency and accuracy')
    _add_measured(parser)
    parser.set_defaults(run=_benchmark_stream)


def _benchmark_stream(options: argparse.Namespace) -> int:
    from instructseg_ros.benchmark.plot import plot_stream
    from instructseg_ros.benchmark.stream import Options, benchmark_stream, table
    from instructseg_ros.memory import keep_freed_memory
    from instructseg_ros.model.precision import choose_device
    from instructseg_ros.streaming.schedule import Schedule

    keep_freed_memory()
    _prepare(options.json, options.plot)
    figures = benchmark_stream(
        Options(
            size=options.size, dtype=_DTYPES[options.dtype], device=choose_device(options.device),
            schedules=[Schedule(name) for name in options.schedules], frames=options.frames,
            reason_every=options.reason_every, refresh_every=options.refresh_every,
            target_rate=options.target_rate, scenes=options.scenes, naive=options.naive,
        )
    )  # fmt: skip
    print(table(figures))
    _write(figures, options.json)
    if options.plot:
        plot_stream(figures, options.plot)
    return 0


def _add_benchmark_soak(kinds: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = kinds.add_parser('soak', help='memory and age of results over a long stream')
    _add_model(parser)
    parser.add_argument('--frames', type=_positive, default=20_000, help='of the camera')
    parser.add_argument('--rate', type=float, default=30.0, help='of the camera, frames a second')
    parser.add_argument('--schedule', choices=_SCHEDULES, default='exact')
    parser.add_argument('--json', type=Path, help='file for the figures')
    parser.set_defaults(run=_benchmark_soak)


def _benchmark_soak(options: argparse.Namespace) -> int:
    from instructseg_ros.benchmark.soak import Options, soak
    from instructseg_ros.memory import keep_freed_memory
    from instructseg_ros.model.segmenter import Segmenter
    from instructseg_ros.streaming.schedule import Schedule

    keep_freed_memory()
    _prepare(options.json)
    segmenter = Segmenter.from_pretrained(
        options.model, device=options.device, dtype=_DTYPES[options.dtype]
    )
    schedule = Schedule(options.schedule)
    figures = soak(segmenter, Options(frames=options.frames, rate=options.rate, schedule=schedule))
    print(json.dumps(figures, indent=2))
    _write(figures, options.json)
    return 0


def _prepare(*files: Path | None) -> None:
    """Make the folders of output files before anything takes long."""
    for file in files:
        if file:
            file.parent.mkdir(parents=True, exist_ok=True)


def _write(figures: dict[str, Any], file: Path | None) -> None:
    if file:
        file.write_text(json.dumps(figures, indent=2) + '\n')


if __name__ == '__main__':
    sys.exit(main())
