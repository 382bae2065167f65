"""The benchmark of labelled pictures: what a model finds of the nouns that it was taught."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from instructseg_ros.model.prediction import Prediction
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.model.taught_network import read_taught
from instructseg_ros.research.evaluation.metrics import intersection_over_union, mean
from instructseg_ros.research.evaluation.runner import Processes
from instructseg_ros.tabletop.instructions.noun_phrase import pluralized
from instructseg_ros.teaching.example_files import read_examples, select
from instructseg_ros.teaching.examples import Example


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExampleAnswer:
    """The model's answer to one noun on one picture.

    Attributes:
        source: The picture.
        name: The noun.
        instruction: The instruction.
        iou: IoU with the union of its objects, 0 if nothing was found; None if it is not there.
        found: Whether the model reports a target.
        score: Score of the mask.
    """

    source: str
    name: str
    instruction: str
    iou: float | None
    found: bool
    score: float


def taught_names(folder: Path) -> list[str]:
    """Return the nouns that the model in a folder was taught.

    Raises:
        ValueError: There are none.
    """
    if names := [noun.name for noun in read_taught(folder)]:
        return names
    raise ValueError(f'{folder} was taught nothing: name the folder of a taught model')


def read_selected(path: Path, names: Sequence[str], only: Sequence[str] = ()) -> list[Example]:
    """Read labelled pictures with the objects of some nouns.

    Args:
        path: Folder or file in any format of `read_examples`.
        names: The nouns.
        only: COCO ids or file names of the pictures to keep; empty: all.

    Raises:
        DataError: The pictures cannot be read; the message says how to fix it.
        ValueError: An entry of `only` fits no picture.
    """
    examples = read_examples(path, names)
    return select(examples, only)[0] if only else examples


def evaluate_examples(
    segmenter: Segmenter, examples: Sequence[Example], names: Sequence[str], *, processes: Processes
) -> dict[str, Any]:
    """Ask a model for all objects of every noun on every picture; return figures of `report`.

    Args:
        segmenter: The model.
        examples: Pictures in which all objects of the nouns are labelled.
        names: The nouns, in lower case and singular.
        processes: The processes that share the pictures.
    """
    mine = examples[processes.rank :: processes.count]
    answers = [
        answer for example in tqdm(mine, 'pictures') for answer in _ask(segmenter, example, names)
    ]
    return {
        **report(processes.gather(answers), names),
        'model': segmenter.name,
        'threshold': segmenter.threshold,
        'pictures': len(examples),
    }


def _ask(segmenter: Segmenter, example: Example, names: Sequence[str]) -> Iterator[ExampleAnswer]:
    texts = [f'all the {pluralized(name)}' for name in names]
    predictions = segmenter.segment_all(example.image, texts)
    for name, text, prediction in zip(names, texts, predictions, strict=True):
        yield answer_of(example, name, text, prediction)


def answer_of(example: Example, name: str, text: str, prediction: Prediction) -> ExampleAnswer:
    """Compare a prediction for an instruction with the objects of a noun in a picture."""
    truth, iou = example.union(name), None
    if truth.any():
        iou = intersection_over_union(prediction.mask, truth) if prediction.found else 0.0
    return ExampleAnswer(
        source=example.source,
        name=name,
        instruction=text,
        iou=iou,
        found=bool(prediction.found),
        score=float(prediction.score),
    )


def report(answers: Iterable[ExampleAnswer], names: Sequence[str]) -> dict[str, Any]:
    """Compute the figures of each noun and of all together.

    Returns:
        `names` and `all` with the mean `iou` and the number `present` of pictures that contain the
        noun, the share `absent_right` of the others in which it is not found, and their number
        `absent`; and `rows`, all answers.
    """
    answers = list(answers)
    return {
        'names': {name: _cell([one for one in answers if one.name == name]) for name in names},
        'all': _cell(answers),
        'rows': [dataclasses.asdict(answer) for answer in answers],
    }


def _cell(answers: Sequence[ExampleAnswer]) -> dict[str, Any]:
    overlaps = [answer.iou for answer in answers if answer.iou is not None]
    absent = [not answer.found for answer in answers if answer.iou is None]
    return {
        'iou': mean(overlaps),
        'missed': mean([overlap == 0.0 for overlap in overlaps]),
        'present': len(overlaps),
        'absent_right': mean(absent),
        'absent': len(absent),
    }


def table(figures: dict[str, Any]) -> str:
    """Format the figures of `evaluate_examples` as a table."""
    lines = [f'{"":20}{"IoU":>8}{"missed":>8}{"n":>6}{"absent right":>15}{"n":>6}']
    for name, cell in [*figures['names'].items(), ('all', figures['all'])]:
        shown = [_shown(cell, 'iou', 'present'), _shown(cell, 'missed', 'present')]
        right = _shown(cell, 'absent_right', 'absent')
        lines.append(
            f'{name:20}{shown[0]:>8}{shown[1]:>8}{cell["present"]:6}{right:>15}{cell["absent"]:6}'
        )
    return '\n'.join(lines)


def _shown(cell: dict[str, Any], figure: str, number: str) -> str:
    return f'{cell[figure]:.3f}' if cell[number] else '-'
