"""`instructseg benchmark`: speed, memory and accuracy on this machine."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from instructseg_ros.cli.arguments import (
    DTYPES,
    SCHEDULES,
    Subparsers,
    add_model,
    load_segmenter,
    positive,
    prepare,
    write,
)


def add(commands: Subparsers) -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser('benchmark', help='measure speed and memory on this machine')
    kinds = parser.add_subparsers(required=True, metavar='WHAT')
    _add_model_stages(kinds)
    _add_stream(kinds)
    _add_soak(kinds)
    _add_ros(kinds)
    _add_boundary(kinds)


def _add_measured(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--dtype', choices=DTYPES, default='auto', help='number format')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')
    parser.add_argument('--json', type=Path, help='file for the figures')


def _add_model_stages(kinds: Subparsers) -> None:
    parser = kinds.add_parser('model', help='the stages of the model, one by one')
    parser.add_argument(
        '--size',
        choices=['full', 'medium', 'tiny'],
        default='full',
        help='the released size, a tenth of it, or a trial',
    )
    parser.add_argument(
        '--frames', type=positive, default=3, help='timed runs of each stage; the fastest counts'
    )
    parser.add_argument(
        '--naive',
        action='store_true',
        help='the straightforward float32 pass as well: minutes more at full size',
    )
    _add_measured(parser)
    parser.set_defaults(run=_run_model)


def _run_model(options: argparse.Namespace) -> int:
    from instructseg_ros.model.memory import keep_freed_memory
    from instructseg_ros.model.precision import choose_device, choose_precision
    from instructseg_ros.research.benchmark.model import benchmark_model, table

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


def _add_stream(kinds: Subparsers) -> None:
    parser = kinds.add_parser('stream', help='the schedules on a video')
    parser.add_argument(
        '--size',
        choices=['embedded', 'medium', 'full', 'tiny'],
        default='embedded',
        help='the embedded model; or random weights of the released size, a tenth of it, a trial',
    )
    parser.add_argument(
        '--schedules',
        nargs='+',
        choices=SCHEDULES,
        default=SCHEDULES[:3],
        metavar='SCHEDULE',
        help=f'which of {", ".join(SCHEDULES)} (default: all but the last)',
    )
    parser.add_argument('--frames', type=positive, default=20, help='that are timed')
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
        help='fixed_references: frames for which reference frames stay',
    )
    parser.add_argument('--target-rate', type=float, default=30.0, help='auto: frames a second')
    parser.add_argument(
        '--scenes', type=int, default=4, help='embedded: videos on which J&F is measured'
    )
    parser.add_argument('--naive', action='store_true', help="the authors' procedure as well")
    parser.add_argument('--compiled', action='store_true', help='compile most of the model first')
    parser.add_argument('--plot', type=Path, metavar='PNG', help='draw latency and accuracy')
    _add_measured(parser)
    parser.set_defaults(run=_run_stream)


def _run_stream(options: argparse.Namespace) -> int:
    from instructseg_ros.model.memory import keep_freed_memory
    from instructseg_ros.model.precision import choose_device
    from instructseg_ros.research.benchmark.stream import (
        Options,
        benchmark_stream,
        import_figure,
        plot_stream,
        table,
    )
    from instructseg_ros.streaming.schedule import Schedule

    keep_freed_memory()
    prepare(options.json, options.plot)
    if options.plot:
        import_figure()  # rather than after the measurement
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
            compiled=options.compiled,
        )
    )
    print(table(figures))
    write(figures, options.json)
    if options.plot:
        plot_stream(figures, options.plot)
    return 0


def _add_soak(kinds: Subparsers) -> None:
    parser = kinds.add_parser('soak', help='memory and age of results over a long stream')
    add_model(parser)
    parser.add_argument('--frames', type=positive, default=20_000, help='of the camera')
    parser.add_argument('--rate', type=float, default=30.0, help='of the camera, frames a second')
    parser.add_argument('--schedule', choices=SCHEDULES, default='exact')
    parser.add_argument('--json', type=Path, help='file for the figures')
    parser.set_defaults(run=_run_soak)


def _run_soak(options: argparse.Namespace) -> int:
    from instructseg_ros.research.benchmark.long_stream import Options, soak
    from instructseg_ros.streaming.schedule import Schedule

    prepare(options.json)
    segmenter = load_segmenter(options)
    schedule = Schedule(options.schedule)
    figures = soak(segmenter, Options(frames=options.frames, rate=options.rate, schedule=schedule))
    print(json.dumps(figures, indent=2))
    write(figures, options.json)
    return 0


def _add_ros(kinds: Subparsers) -> None:
    parser = kinds.add_parser(
        'ros', help='what images cost besides the model: 1920x1080 at 30 Hz between processes'
    )
    parser.add_argument('--frames', type=positive, default=150, help='images that are timed')
    parser.add_argument('--json', type=Path, help='file for the figures')
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


def _add_boundary(kinds: Subparsers) -> None:
    parser = kinds.add_parser('boundary', help='the boundary measure of video benchmarks')
    parser.add_argument('--frames', type=positive, default=100, help='of a 1080p video')
    parser.add_argument('--json', type=Path, help='file for the figures')
    parser.set_defaults(run=_run_boundary)


def _run_boundary(options: argparse.Namespace) -> int:
    from instructseg_ros.research.benchmark.boundary import benchmark_boundary

    prepare(options.json)
    figures = benchmark_boundary(options.frames)
    print('\n'.join(f'{name:20} {value:10.3f}' for name, value in figures.items()))
    write(figures, options.json)
    return 0
