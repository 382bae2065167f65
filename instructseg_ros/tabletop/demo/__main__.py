"""Implements `python -m instructseg_ros.tabletop.demo`, which `make demo` runs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from instructseg_ros import interruption
from instructseg_ros.tabletop.demo.report import contact_sheet, save_video
from instructseg_ros.tabletop.demo.runner import VIDEO_PERIOD, run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo, write its files and print its table; return 0 if it passed."""
    interruption.raise_again()
    options = _parse(arguments)
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        report, video = run(
            options.output,
            model=options.model,
            source=options.source,
            log=lambda text: print(text, flush=True),
        )
    except (OSError, RuntimeError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    (options.output / 'demo.json').write_text(json.dumps(report.to_json(), indent=2) + '\n')
    contact_sheet(report.answers).save(options.output / 'demo.png')
    if video:
        save_video(video, options.output / 'demo.gif', seconds_per_frame=VIDEO_PERIOD)
    print(f'\n{report.to_table()}\nSee {options.output}/demo.png, demo.gif and demo.json.')
    return 1 if report.shortcomings() else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='python -m instructseg_ros.tabletop.demo',
        description='Start a simulated camera and the segmentation node, send instructions of '
        'every category and compare the masks with the ground truth.',
    )
    parser.add_argument(
        '--output',
        type=Path,
        default=Path('demo'),
        help='folder for images, figures and logs (default: demo)',
    )
    parser.add_argument(
        '--model',
        default='embedded',
        help='embedded, a folder or a Hugging Face model id (default: embedded)',
    )
    parser.add_argument(
        '--source',
        choices=('auto', 'live', 'recording'),
        default='auto',
        help='render frames live, play the recording, or auto: live if possible (default: auto)',
    )
    return parser.parse_args(arguments)


if __name__ == '__main__':
    sys.exit(main())
