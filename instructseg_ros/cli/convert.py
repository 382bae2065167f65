"""`instructseg convert` and `instructseg calibrate`: prepare the folder of a model."""

from __future__ import annotations

import argparse
from pathlib import Path

from instructseg_ros.cli.arguments import Subparsers, add_model, load_segmenter, positive


def add(commands: Subparsers) -> None:
    """Add the commands of this module."""
    _add_convert(commands)
    _add_calibrate(commands)


def _add_convert(commands: Subparsers) -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        'convert',
        help="the authors' checkpoint to this layout",
        description="Converts the authors' checkpoint to a model folder, or a model folder back. "
        'The disk is needed twice: the source stays as it is, and the new folder is as large, '
        '7.4 GB each for the release. A hub id is downloaded first, unless it is on the disk; '
        'without a network the command ends after seconds and names the files to copy.',
    )
    parser.add_argument(
        'source', help="the release's folder or hub id; or that of a Mask2Former to train from"
    )
    parser.add_argument('target', type=Path, help='new folder')
    parser.add_argument(
        '--reverse', action='store_true', help='from a converted folder back, bit for bit'
    )
    parser.add_argument(
        '--mask2former',
        metavar='FOLDER',
        help='the source is Mipha: join it with a Mask2Former to what the paper trains from',
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return the exit status."""
    from instructseg_ros.model.conversion.source import check_target, find_source, read_config

    check_target(options.target)  # before a download
    source = find_source(options.source)
    # The rest takes seconds to import.
    from instructseg_ros.model.conversion.released import convert_released, restore_released
    from instructseg_ros.model.conversion.training_start import convert_mask2former, write_start
    from instructseg_ros.model.manifest import write_manifest

    if options.mask2former:
        write_start(source, find_source(options.mask2former), options.target)
        write_manifest(options.target)
    elif options.reverse:
        restore_released(source, options.target)
    elif read_config(source).get('model_type') == 'mask2former':
        convert_mask2former(source, options.target)
    else:
        convert_released(source, options.target)
        write_manifest(options.target)
    print(f'written: {options.target}')
    return 0


def _add_calibrate(commands: Subparsers) -> None:
    """Add the command and its arguments."""
    parser = commands.add_parser(
        'calibrate', help='choose the thresholds of a model on the tabletop and store them in it'
    )
    add_model(parser)
    parser.add_argument('--scenes', type=positive, default=300, help='to choose them on')
    parser.set_defaults(run=run_calibrate)


def run_calibrate(options: argparse.Namespace) -> int:
    """Run the command; return the exit status."""
    from instructseg_ros.model.checkpoints import find_model
    from instructseg_ros.tabletop.benchmark import CALIBRATION_SEED, calibrate, run_scenes

    segmenter = load_segmenter(options)
    seeds = range(CALIBRATION_SEED, CALIBRATION_SEED + options.scenes)
    thresholds = calibrate(run_scenes(segmenter, seeds))
    file = thresholds.write(find_model(options.model))
    print(f'found from {thresholds.found:.2f} on, gone below {thresholds.release:.2f}: {file}')
    return 0
