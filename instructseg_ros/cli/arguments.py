"""Arguments and helpers that the commands share."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from instructseg_ros import model

if TYPE_CHECKING:
    from instructseg_ros.model.segmenter import Segmenter

Subparsers: TypeAlias = 'argparse._SubParsersAction[argparse.ArgumentParser]'

# Every name that --dtype accepts, with the name that `Segmenter` accepts.
DTYPES: Final = {
    **{name: name for name in model.DTYPES},
    'fp32': 'float32',
    'bf16': 'bfloat16',
    'fp16': 'float16',
}
SCHEDULES: Final = ('exact', 'fixed_references', 'two_rate', 'auto')


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that select a model and how it runs."""
    parser.add_argument('--model', default='embedded', help='"embedded", a folder or a hub id')
    add_device(parser)
    add_runtime(parser)
    add_threads(parser)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that select a device and a number format."""
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')
    parser.add_argument(
        '--dtype',
        choices=DTYPES,
        default='auto',
        help="number format; float16_weights computes in float32 as the paper's evaluation did",
    )


def add_runtime(parser: argparse.ArgumentParser, *, default: str = 'torch') -> None:
    """Add the argument that selects what runs the encoders of frames."""
    parser.add_argument(
        '--runtime',
        choices=model.RUNTIMES,
        default=default,
        help='what runs the encoders of frames; auto: OpenVINO if it is installed and suits the '
        'model and the device',
    )


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add the argument that `set_threads` reads."""
    parser.add_argument(
        '--threads',
        type=positive,
        help='CPU threads; use fewer than the number of cores if other processes need some',
    )


def add_ros_args(parser: argparse.ArgumentParser) -> None:
    """Add the argument that `ros_args` reads; it takes all that follows."""
    parser.add_argument(
        '--ros-args', nargs=argparse.REMAINDER, default=[], help='ROS arguments, such as remappings'
    )


def ros_args(options: argparse.Namespace) -> list[str]:
    """Return the ROS arguments as rclpy expects them."""
    return ['--ros-args', *options.ros_args] if options.ros_args else []


def set_threads(options: argparse.Namespace, default: int | None = None) -> None:
    """Limit torch's threads, because idle ones spin; without a number, keep torch's default."""
    if threads := options.threads or default:
        import torch

        torch.set_num_threads(threads)


def load_segmenter(options: argparse.Namespace) -> Segmenter:
    """Load the model that the arguments of `add_model` select."""
    from instructseg_ros.model.process_memory import keep_freed_memory
    from instructseg_ros.model.segmenter import Segmenter

    keep_freed_memory()
    set_threads(options)
    return Segmenter.from_pretrained(
        options.model, device=options.device, dtype=DTYPES[options.dtype], runtime=options.runtime
    )


def positive(text: str) -> int:
    """Parse a whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError('must be at least 1')
    return value


def prepare(*files: Path | None) -> None:
    """Create the folders of output files and check that they are writable, before a long run.

    Raises:
        OSError: A file cannot be written; the message names it.
    """
    for file in files:
        if file:
            _prepare(file)


def _prepare(file: Path) -> None:
    if file.is_dir():
        raise IsADirectoryError(f'{file} is a folder: name a file in it')
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f'{file} cannot be written ({error}): name another file') from error
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise PermissionError(f'{file} cannot be written: it is protected; name another file')


def write(figures: dict[str, Any], file: Path | None) -> None:
    """Write figures as JSON if a file is given."""
    if file:
        file.write_text(json.dumps(figures, indent=2) + '\n')
