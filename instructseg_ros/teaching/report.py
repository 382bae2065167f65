"""Measures what a model was taught, and what it forgot, and draws its answers."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from PIL import Image
from tqdm import tqdm

from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.research.evaluation.runner import Processes
from instructseg_ros.streaming.overlay import MASK_COLOR, outline
from instructseg_ros.tabletop.instructions.noun_phrase import pluralized
from instructseg_ros.tabletop.world.mujoco_model import OpenGLError
from instructseg_ros.teaching.backgrounds import (
    MEASURING_SEED,
    Background,
    photographed_backgrounds,
    rendered_backgrounds,
)
from instructseg_ros.teaching.composer import MIN_PIXELS, Composer, is_whole
from instructseg_ros.teaching.example_benchmark import ExampleAnswer, answer_of, report
from instructseg_ros.teaching.examples import Example, LabelledObject, names_of
from instructseg_ros.teaching.trainer import split

GOOD: Final = 0.5  # IoU below which an answer counts as a failure
_SCENES: Final = 13  # rendered; with the seven photographs, 20 pictures without the object
_COMPOSED: Final = 20
_MAX_HELD_OUT: Final = 40  # pictures; `instructseg evaluate examples` measures on all
_SIDE: Final = 320  # longer side of a picture on the page, pixels
_DIMMED: Final = 0.75  # brightness outside an answer
_TRUTH_COLOR: Final = (60, 230, 90)
_KINDS: Final = ('unseen', 'composed', 'absent')  # of pictures
_LEGEND: Final = {
    'columns': 'IoU: 0 where nothing is found; composed: objects pasted among others; absent: '
    'share of pictures without the object in which it is not found',
    'validation': '* few pictures, which also chose the best step of the training: name others '
    'with --hold-out',
    'training': '** pictures that training learned from: give six or more of each name, or name '
    'others with --hold-out',
}

_T = TypeVar('_T')


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """A model's answer, drawn on its picture.

    Attributes:
        kind: One of `_KINDS`.
        answer: The answer.
        image: The picture at the page's size, gray outside the answer, with outlines.
    """

    kind: str
    answer: ExampleAnswer
    image: Image.Image = dataclasses.field(repr=False)

    @property
    def is_failure(self) -> bool:
        """Whether the object was missed, badly covered, or found where it is not."""
        return self.answer.found if self.answer.iou is None else self.answer.iou < GOOD

    def caption(self) -> str:
        """Describe the answer in a line."""
        answer = self.answer
        if not answer.found:
            shown = f'not found, score {answer.score:.2f}'
        elif answer.iou is None:
            shown = f'found but absent, score {answer.score:.2f}'
        else:
            shown = f'IoU {answer.iou:.2f}, score {answer.score:.2f}'
        return f'{"failure: " if self.is_failure else ""}{answer.instruction}: {shown}'


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Question:
    """A labelled picture, and the nouns to ask for on it."""

    example: Example
    names: Sequence[str]


def measure(
    before: Path,
    after: Path,
    examples: Sequence[Example],
    held_out: Sequence[Example],
    names: Sequence[str],
    *,
    scenes: int,
) -> tuple[dict[str, Any], list[Picture]]:
    """Measure a taught model; takes about a minute on two cores.

    Args:
        before: Folder of the model that it was taught from.
        after: Folder of the taught model.
        examples: All its examples, in the order in which training got them.
        held_out: Labelled pictures that training did not get.
        names: The nouns of this teaching.
        scenes: Simulated scenes that compare objects known before; 0: no comparison.

    Returns:
        The figures: `taught` and `forgetting` with the rows of `table`, `rows` with all answers,
        `notes`, `seconds` and metadata; and the answers about taught nouns, drawn.
    """
    start, taught = time.monotonic(), names_of(examples)
    obstacle, segmenter = _why_no_rendering(), Segmenter.from_pretrained(str(after))
    unseen, sources = _unseen(examples, held_out, taught)
    backgrounds = rendered_backgrounds(_SCENES, MEASURING_SEED) if taught else []
    questions = {
        'unseen': unseen,
        'composed': _composed([each.example for each in unseen], taught, backgrounds),
        'absent': [
            _without_objects(each, taught)
            for each in [*backgrounds, *(photographed_backgrounds() if taught else [])]
        ],
    }
    pictures = [each for kind, some in questions.items() for each in _ask(segmenter, some, kind)]
    why_not = '' if scenes else 'no scenes were asked for'
    why_not = 'MuJoCo does not render here' if obstacle else why_not
    notes = _notes(questions, sources, len(held_out), obstacle) if taught else []
    if why_not:
        notes.append(f'objects known before were not compared: {why_not}')
    figures = {
        'date': datetime.now().astimezone().isoformat(' ', 'minutes'),
        'before': str(before),
        'after': str(after),
        'names': list(names),
        'taught': _taught_figures(pictures, examples, sources),
        'forgetting': None if why_not else _forgetting(before, segmenter, scenes),
        'notes': notes,
        'rows': [{'kind': each.kind, **dataclasses.asdict(each.answer)} for each in pictures],
    }
    return {**figures, 'seconds': round(time.monotonic() - start, 1)}, pictures


def _notes(
    questions: Mapping[str, Sequence[_Question]],
    sources: Mapping[str, str],
    held_out: int,
    obstacle: str,
) -> list[str]:
    """Explain how the pictures were chosen, and what was left out."""
    notes = [_LEGEND['columns'], *(_LEGEND[e] for e in _LEGEND if e in sources.values())]
    if held_out > _MAX_HELD_OUT:
        notes.append(f'{_MAX_HELD_OUT} of {held_out} held-out pictures were measured')
    if any(each.example.alone for each in questions['unseen']):
        notes.append('frames of an object alone are easy: see the composed pictures')
    if not questions['composed']:
        notes.append('no composed pictures: the edge cuts off all objects to paste')
    if obstacle:
        notes.append(f'backgrounds are those of the shipped recording: {obstacle}')
    return notes


def _taught_figures(
    pictures: Sequence[Picture], examples: Sequence[Example], sources: Mapping[str, str]
) -> dict[str, Any]:
    """Return the figures of each noun: by kind of picture, see `example_benchmark.report`."""
    kinds = {
        kind: report([each.answer for each in pictures if each.kind == kind], [*sources])['names']
        for kind in _KINDS
    }
    return {
        name: {
            'examples': sum(bool(each.union(name).any()) for each in examples),
            'source': source,
            **{kind: cells[name] for kind, cells in kinds.items()},
        }
        for name, source in sources.items()
    }


def _why_no_rendering() -> str:
    """Return why MuJoCo cannot render here; '' if it can."""
    try:
        from instructseg_ros.tabletop.world.simulator import Tabletop

        with Tabletop():
            return ''
    except (ImportError, OpenGLError) as error:
        return str(error)


def _unseen(
    examples: Sequence[Example], held_out: Sequence[Example], names: Sequence[str]
) -> tuple[list[_Question], dict[str, str]]:
    """Choose pictures to measure each noun on; return them and a key of `_MARKS` for each noun."""
    _, chosen = split(examples, names)
    other = 'validation' if len(chosen) < len(examples) else 'training'
    apart = [name for name in names if name in names_of(held_out)]
    rest = [name for name in names if name not in apart]
    some = spread(held_out, _MAX_HELD_OUT)
    questions = [_Question(example=each, names=apart) for each in some if apart]
    questions += [_Question(example=each, names=rest) for each in chosen if rest]
    return questions, {name: 'held out' if name in apart else other for name in names}


def _without_objects(background: Background, names: Sequence[str]) -> _Question:
    """Ask for the nouns that a background does not show."""
    absent = [name for name in names if not background.may_show([name])]
    example = Example(image=background.image, objects=(), source=background.source)
    return _Question(example=example, names=absent)


def _composed(
    examples: Sequence[Example], names: Sequence[str], backgrounds: Sequence[Background]
) -> list[_Question]:
    """Compose cluttered pictures; none if the edges cut off all objects of the examples."""
    objects = [one for each in examples for one in each.objects if one.name in names]
    if not any(is_whole(one.mask) for one in objects):
        return []
    plain = [each for each in backgrounds if not each.may_show(names)]
    composer = Composer(examples, names, plain, np.random.default_rng(0))
    questions = []
    for number in range(_COMPOSED):
        drawn = composer.draw()
        shown = [drawn.names == 1 + index for index in range(len(names))]
        # Nobody could tell whether an object that is mostly hidden counts.
        clear = [not m.any() or (m & (drawn.objects > 0)).sum() >= MIN_PIXELS for m in shown]
        labelled = tuple(
            LabelledObject(name=name, mask=mask)
            for name, mask in zip(names, shown, strict=True)
            if mask.any()
        )
        example = Example(image=drawn.image, objects=labelled, source=f'composed {number}')
        asked = [name for name, each in zip(names, clear, strict=True) if each]
        questions.append(_Question(example=example, names=asked))
    return questions


def _ask(segmenter: Segmenter, questions: Iterable[_Question], kind: str) -> Iterator[Picture]:
    """Ask for all objects of each noun or, on pictures without any, for "the" object."""
    for question in tqdm(questions, f'{kind} pictures', leave=False):
        example, names = question.example, question.names
        texts = [
            f'the {name}' if kind == 'absent' else f'all the {pluralized(name)}' for name in names
        ]
        predictions = segmenter.segment_all(example.image, texts)
        for name, text, prediction in zip(names, texts, predictions, strict=True):
            answer = answer_of(example, name, text, prediction)
            mask = prediction.mask & prediction.found
            image = drawn(example.image, [example.union(name)], mask)
            yield Picture(kind=kind, answer=answer, image=image)


def _forgetting(before: Path, after: Segmenter, scenes: int) -> dict[str, Any]:
    from instructseg_ros.tabletop.taught_benchmark import evaluate_forgetting

    old = Segmenter.from_pretrained(str(before))
    return evaluate_forgetting(old, after, scenes=scenes, processes=Processes())


def drawn(
    image: np.ndarray, truths: Sequence[np.ndarray], mask: np.ndarray | None = None
) -> Image.Image:
    """Gray out what is not in a mask; outline the mask and the labels; return a small copy."""
    scale = min(1.0, _SIDE / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    drawn = np.array(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
    if mask is not None:
        small = _shrunk(mask, size)
        drawn[~small] = (_DIMMED * drawn[~small].mean(1, keepdims=True)).astype(np.uint8)
        drawn[outline(small)] = MASK_COLOR
    for truth in truths:
        drawn[outline(_shrunk(truth, size))] = _TRUTH_COLOR
    return Image.fromarray(drawn)


def _shrunk(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))


def spread(items: Sequence[_T], count: int) -> list[_T]:
    """Choose at most `count` items at even distances."""
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[place] for place in places]
