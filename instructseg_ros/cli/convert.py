"""`instructseg convert` and `instructseg calibrate`: prepare a model folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from instructseg_ros.cli.arguments import Subparsers, add_model, load_segmenter, positive


def add(commands: Subparsers) -> None:
    """Add `convert` and `calibrate`."""
    _add_convert(commands)
    _add_calibrate(commands)


def _add_convert(commands: Subparsers) -> None:
    parser = commands.add_parser(
        'convert',
        help="convert the authors' checkpoint to a model folder",
        description="Converts the authors' checkpoint to a model folder. Needs disk space for both "
        'the source, which is not changed, and the new folder: 7.4 GB each for the release. A hub '
        'id is downloaded first, unless it was downloaded before; without a network the command '
        'ends within seconds and names the files to copy.',
    )
    parser.add_argument(
        'source', help='folder or hub id of the release or, with --mask2former, of Mipha'
    )
    parser.add_argument('target', type=Path, help='new folder')
    parser.add_argument(
        '--mask2former',
        metavar='FOLDER',
        help='join Mipha and this Mask2Former (folder or hub id) into the model from which the '
        'paper starts training',
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run `instructseg convert`; return the exit status."""
    from instructseg_ros.model.conversion.source import check_target, find_source

    check_target(options.target)  # before a download
    source = find_source(options.source)
    # These modules take seconds to import.
    from instructseg_ros.model.conversion.released import convert_released
    from instructseg_ros.model.conversion.training_start import write_start
    from instructseg_ros.model.model_files import write_manifest

    if options.mask2former:
        write_start(source, find_source(options.mask2former), options.target)
    else:
        convert_released(source, options.target)
    write_manifest(options.target)
    print(f'written: {options.target}')
    return 0


def _add_calibrate(commands: Subparsers) -> None:
    parser = commands.add_parser(
        'calibrate',
        help='calibrate the scores of a model on the tabletop, and store thresholds in it',
    )
    add_model(parser)
    parser.add_argument(
        '--scenes', type=positive, default=300, help='number of scenes to choose them on'
    )
    parser.set_defaults(run=run_calibrate)


def run_calibrate(options: argparse.Namespace) -> int:
    """Run `instructseg calibrate`; return the exit status."""
    from instructseg_ros.model.model_files import find_model
    from instructseg_ros.tabletop.calibration import calibrate_model

    calibration = calibrate_model(load_segmenter(options), scenes=options.scenes)
    file = calibration.write(find_model(options.model))
    print(f'found at {calibration.found:.2f}, lost below {calibration.release:.2f}: {file}')
    return 0
