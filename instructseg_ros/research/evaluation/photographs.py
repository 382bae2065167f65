"""The benchmark of photographs: nouns that are in a picture, and nouns that are not."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image
from tqdm import tqdm

from instructseg_ros.model.prediction import Prediction
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.research.evaluation.metrics import intersection_over_union, mean
from instructseg_ros.research.evaluation.runner import Processes

LABELS: Final = 'labels.json'
PHOTOGRAPHS: Final = Path(__file__).parents[2] / 'models' / 'photographs'  # of this package
MIN_SHARE: Final = 0.02  # of a picture that a target fills
Box = tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Photograph:
    """A picture with nouns.

    Attributes:
        file: The picture.
        present: Each noun in the picture, with the boxes (left, top, right, bottom) of all of its
            objects or with a mask: a picture of the same size, 0 outside the objects.
        absent: Nouns that are not in the picture.
    """

    file: Path
    present: dict[str, tuple[Box, ...] | Path]
    absent: tuple[str, ...]

    def image(self) -> Image.Image:
        """Read the picture, RGB."""
        with Image.open(self.file) as opened:
            return opened.convert('RGB')

    def has_mask(self, noun: str) -> bool:
        """Return whether the truth of a noun is a mask and not boxes."""
        return isinstance(self.present[noun], Path)

    def truth(self, noun: str) -> np.ndarray:
        """Return the true (H, W) bool mask of a noun that is present; boxes are filled."""
        given = self.present[noun]
        if isinstance(given, Path):
            with Image.open(given) as opened:
                return np.asarray(opened.convert('L')) > 0
        width, height = self.image().size
        truth = np.zeros((height, width), dtype=bool)
        for left, top, right, bottom in given:
            truth[top:bottom, left:right] = True
        return truth


@dataclasses.dataclass(frozen=True, kw_only=True)
class NounAnswer:
    """The model's answer to one noun.

    Attributes:
        noun: The noun.
        present: Whether it is in the picture.
        share: Share of the picture that its objects fill.
        found: Whether the model reports it.
        score: Score of the mask.
        iou: IoU with the true mask, or of the bounding boxes; 0 for an absent or missed noun.
        centred: Whether the centre of the mask lies on an object.
    """

    noun: str
    present: bool
    share: float
    found: bool
    score: float
    iou: float
    centred: bool


def read_photographs(folder: Path) -> list[Photograph]:
    """Read the pictures of a folder.

    Args:
        folder: Folder of the pictures and of `labels.json`: a list of
            `{"file": NAME, "present": [{"noun": NOUN, "boxes": [[l, t, r, b], ...]}, ...],
            "absent": [NOUN, ...]}`, with `"mask": NAME` in place of `boxes` where there is one.

    Raises:
        ValueError: The labels cannot be read; the message names the entry.
    """
    try:
        entries = json.loads((folder / LABELS).read_text())
    except OSError:
        raise ValueError(f'{folder} has no {LABELS}: see docs/your_data.md') from None
    except json.JSONDecodeError as error:
        raise ValueError(f'{folder / LABELS} is not JSON: {error}') from error
    return [_photograph(folder, number, entry) for number, entry in enumerate(entries)]


def _photograph(folder: Path, number: int, entry: Any) -> Photograph:
    try:
        present: dict[str, tuple[Box, ...] | Path] = {}
        for one in entry.get('present', ()):
            if 'mask' in one:
                present[one['noun']] = folder / one['mask']
            else:
                present[one['noun']] = tuple(_box(box) for box in one['boxes'])
        file, absent = folder / entry['file'], tuple(entry.get('absent', ()))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f'entry {number} of {folder / LABELS} is wrong ({error!r}): give file, present (noun '
            'with boxes or mask) and absent'
        ) from error
    if not file.is_file():
        raise ValueError(f'entry {number} of {folder / LABELS}: {file} does not exist')
    return Photograph(file=file, present=present, absent=absent)


def _box(values: Sequence[float]) -> Box:
    left, top, right, bottom = (round(value) for value in values)
    return left, top, right, bottom


def evaluate_photographs(
    segmenter: Segmenter, photographs: Sequence[Photograph], *, processes: Processes
) -> dict[str, Any]:
    """Ask a model for every noun of every picture; return the figures of `report`."""
    mine = photographs[processes.rank :: processes.count]
    answers = [answer for one in tqdm(mine, 'photographs') for answer in _ask(segmenter, one)]
    return report(processes.gather(answers))


def _ask(segmenter: Segmenter, photograph: Photograph) -> Iterator[NounAnswer]:
    nouns = [*photograph.present, *photograph.absent]
    predictions = segmenter.segment_all(photograph.image(), [f'the {noun}' for noun in nouns])
    for noun, prediction in zip(nouns, predictions, strict=True):
        if noun not in photograph.present:
            yield _answer(noun, prediction, None, 0.0)
            continue
        truth, iou = photograph.truth(noun), 0.0
        if prediction.found and photograph.has_mask(noun):
            iou = intersection_over_union(prediction.mask, truth)
        elif prediction.found:
            iou = intersection_over_union(filled_box(prediction.mask), filled_box(truth))
        yield _answer(noun, prediction, truth, iou)


def _answer(noun: str, prediction: Prediction, truth: np.ndarray | None, iou: float) -> NounAnswer:
    found = bool(prediction.found)
    return NounAnswer(
        noun=noun,
        present=truth is not None,
        share=0.0 if truth is None else float(truth.mean()),
        found=found,
        score=prediction.score,
        iou=iou,
        centred=found and truth is not None and bool(truth[_centre(prediction.mask)]),
    )


def filled_box(mask: np.ndarray) -> np.ndarray:
    """Return the bounding box of a (H, W) bool mask as a mask."""
    box = Image.fromarray(mask).getbbox()
    filled = np.zeros_like(mask)
    if box is not None:
        left, top, right, bottom = box
        filled[top:bottom, left:right] = True
    return filled


def _centre(mask: np.ndarray) -> tuple[int, int]:
    rows, columns = np.nonzero(mask)
    return int(rows.mean()), int(columns.mean())


def report(answers: Sequence[NounAnswer]) -> dict[str, Any]:
    """Return the figures of all answers: shares, and those of each noun that is present.

    Nouns that fill less than 2 % of a picture do not count.
    """
    present = [one for one in answers if one.present and one.share >= MIN_SHARE]
    absent = [one for one in answers if not one.present]
    nouns = defaultdict(list)
    for one in present:
        nouns[one.noun].append(one)
    return {
        'present': len(present),
        'absent': len(absent),
        **_shares(present),
        'absent_found': mean([one.found for one in absent]),
        'nouns': {noun: {'n': len(some), **_shares(some)} for noun, some in sorted(nouns.items())},
    }


def _shares(answers: Sequence[NounAnswer]) -> dict[str, float]:
    return {
        'found': mean([one.found for one in answers]),
        'IoU': mean([one.iou for one in answers]),
        'IoU>=0.5': mean([one.iou >= 0.5 for one in answers]),
        'centred': mean([one.centred for one in answers]),
    }


def table(figures: dict[str, Any]) -> str:
    """Format the figures as a table; nouns that are never found come last."""
    lines = [f'{"":20}{"n":>6}{"found":>8}{"IoU":>8}{">= 0.5":>8}{"centred":>9}']
    rows = sorted(figures['nouns'].items(), key=lambda item: -float(item[1]['IoU']))
    for noun, row in [*rows, ('all', {**figures, 'n': figures['present']})]:
        lines.append(
            f'{noun:20}{row["n"]:6}{row["found"]:8.2f}{row["IoU"]:8.2f}{row["IoU>=0.5"]:8.2f}'
            f'{row["centred"]:9.2f}'
        )
    lines.append(f'absent nouns found: {figures["absent_found"]:.3f} of {figures["absent"]}')
    return '\n'.join(lines)
