"""The tabletop benchmark: instructions of every category on new scenes, and on changed pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from instructseg_ros.model.prediction import Prediction
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.research.evaluation.metrics import intersection_over_union, mean
from instructseg_ros.research.evaluation.runner import Processes
from instructseg_ros.tabletop.instructions import (
    INSTRUCTION_CATEGORIES,
    TabletopInstruction,
    generate,
    new_words,
)
from instructseg_ros.tabletop.shifts import SHIFTS, UNSHIFTED, Shift, observe_shifted
from instructseg_ros.tabletop.world.scene_graph import SceneGraph
from instructseg_ros.tabletop.world.simulator import Tabletop

# Seed of the first scene for each purpose; training may use all seeds from 1,000,000 upwards.
EVALUATION_SEED: Final = 0
CALIBRATION_SEED: Final = 500_000
TRAINING_SEED: Final = 1_000_000
_ABSENT_EACH = 5  # one instruction in five refers to an absent target
# Fixed, so that the figures of shifts depend on the pictures and not on how much language there is.
_SHIFT_CATEGORIES: Final = ('attribute', 'superlative', 'relation', 'plural', 'use')
# Comparisons for the shifts, with the same instructions.
UNCHANGED: Final = {'unchanged': UNSHIFTED, 'unchanged, motion': Shift(motion=True)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoredAnswer:
    """The model's result for one instruction, compared with the truth.

    Attributes:
        category: Category of the instruction.
        present: Whether its target is in the scene.
        score: Score of the best mask.
        iou: IoU of the best mask with the true one; 0 for an absent target.
        empty: Whether the best mask has no pixel.
        new_words: Whether the instruction has words that occur in no training wording.
    """

    category: str
    present: bool
    score: float
    iou: float
    empty: bool
    new_words: bool

    def found(self, threshold: float) -> bool:
        """Return whether the model reports the target as found."""
        return self.score >= threshold and not self.empty


def run_scenes(
    segmenter: Segmenter,
    seeds: Sequence[int],
    *,
    held_out: bool = False,
    size: tuple[int, int] = (640, 480),
) -> list[ScoredAnswer]:
    """Run a model on some scenes, with instructions of every category, and score its answers.

    Args:
        segmenter: The model.
        seeds: Seeds of the scenes.
        held_out: Use wordings that are held out of training.
        size: (width, height) of the camera, pixels.
    """
    answers: list[ScoredAnswer] = []
    with Tabletop(width=size[0], height=size[1]) as tabletop:
        for seed in tqdm(seeds, 'held-out wording' if held_out else 'seen wording'):
            answers += _run_scene(segmenter, tabletop, seed, held_out=held_out)
    return answers


def run_shift(
    segmenter: Segmenter, name: str, seeds: Sequence[int], *, size: tuple[int, int] = (640, 480)
) -> list[ScoredAnswer]:
    """Run a model on changed pictures of some scenes, and score its answers.

    The instructions have training wordings and present targets.

    Args:
        segmenter: The model.
        name: A name of `SHIFTS`, or of `UNCHANGED` for a comparison.
        seeds: Seeds of the scenes.
        size: (width, height) of the camera, pixels, unless the shift has its own.
    """
    shift = (SHIFTS | UNCHANGED)[name]
    width, height = shift.size or size
    answers: list[ScoredAnswer] = []
    with Tabletop(width=width, height=height) as tabletop:
        for seed in tqdm(seeds, name):
            answers += _run_scene(segmenter, tabletop, seed, shift=shift)
    return answers


def evaluate_tabletop(segmenter: Segmenter, *, scenes: int, processes: Processes) -> dict[str, Any]:
    """Evaluate a model on scenes and on wordings that are not in the training set.

    Args:
        segmenter: The model.
        scenes: Number of scenes for each of the three reports.
        processes: The processes that share the scenes.

    Returns:
        Three reports: `seen_wording`, with training wordings, which is also merged into the top
        level; `held_out_wording`; and `held_out_wording_seen_scenes`, with held-out wordings on
        scenes of the training set.
    """
    held_out_scenes = range(EVALUATION_SEED, EVALUATION_SEED + scenes)
    seen_scenes = range(TRAINING_SEED, TRAINING_SEED + scenes)
    threshold = segmenter.threshold

    def reported(scenes: range, *, held_out: bool) -> dict[str, Any]:
        mine = scenes[processes.rank :: processes.count]
        answers = processes.gather(run_scenes(segmenter, mine, held_out=held_out))
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


def evaluate_shifts(segmenter: Segmenter, *, scenes: int, processes: Processes) -> dict[str, Any]:
    """Evaluate a model on pictures that differ from those of the training set.

    Args:
        segmenter: The model.
        scenes: Number of scenes for each shift.
        processes: The processes that share the scenes.

    Returns:
        `shifts` with mean IoU, share of IoUs above a half and number of instructions for each
        shift, and `unchanged` with the same for unchanged pictures.
    """
    mine = range(EVALUATION_SEED, EVALUATION_SEED + scenes)[processes.rank :: processes.count]

    def reported(names: Iterable[str]) -> dict[str, Any]:
        answers = {name: processes.gather(run_shift(segmenter, name, mine)) for name in names}
        return {name: _overlap(own, segmenter.threshold) for name, own in answers.items()}

    return {
        'shifts': reported(SHIFTS),
        'unchanged': reported(UNCHANGED),
        'model': segmenter.name,
        'threshold': segmenter.threshold,
        'scenes': scenes,
    }


def shift_table(figures: dict[str, Any]) -> str:
    """Format the figures of `evaluate_shifts` as a table: the shifts with the lowest IoU first."""
    shifts = sorted(figures['shifts'].items(), key=lambda item: float(item[1]['iou']))
    rows = {'': 'IoU   > 0.5      n'}
    rows |= {name: _cell(cell) for name, cell in [*shifts, *figures['unchanged'].items()]}
    return '\n'.join(f'{name:20}{cell:>24}' for name, cell in rows.items())


def table(figures: dict[str, Any]) -> str:
    """Format the figures of `evaluate_tabletop` as a table."""
    columns = {
        'held-out scenes': figures['seen_wording'],
        'held-out wording': figures['held_out_wording_seen_scenes'],
        'both': figures['held_out_wording'],
    }
    parts = columns.values()
    rows = {'': list(columns), 'category': ['IoU   > 0.5      n'] * len(columns)}
    rows |= {
        category: [_cell(part['categories'][category]) for part in parts]
        for category in INSTRUCTION_CATEGORIES
    }
    rows['known words'] = [_cell(part['known_words']) for part in parts]
    rows['new words'] = [_cell(part['new_words']) for part in parts]
    rows['absent right'] = [_absent(part) for part in parts]
    rows['present missed'] = [_missed(part) for part in parts]
    return '\n'.join(
        f'{name:16}' + ''.join(f'{cell:>28}' for cell in cells) for name, cells in rows.items()
    )


def report(answers: Sequence[ScoredAnswer], threshold: float) -> dict[str, Any]:
    """Compute IoUs and error rates of scored answers; a present target that is missed has IoU 0."""
    present = [answer for answer in answers if answer.present]
    absent = [answer for answer in answers if not answer.present]
    silent = [not answer.found(threshold) for answer in absent]
    missed = [not answer.found(threshold) for answer in present]
    known = [answer for answer in present if not answer.new_words]
    new = [answer for answer in present if answer.new_words]
    return {
        'categories': {
            category: _overlap(_in_category(present, category), threshold)
            for category in INSTRUCTION_CATEGORIES
        },
        'mean_iou': _overlap(present, threshold)['iou'],
        'known_words': _overlap(known, threshold),
        'new_words': _overlap(new, threshold),
        'absent': {'right': mean(silent), 'n': len(absent)},
        'present_missed': mean(missed),
    }


def _run_scene(
    segmenter: Segmenter,
    tabletop: Tabletop,
    seed: int,
    *,
    held_out: bool = False,
    shift: Shift | None = None,
) -> Iterator[ScoredAnswer]:
    rng = np.random.default_rng((seed, held_out))
    start = rng.uniform(0, 4)
    times = [start + i * segmenter.reference_stride for i in range(segmenter.reference_frames + 1)]
    frames = observe_shifted(tabletop, seed, times, shift or UNSHIFTED)
    earlier, frame = [each.rgb for each in frames[:-1]], frames[-1]
    assert frame.labels is not None
    if shift is None:
        instructions = list(_instructions(frame.graph, rng, held_out=held_out))
    else:
        instructions = list(_present_instructions(frame.graph, rng, motion=shift.motion))
    if not instructions:
        return
    references = segmenter.encode(segmenter.aligned(earlier, frame.rgb))
    texts = [instruction.text for instruction in instructions]
    predictions = segmenter.segment_all(frame.rgb, texts, references)
    for instruction, prediction in zip(instructions, predictions, strict=True):
        yield _score(instruction, prediction, frame.labels)


def _instructions(
    graph: Any, rng: np.random.Generator, *, held_out: bool
) -> Iterator[TabletopInstruction]:
    """Yield two instructions of each category, or fewer if the scene does not offer them."""
    for category in (*INSTRUCTION_CATEGORIES, *INSTRUCTION_CATEGORIES):
        absent = bool(rng.integers(_ABSENT_EACH) == 0)
        instruction = generate(graph, rng, category=category, absent=absent, held_out=held_out)
        if instruction is not None:
            yield instruction


def _present_instructions(
    graph: SceneGraph, rng: np.random.Generator, *, motion: bool
) -> Iterator[TabletopInstruction]:
    """Yield up to two instructions about motion, or of each category of `_SHIFT_CATEGORIES`."""
    categories = ('motion',) if motion else _SHIFT_CATEGORIES
    for category in (*categories, *categories):
        instruction = generate(graph, rng, category=category)
        if instruction is not None:
            yield instruction


def _score(
    instruction: TabletopInstruction, prediction: Prediction, labels: np.ndarray
) -> ScoredAnswer:
    truth = np.isin(labels, list(instruction.targets))
    present = bool(instruction.targets)
    return ScoredAnswer(
        category=instruction.category,
        present=present,
        score=prediction.score,
        iou=intersection_over_union(prediction.mask, truth) if present else 0.0,
        empty=not prediction.mask.any(),
        new_words=bool(new_words(instruction.text)),
    )


def _in_category(answers: Iterable[ScoredAnswer], category: str) -> list[ScoredAnswer]:
    return [answer for answer in answers if answer.category == category]


def _overlap(answers: Sequence[ScoredAnswer], threshold: float) -> dict[str, Any]:
    overlaps = [answer.iou if answer.found(threshold) else 0.0 for answer in answers]
    above = [overlap > 0.5 for overlap in overlaps]
    return {'iou': mean(overlaps), 'above_half': mean(above), 'n': len(answers)}


def _cell(cell: dict[str, Any]) -> str:
    return f'{cell["iou"]:.3f} {cell["above_half"]:7.3f} {cell["n"]:6}'


def _absent(column: dict[str, Any]) -> str:
    return f'{column["absent"]["right"]:.3f}         {column["absent"]["n"]:6}'


def _missed(column: dict[str, Any]) -> str:
    return f'{column["present_missed"]:.3f}               '
