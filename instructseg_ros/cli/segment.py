"""`instructseg segment` and `instructseg video`: masks for image and video files."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from instructseg_ros.cli.arguments import (
    DTYPES,
    Subparsers,
    add_model,
    load_segmenter,
    prepare,
    set_threads,
)


def add(commands: Subparsers) -> None:
    """Add the commands of this module."""
    _add_segment(commands)
    _add_video(commands)


def _add_segment(commands: Subparsers) -> None:
    parser = commands.add_parser('segment', help='segment an image file')
    parser.add_argument('image', type=Path, help='an image, or a video frame')
    parser.add_argument('instruction', help='for example "the red mug"')
    add_model(parser)
    parser.add_argument(
        '--reference',
        type=Path,
        nargs='+',
        default=[],
        metavar='IMG',
        help='earlier frames of the video, oldest first',
    )
    parser.add_argument(
        '-o',
        '--output',
        type=Path,
        metavar='FILE',
        help='write the overlay here, and the mask next to it as FILE_mask.png',
    )
    parser.add_argument('--json', action='store_true', help='print the result as JSON')
    parser.set_defaults(run=run_segment)


def run_segment(options: argparse.Namespace) -> int:
    """Run `instructseg segment`; return the exit status."""
    import numpy as np

    from instructseg_ros.streaming.image_files import read_rgb
    from instructseg_ros.streaming.instruction import clean_text
    from instructseg_ros.video.segment_image import (
        check_output,
        segment_still,
        summary,
        write_pictures,
    )

    clean_text(options.instruction)
    if options.output:
        prepare(*check_output(options.output, inputs=[options.image, *options.reference]))
    image, *references = (np.array(read_rgb(file)) for file in [options.image, *options.reference])
    segmenter = load_segmenter(options)
    result = segment_still(segmenter, image, options.instruction, references)
    answer = summary(result)
    if options.output:
        answer |= write_pictures(result, options.output)
    if options.json:
        print(json.dumps(answer))
    else:
        print(
            f'{result.state.name}, score {result.score:.2f}, {result.pixels} pixels'
            + (f': {result.reason}' if result.reason else '')
        )
    return 0


def _add_video(commands: Subparsers) -> None:
    parser = commands.add_parser(
        'video',
        help='segment every frame of a video file, an image folder or a bag',
        description='Segment every frame of a video file, an image folder or a bag. To resume an '
        'interrupted run, repeat the command.',
    )
    parser.add_argument('file', type=Path, help='an mp4, an image folder, an MCAP or a bag folder')
    parser.add_argument('instructions', nargs='+', help='for example "the red mug"')
    add_model(parser)
    parser.add_argument(
        '-o', '--output', type=Path, metavar='FOLDER', help='output folder (default: FILE_masks)'
    )
    parser.add_argument(
        '--formats',
        nargs='+',
        choices=['png', 'rle', 'overlay', 'bag'],
        default=['rle', 'overlay'],
        help='masks as PNG, as run lengths (masks.jsonl, always written), as one overlay video per '
        'instruction, or as a bag (default: rle overlay)',
    )
    parser.add_argument('--topic', help='image topic of a bag that has several')
    parser.add_argument('--overwrite', action='store_true', help='start again instead of resuming')
    parser.set_defaults(run=run_video)


def run_video(options: argparse.Namespace) -> int:
    """Run `instructseg video`; return the exit status."""
    from functools import partial

    from instructseg_ros.model.process_memory import keep_freed_memory
    from instructseg_ros.video.segment_video import load_model, segment_video

    keep_freed_memory()
    set_threads(options)
    folder = options.output or Path(f'{options.file.resolve().stem}_masks')
    load = partial(
        load_model,
        options.model,
        device=options.device,
        dtype=DTYPES[options.dtype],
        runtime=options.runtime,
    )
    summary = segment_video(
        options.file,
        options.instructions,
        folder,
        load=load,
        model=_identity(options),
        formats=options.formats,
        topic=options.topic,
        overwrite=options.overwrite,
    )
    if summary.is_short:
        print(
            f'{summary.frames} of {summary.announced} frames in {folder}; the others are damaged '
            f'or missing'
        )
    else:
        print(f'{summary.frames} frames in {folder}')
    for text, states in summary.states.items():
        print(f'{text}: ' + ', '.join(f'{count} {state.name}' for state, count in states.items()))
    return 0


def _identity(options: argparse.Namespace) -> str:
    """Identify a model by its weights and how it runs, not by its name."""
    from instructseg_ros.model.model_files import find_model, model_hash

    weights = model_hash(find_model(options.model))[:16]
    return f'weights {weights}, dtype {DTYPES[options.dtype]}, runtime {options.runtime}'
