"""`instructseg segment`: a picture from a file."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from instructseg_ros.commands.arguments import Subparsers, add_model, load_segmenter, prepare


def add(commands: Subparsers) -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser('segment', help='segment a picture from a file')
    parser.add_argument('image', type=Path, help='the picture, or a video frame')
    parser.add_argument('instruction', help='for example "the red mug"')
    add_model(parser)
    parser.add_argument(
        '--reference', type=Path, nargs='+', default=[], metavar='IMG',
        help='frames before it, oldest first',
    )  # fmt: skip
    parser.add_argument('-o', '--output', type=Path, metavar='FILE',
                        help='draw the answer here, and write its mask beside: FILE_mask.png')
    parser.add_argument('--json', action='store_true', help='print the answer as JSON')
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return the exit status."""
    import numpy as np

    from instructseg_ros.streaming.image_files import read_rgb
    from instructseg_ros.streaming.instruction import clean_text
    from instructseg_ros.streaming.still import check_output, segment_still, summary, write_pictures

    clean_text(options.instruction)
    if options.output:
        prepare(*check_output(options.output, inputs=[options.image, *options.reference]))
    image, *references = (
        np.array(read_rgb(file)) for file in [options.image, *options.reference])
    segmenter = load_segmenter(options)
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
