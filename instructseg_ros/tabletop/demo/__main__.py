"""`python -m instructseg_ros.tabletop.demo`: see the module's help."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from instructseg_ros import interruption
from instructseg_ros.tabletop.demo.report import contact_sheet, save_film
from instructseg_ros.tabletop.demo.runner import FILM_PERIOD, run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo, write its files and print its table; 0 when it passed."""
    interruption.raise_again()
    options = _parse(arguments)
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        report, film = run(
            options.output,
            model=options.model,
            source=options.source,
            say=lambda text: print(text, flush=True),
        )
    except (OSError, RuntimeError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    (options.output / 'demo.json').write_text(json.dumps(report.to_json(), indent=2) + '\n')
    contact_sheet(report.answers).save(options.output / 'demo.png')
    if film:
        save_film(film, options.output / 'demo.gif', seconds_per_frame=FILM_PERIOD)
    print(f'\n{report.to_table()}\nSee {options.output}/demo.png, demo.gif and demo.json.')
    return 1 if report.shortcomings() else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog='python -m instructseg_ros.tabletop.demo',
        description='A simulated camera and the segmentation node as two processes, instructions '
        'of every kind, and how well they are followed.',
    )
    parser.add_argument(
        '--output',
        type=Path,
        default=Path('demo'),
        help='folder for pictures, figures and logs (default: demo)',
    )
    parser.add_argument(
        '--model', default='embedded', help='embedded, a folder or a hub id (default: embedded)'
    )
    parser.add_argument(
        '--source',
        choices=('auto', 'live', 'recording'),
        default='auto',
        help='where the frames come from (default: auto)',
    )
    return parser.parse_args(arguments)


if __name__ == '__main__':
    sys.exit(main())
