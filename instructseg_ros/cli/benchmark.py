"""Implements `instructseg benchmark`: speed, memory and accuracy on this machine."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Final

from instructseg_ros.cli.arguments import (
    DTYPES,
    SCHEDULES,
    Subparsers,
    add_device,
    add_model,
    add_runtime,
    load_segmenter,
    positive,
    prepare,
    write,
)

_SOAK_IMAGES: Final = 60


def add(commands: Subparsers) -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser('benchmark', help='measure speed and memory on this machine')
    subcommands = parser.add_subparsers(required=True, metavar='WHAT')
    _add_model_stages(subcommands)
    _add_stream(subcommands)
    _add_soak(subcommands)
    _add_ros(subcommands)


def _add_measured(parser: argparse.ArgumentParser) -> None:
    add_device(parser)
    parser.add_argument('--json', type=Path, help='write the figures to this file')


def _add_model_stages(subcommands: Subparsers) -> None:
    parser = subcommands.add_parser('model', help='cost of each stage of the model')
    parser.add_argument(
        '--size',
        choices=['full', 'medium', 'tiny'],
        default='full',
        help='released size, a tenth of it, or a tiny model for trials',
    )
    parser.add_argument(
        '--frames', type=positive, default=3, help='timed runs of each stage; the fastest counts'
    )
    parser.add_argument(
        '--naive',
        action='store_true',
        help='also measure the straightforward float32 pass (minutes at full size)',
    )
    _add_measured(parser)
    parser.set_defaults(run=_run_model)


def _run_model(options: argparse.Namespace) -> int:
    from instructseg_ros.model.precision import choose_device, choose_precision
    from instructseg_ros.model.process_memory import keep_freed_memory
    from instructseg_ros.research.benchmark.stages import benchmark_model, table

    keep_freed_memory()
    device = choose_device(options.device)
    large = options.size == 'full'
    precision = choose_precision(DTYPES[options.dtype], device, large=large)
    prepare(options.json)
    figures = benchmark_model(
        options.size, precision, device, frames=options.frames, naive=options.naive
    )
    print(table(figures))
    write(figures, options.json)
    return 0


def _add_stream(subcommands: Subparsers) -> None:
    parser = subcommands.add_parser('stream', help='cost and accuracy of the schedules on a video')
    parser.add_argument(
        '--size',
        choices=['embedded', 'medium', 'full', 'tiny'],
        default='embedded',
        help='embedded model, or random weights in the released size, a tenth of it or a tiny size',
    )
    parser.add_argument(
        '--schedules',
        nargs='+',
        choices=SCHEDULES,
        default=SCHEDULES[:3],
        metavar='SCHEDULE',
        help=f'any of {", ".join(SCHEDULES)} (default: all but the last)',
    )
    parser.add_argument('--frames', type=positive, default=20, help='timed frames')
    parser.add_argument(
        '--reason-every',
        type=positive,
        default=5,
        metavar='K',
        help='two_rate: frames from one run of the language model to the next',
    )
    parser.add_argument(
        '--refresh-every',
        type=positive,
        default=10,
        metavar='K',
        help='fixed_references: frames for which the reference frames stay the same',
    )
    parser.add_argument(
        '--target-rate', type=float, default=30.0, help='auto: target rate in frames per second'
    )
    parser.add_argument(
        '--scenes', type=positive, default=4, help='embedded: number of videos for J&F'
    )
    parser.add_argument('--naive', action='store_true', help="also measure the authors' procedure")
    parser.add_argument(
        '--compiled', action='store_true', help='compile most of the model with torch.compile'
    )
    add_runtime(parser, default='auto')
    parser.add_argument(
        '--plot', type=Path, metavar='PNG', help='draw latency and accuracy to this file'
    )
    _add_measured(parser)
    parser.set_defaults(run=_run_stream)


def _run_stream(options: argparse.Namespace) -> int:
    from instructseg_ros.model.precision import choose_device
    from instructseg_ros.model.process_memory import keep_freed_memory
    from instructseg_ros.research.benchmark.stream import (
        Options,
        benchmark_stream,
        import_figure,
        plot_stream,
        table,
    )
    from instructseg_ros.streaming.schedule import Schedule
    from instructseg_ros.tabletop import dataset as clips

    keep_freed_memory()
    prepare(options.json, options.plot)
    if options.plot:
        import_figure()  # fail before the measurement if matplotlib is missing
    figures = benchmark_stream(
        Options(
            size=options.size,
            dtype=DTYPES[options.dtype],
            device=choose_device(options.device),
            schedules=[Schedule(name) for name in options.schedules],
            frames=options.frames,
            reason_every=options.reason_every,
            refresh_every=options.refresh_every,
            target_rate=options.target_rate,
            scenes=options.scenes,
            naive=options.naive,
            runtime=options.runtime,
            compiled=options.compiled,
            timing_clip=clips.timing_clip,
            scored_clips=clips.tabletop_clips,
        )
    )
    print(table(figures))
    write(figures, options.json)
    if options.plot:
        plot_stream(figures, options.plot)
    return 0


def _add_soak(subcommands: Subparsers) -> None:
    parser = subcommands.add_parser('soak', help='memory use and age of results over a long stream')
    add_model(parser)
    parser.add_argument('--frames', type=positive, default=20_000, help='camera frames')
    parser.add_argument('--rate', type=float, default=30.0, help='camera frames per second')
    parser.add_argument('--schedule', choices=SCHEDULES, default='exact')
    parser.add_argument('--json', type=Path, help='write the figures to this file')
    parser.set_defaults(run=_run_soak)


def _run_soak(options: argparse.Namespace) -> int:
    from instructseg_ros.research.benchmark.long_stream import SoakOptions, soak
    from instructseg_ros.streaming.schedule import Schedule
    from instructseg_ros.tabletop.dataset import recorded_images

    prepare(options.json)
    segmenter = load_segmenter(options)
    figures = soak(
        segmenter,
        recorded_images(_SOAK_IMAGES),
        SoakOptions(frames=options.frames, rate=options.rate, schedule=Schedule(options.schedule)),
    )
    print(json.dumps(figures, indent=2))
    write(figures, options.json)
    return 0


def _add_ros(subcommands: Subparsers) -> None:
    parser = subcommands.add_parser(
        'ros', help='cost of image transport: 1920x1080 at 30 Hz between processes'
    )
    parser.add_argument('--frames', type=positive, default=150, help='timed images')
    parser.add_argument('--json', type=Path, help='write the figures to this file')
    parser.set_defaults(run=_run_ros)


def _run_ros(options: argparse.Namespace) -> int:
    from instructseg_ros.checks.transport_benchmark import benchmark_transport
    from instructseg_ros.ros.transport import choose_environment

    prepare(options.json)
    choose_environment()
    figures = benchmark_transport(frames=options.frames)
    print(json.dumps(figures, indent=2))
    write(figures, options.json)
    return 0
