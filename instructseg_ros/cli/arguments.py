"""Arguments that commands share."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from instructseg_ros.model.segmenter import Segmenter

Subparsers: TypeAlias = 'argparse._SubParsersAction[argparse.ArgumentParser]'

DTYPES: Final = {
    **{
        name: name
        for name in ('auto', 'float32', 'bfloat16', 'float16', 'float16_weights', 'mixed', 'int8')
    },
    'fp32': 'float32',
    'bf16': 'bfloat16',
    'fp16': 'float16',
}
OWN_DATA: Final = ('folder', 'coco', 'bag')  # evaluation/own.py imports numpy, too slow for --help
SCHEDULES: Final = ('exact', 'fixed_references', 'two_rate', 'auto')


def add_model(parser: argparse.ArgumentParser) -> None:
    """Arguments that choose a model and how it runs."""
    parser.add_argument('--model', default='embedded', help='"embedded", a folder or a hub id')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N')
    parser.add_argument(
        '--dtype',
        choices=DTYPES,
        default='auto',
        help="number format; float16_weights computes in float32 as the paper's evaluation did",
    )
    add_threads(parser)


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add the argument that `set_threads` reads."""
    parser.add_argument(
        '--threads',
        type=positive,
        help='CPU threads; fewer than cores is faster where other processes use some of them',
    )


def set_threads(options: argparse.Namespace, default: int | None = None) -> None:
    """Limit torch's threads, whose idle ones spin; None: torch's own choice."""
    if threads := options.threads or default:
        import torch

        torch.set_num_threads(threads)


def load_segmenter(options: argparse.Namespace) -> Segmenter:
    """The model that the arguments of `add_model` choose."""
    from instructseg_ros.model.memory import keep_freed_memory
    from instructseg_ros.model.segmenter import Segmenter

    keep_freed_memory()
    set_threads(options)
    return Segmenter.from_pretrained(
        options.model, device=options.device, dtype=DTYPES[options.dtype]
    )


def positive(text: str) -> int:
    """A whole number from 1 on."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError('at least 1')
    return value


def prepare(*files: Path | None) -> None:
    """Make the folders of output files, and refuse what cannot be written, before a long run.

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
    """Write figures as JSON where a file was named."""
    if file:
        file.write_text(json.dumps(figures, indent=2) + '\n')
