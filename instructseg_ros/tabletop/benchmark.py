"""The tabletop benchmark and the calibration of score thresholds on its scenes."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from instructseg_ros.model.manifest import MANIFEST, write_manifest
from instructseg_ros.model.segmenter import Prediction, Segmenter
from instructseg_ros.research.evaluation.metrics import intersection_over_union
from instructseg_ros.research.evaluation.processes import Processes
from instructseg_ros.tabletop.instructions import KINDS, TabletopInstruction, generate, new_words
from instructseg_ros.tabletop.world.simulator import Tabletop

# Training takes its scenes from 1,000,000 on.
EVALUATION_SEED: Final = 0
CALIBRATION_SEED: Final = 500_000
TRAINING_SEED: Final = 1_000_000
_ABSENT_EACH = 5  # every fifth instruction asks for what is not there


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """How one instruction was answered.

    Args:
        kind: of the instruction.
        present: whether its target is in the scene.
        score: of the best mask.
        iou: of the best mask with the truth; 0 for an absent target.
        empty: the best mask has no pixel.
        new_words: the instruction has words that no training wording has.
    """

    kind: str
    present: bool
    score: float
    iou: float
    empty: bool
    new_words: bool

    def found(self, threshold: float) -> bool:
        """Whether the model says that the target is there."""
        return self.score >= threshold and not self.empty


def answer_scenes(
    segmenter: Segmenter,
    seeds: Sequence[int],
    *,
    held_out: bool = False,
    size: tuple[int, int] = (640, 480),
) -> list[Answer]:
    """Put instructions of every kind to a model on some scenes.

    Args:
        held_out: word them with what is held out of training.
        size: (width, height) of the camera.
    """
    answers: list[Answer] = []
    with Tabletop(width=size[0], height=size[1]) as tabletop:
        for seed in tqdm(seeds, 'held-out wording' if held_out else 'seen wording'):
            answers += _answer_scene(segmenter, tabletop, seed, held_out=held_out)
    return answers


def evaluate_tabletop(segmenter: Segmenter, *, scenes: int, processes: Processes) -> dict[str, Any]:
    """Evaluate on scenes that training never saw.

    Args:
        processes: this one and those that answer the other scenes.

    Returns:
        the figures of `report` for the wordings of training, and the same under `seen_wording`
        and `held_out_wording` for wordings of training and for those held out of it; under
        `held_out_wording_seen_scenes` held-out wordings on scenes of the training set.
    """
    held_out_scenes = range(EVALUATION_SEED, EVALUATION_SEED + scenes)
    seen_scenes = range(TRAINING_SEED, TRAINING_SEED + scenes)
    threshold = segmenter.threshold

    def reported(scenes: range, *, held_out: bool) -> dict[str, Any]:
        mine = scenes[processes.rank :: processes.count]
        answers = processes.gather(answer_scenes(segmenter, mine, held_out=held_out))
        return report(answers, threshold)

    seen = reported(held_out_scenes, held_out=False)
    both = reported(held_out_scenes, held_out=True)
    wording = reported(seen_scenes, held_out=True)
    return {
        **seen,
        'seen_wording': seen,
        'held_out_wording': both,
        'held_out_wording_seen_scenes': wording,
        'model': segmenter.name,
        'threshold': threshold,
        'scenes': scenes,
    }


def table(figures: dict[str, Any]) -> str:
    """The figures of `evaluate_tabletop` for a person to read."""
    columns = {
        'held-out scenes': figures['seen_wording'],
        'held-out wording': figures['held_out_wording_seen_scenes'],
        'both': figures['held_out_wording'],
    }
    parts = columns.values()
    rows = {'': list(columns), 'kind': ['IoU   > 0.5      n'] * len(columns)}
    rows |= {kind: [_cell(part['kinds'][kind]) for part in parts] for kind in KINDS}
    rows['known words'] = [_cell(part['known_words']) for part in parts]
    rows['new words'] = [_cell(part['new_words']) for part in parts]
    rows['absent right'] = [_absent(part) for part in parts]
    rows['present missed'] = [_missed(part) for part in parts]
    return '\n'.join(
        f'{name:16}' + ''.join(f'{cell:>28}' for cell in cells) for name, cells in rows.items()
    )


def report(answers: Sequence[Answer], threshold: float) -> dict[str, Any]:
    """Figures over answers; a present target that is not answered counts as IoU 0."""
    present = [answer for answer in answers if answer.present]
    absent = [answer for answer in answers if not answer.present]
    silent = [not answer.found(threshold) for answer in absent]
    missed = [not answer.found(threshold) for answer in present]
    known = [answer for answer in present if not answer.new_words]
    new = [answer for answer in present if answer.new_words]
    return {
        'kinds': {kind: _overlap(_of_kind(present, kind), threshold) for kind in KINDS},
        'mean_iou': _overlap(present, threshold)['iou'],
        'known_words': _overlap(known, threshold),
        'new_words': _overlap(new, threshold),
        'absent': {'right': _mean(silent), 'n': len(absent)},
        'present_missed': _mean(missed),
    }


def _answer_scene(
    segmenter: Segmenter, tabletop: Tabletop, seed: int, *, held_out: bool
) -> Iterator[Answer]:
    rng = np.random.default_rng((seed, held_out))
    tabletop.reset(seed)
    stride = segmenter.reference_stride
    start = rng.uniform(0, 4)
    count = segmenter.reference_frames
    earlier = [tabletop.observe(start + i * stride, truth=False).rgb for i in range(count)]
    frame = tabletop.observe(start + count * stride)
    instructions = list(_instructions(frame.graph, rng, held_out=held_out))
    references = segmenter.encode(earlier)
    texts = [instruction.text for instruction in instructions]
    predictions = segmenter.segment_all(frame.rgb, texts, references)
    for instruction, prediction in zip(instructions, predictions, strict=True):
        yield _answer(instruction, prediction, frame.labels)


def _instructions(
    graph: Any, rng: np.random.Generator, *, held_out: bool
) -> Iterator[TabletopInstruction]:
    """Two instructions of each kind that the scene can give."""
    for kind in KINDS * 2:
        absent = bool(rng.integers(_ABSENT_EACH) == 0)
        instruction = generate(graph, rng, kind=kind, absent=absent, held_out=held_out)
        if instruction is not None:
            yield instruction


def _answer(instruction: TabletopInstruction, prediction: Prediction, labels: np.ndarray) -> Answer:
    truth = np.isin(labels, list(instruction.targets))
    present = bool(instruction.targets)
    return Answer(
        kind=instruction.kind,
        present=present,
        score=prediction.score,
        iou=intersection_over_union(prediction.mask, truth) if present else 0.0,
        empty=not prediction.mask.any(),
        new_words=bool(new_words(instruction.text)),
    )


def _of_kind(answers: Iterable[Answer], kind: str) -> list[Answer]:
    return [answer for answer in answers if answer.kind == kind]


def _overlap(answers: Sequence[Answer], threshold: float) -> dict[str, Any]:
    overlaps = [answer.iou if answer.found(threshold) else 0.0 for answer in answers]
    above = [overlap > 0.5 for overlap in overlaps]
    return {'iou': _mean(overlaps), 'above_half': _mean(above), 'n': len(answers)}


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else 0.0


def _cell(cell: dict[str, Any]) -> str:
    return f'{cell["iou"]:.3f} {cell["above_half"]:7.3f} {cell["n"]:6}'


def _absent(column: dict[str, Any]) -> str:
    return f'{column["absent"]["right"]:.3f}         {column["absent"]["n"]:6}'


def _missed(column: dict[str, Any]) -> str:
    return f'{column["present_missed"]:.3f}               '


_CANDIDATES: Final = np.linspace(0.01, 0.99, 99)
_MOST_MISSED: Final = 0.025
_MOST_RELEASED: Final = 0.01


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Scores that decide between found and not found.

    Args:
        found: from which a target counts as found.
        release: below which one that was found counts as gone: lower, so that it does not flicker.
    """

    found: float
    release: float

    def write(self, folder: Path) -> Path:
        """Store them in a model's folder; return the file that was changed."""
        file = folder / 'config.json'
        config = json.loads(file.read_text())
        config |= {'score_threshold': self.found, 'release_threshold': self.release}
        changed = file.with_suffix('.new')
        changed.write_text(json.dumps(config, indent=2, sort_keys=True) + '\n')
        changed.replace(file)
        if (folder / MANIFEST).is_file():
            write_manifest(folder)
        return file


def calibrate(answers: Sequence[Answer]) -> Thresholds:
    """Choose the thresholds of a model from its answers.

    The first refuses most absent targets while it misses at most a fortieth of the others: what is
    not there must not be grasped, and what is missed can be asked for again. The second is the
    highest that misses at most a hundredth of the targets that are there, but at least half of
    the first, so that what has gone is let go.

    Raises:
        ValueError: there is no answer for a target that is there, or none for one that is not.
    """
    present = _scores(answers, present=True)
    absent = _scores(answers, present=False)
    if not len(present) or not len(absent):
        raise ValueError('calibration needs targets that are there and targets that are not')
    missed = (present[:, None] < _CANDIDATES).mean(axis=0)
    right = (absent[:, None] < _CANDIDATES).mean(axis=0)
    honest = np.where(missed <= _MOST_MISSED, right, -missed)
    found = float(_CANDIDATES[honest.argmax()])
    kept = _CANDIDATES[missed <= _MOST_RELEASED].max(initial=0.0)
    return Thresholds(found=found, release=float(np.clip(kept, found / 2, found)))


def _scores(answers: Sequence[Answer], *, present: bool) -> np.ndarray:
    return np.array([0.0 if a.empty else a.score for a in answers if a.present == present])
