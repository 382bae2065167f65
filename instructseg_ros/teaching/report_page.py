"""Shows the report of a teaching: a table for a terminal, and a page of pictures."""

from __future__ import annotations

import base64
import io
import json
import shlex
import textwrap
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

from PIL import Image

from instructseg_ros.teaching.examples import Example, names_of
from instructseg_ros.teaching.report import Picture, drawn, spread

FOLDER: Final = 'teaching'  # in a model folder
PAGE: Final = 'index.html'
FIGURES: Final = 'report.json'
_SHOWN: Final = 12  # pictures of a kind on the page
_WIDTH: Final = 96  # of a note in a terminal, characters
_QUALITY: Final = 82  # of a JPEG
_MARKS: Final = {'held out': '', 'validation': ' *', 'training': ' **'}
_STYLE: Final = """
:root { color-scheme: light dark }
body { background: Canvas; color: CanvasText; font: 16px/1.5 system-ui, sans-serif;
  max-width: 1040px; margin: 2rem auto; padding: 0 1rem }
h1 { margin-bottom: 0 } h2 { margin-top: 2.5rem }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
th, td { padding: .2rem .9rem .2rem 0; text-align: right; border-bottom: 1px solid #8886 }
th:first-child, td:first-child { text-align: left }
.row { display: flex; flex-wrap: wrap; gap: 1rem }
figure { margin: 0; width: 320px; max-width: 100% } img { max-width: 100%; height: auto }
figcaption { font-size: .85rem; overflow-wrap: anywhere }
.bad { outline: 3px solid #d33; outline-offset: 3px }
pre { overflow-x: auto; padding: .8rem; border: 1px solid #8886 } small { opacity: .75 }
"""


def _tables(figures: dict[str, Any]) -> list[list[list[str]]]:
    """Return tables as rows of cells; the first row of each is its head."""
    taught = [
        ['taught', 'examples', 'unseen: IoU', 'n', 'composed: IoU', 'n', 'absent: right', 'n']
    ]
    for name, row in figures['taught'].items():
        cells = [_cell(row['unseen'], 'iou', 'present'), _cell(row['composed'], 'iou', 'present')]
        cells.append(_cell(row['absent'], 'absent_right', 'absent'))
        cells[0][0] += _MARKS[row['source']]
        title = f'{name} (new)' if name in figures['names'] else name
        taught.append([title, str(row['examples']), *(text for cell in cells for text in cell)])
    tables = [taught] if figures['taught'] else []
    if forgetting := figures['forgetting']:
        known = [['known before', 'IoU before', 'IoU after', 'loss', 'n']]
        for category, row in forgetting['categories'].items():
            if row['n']:
                shown = [f'{row[each]:.3f}' for each in ('before', 'after', 'loss')]
                known.append([category, *shown, str(row['n'])])
        tables.append([*known, ['largest loss', '', '', f'{forgetting["largest_loss"]:.3f}', '']])
    return tables


def _cell(cell: dict[str, Any], figure: str, number: str) -> list[str]:
    return [f'{cell[figure]:.2f}' if cell[number] else '-', str(cell[number])]


def table(figures: dict[str, Any]) -> str:
    """Format the figures of `measure` as a table for a terminal."""
    lines = []
    for rows in _tables(figures):
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for first, *others in rows:
            cells = (f'  {text:>{width}}' for text, width in zip(others, widths[1:], strict=True))
            lines.append(f'{first:{widths[0]}}' + ''.join(cells))
        lines.append('')
    return '\n'.join([*lines, *(textwrap.fill(note, _WIDTH) for note in figures['notes'])])


def next_commands(folder: Path, names: Sequence[str]) -> list[tuple[str, str]]:
    """Return what to do with a model next: a title and a command each."""
    model, quoted = shlex.quote(str(folder)), [shlex.quote(name) for name in names[:1]]
    commands = [('switch a running node to it', f'instructseg use {model}')]
    for name, word in zip(names, quoted, strict=False):
        question = shlex.quote(f'the {name}')
        more = f'instructseg teach {word} --add --data PICTURES --model {model}'
        commands.insert(0, ('try it', f'instructseg segment PICTURE {question} --model {model}'))
        commands.append((f'add examples of the {name}', more))
        commands.append((f'forget the {name}', f'instructseg forget {word} --model {model}'))
    return commands


def write_page(
    folder: Path, figures: dict[str, Any], examples: Sequence[Example], pictures: Sequence[Picture]
) -> Path:
    """Write the page of pictures and `report.json` into a model folder.

    Args:
        folder: The model folder.
        figures, pictures: Results of `measure`.
        examples: The examples that the page shows.

    Returns:
        The page, which needs no other file.
    """
    target = folder / FOLDER
    target.mkdir(exist_ok=True)
    (target / FIGURES).write_text(json.dumps(figures, indent=1) + '\n')
    (target / PAGE).write_text(_page(folder, figures, examples, pictures), encoding='utf-8')
    return target / PAGE


def _page(
    folder: Path, figures: dict[str, Any], examples: Sequence[Example], pictures: Sequence[Picture]
) -> str:
    names = figures['names'] or [*figures['taught']]
    title = f'Teaching report: {", ".join(names) or "nothing taught"}'
    present = [each for each in pictures if each.answer.iou is not None]
    wrong = [each for each in pictures if each.answer.iou is None and each.is_failure]
    new = [each for each in examples if {*names} & {*names_of([each])}]
    commands = '\n\n'.join(f'# {what}\n{command}' for what, command in next_commands(folder, names))
    sections = [
        ('Examples', [_example_figure(each) for each in spread(new, _SHOWN)]),
        ('Answers, failures first', [_figure(e) for e in _sorted(present)]),
        ('Found where it is not', [_figure(each) for each in wrong[:_SHOWN]]),
    ]
    return '\n'.join(
        [
            '<!DOCTYPE html>',
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
            "img-src data:; style-src 'unsafe-inline'\">",
            f'<title>{escape(title)}</title><style>{_STYLE}</style></head><body>',
            f'<h1>{escape(title)}</h1>',
            f'<p>{escape(figures["date"])}, from the model {escape(figures["before"])}, measured '
            f'in {figures["seconds"]:.0f} s</p>',
            *map(_html_table, _tables(figures)),
            *(f'<p><small>{escape(note)}</small></p>' for note in figures['notes']),
            '<p><small>In color, outlined in pink: the answer. Green outline: label.</small></p>',
            *(
                f'<h2>{title}</h2>\n<div class="row">{"".join(some)}</div>'
                for title, some in sections
                if some
            ),
            f'<h2>Next</h2>\n<pre>{escape(commands)}</pre>',
            '</body></html>\n',
        ]
    )


def _sorted(pictures: Sequence[Picture]) -> list[Picture]:
    """Return some failures, the worst first, and then some successes, the best last."""
    ordered = sorted(pictures, key=lambda each: each.answer.iou or 0.0)
    failures = [each for each in ordered if each.is_failure]
    return failures[:_SHOWN] + spread(ordered[len(failures) :], _SHOWN)


def _html_table(rows: Sequence[Sequence[str]]) -> str:
    head, *body = (
        ''.join(f'<{tag}>{escape(text)}</{tag}>' for text in row)
        for row, tag in zip(rows, ['th', *['td'] * len(rows)], strict=False)
    )
    return f'<table><tr>{head}</tr>' + ''.join(f'<tr>{row}</tr>' for row in body) + '</table>'


def _example_figure(example: Example) -> str:
    names = ', '.join(names_of([example]))
    image = drawn(example.image, [one.mask for one in example.objects])
    return _html_figure(image, f'{names} ({example.source})', f'Example of {names}')


def _figure(picture: Picture) -> str:
    answer = picture.answer
    caption = f'{picture.caption()} ({answer.source})'
    alt = f'The answer to "{answer.instruction}" on {answer.source}'
    return _html_figure(picture.image, caption, alt, bad=picture.is_failure)


def _html_figure(image: Image.Image, caption: str, alt: str, *, bad: bool = False) -> str:
    content = io.BytesIO()
    image.save(content, 'JPEG', quality=_QUALITY)
    data = base64.b64encode(content.getvalue()).decode()
    return (
        f'<figure{" class=bad" if bad else ""}><img src="data:image/jpeg;base64,{data}" '
        f'width="{image.width}" height="{image.height}" alt="{escape(alt)}">'
        f'<figcaption>{escape(caption)}</figcaption></figure>\n'
    )
