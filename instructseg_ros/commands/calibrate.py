"""`instructseg calibrate`: thresholds of a model, stored in its folder."""

from __future__ import annotations

import argparse

from instructseg_ros.commands.arguments import Subparsers, add_model, load_segmenter, positive


def add(commands: Subparsers) -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        'calibrate', help='choose the thresholds of a model on the tabletop and store them in it'
    )
    add_model(parser)
    parser.add_argument('--scenes', type=positive, default=300, help='to choose them on')
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return the exit status."""
    from instructseg_ros.evaluation.calibration import calibrate
    from instructseg_ros.evaluation.tabletop import CALIBRATION_SEED, answer_scenes
    from instructseg_ros.model.checkpoints import find_model

    segmenter = load_segmenter(options)
    seeds = range(CALIBRATION_SEED, CALIBRATION_SEED + options.scenes)
    thresholds = calibrate(answer_scenes(segmenter, seeds))
    file = thresholds.write(find_model(options.model))
    print(f'found from {thresholds.found:.2f} on, gone below {thresholds.release:.2f}: {file}')
    return 0
