"""The free-wording benchmark: instructions as people might phrase them, on scenes that are new."""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import yaml
from tqdm import tqdm

from instructseg_ros.model.prediction import Prediction
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.research.evaluation.metrics import intersection_over_union, mean
from instructseg_ros.research.evaluation.runner import Processes
from instructseg_ros.tabletop.instructions.noun_phrase import pluralized
from instructseg_ros.tabletop.meanings import MEANINGS, Meaning
from instructseg_ros.tabletop.world.scene_graph import SceneGraph
from instructseg_ros.tabletop.world.simulator import Tabletop

FIRST_SCENE: Final = 20_000  # neither training nor calibration uses these
MAX_SCENES: Final = 2000
PER_SCENE: Final = 8  # instructions on one frame
SURE: Final = 0.9  # a score that should be right nine times in ten
_BINS: Final = 10


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """A hand-written instruction with slots for the words of an object.

    Attributes:
        group: Subject of the test, such as 'negation'.
        meaning: A name of `MEANINGS`.
        text: The text; a slot is {noun}, {color}, {noun2}, ..., {nouns} for the plural, or
            {noun_typo} for a word with a typing error.
    """

    group: str
    meaning: str
    text: str

    def fill(self, words: dict[str, str], rng: np.random.Generator) -> str:
        """Fill the slots."""
        plurals = {f'{slot}s': pluralized(word) for slot, word in words.items()}
        typos = {f'{slot}_typo': mistyped(word, rng) for slot, word in words.items()}
        return self.text.format(**words, **plurals, **typos)


@functools.cache
def sentences() -> tuple[Sentence, ...]:
    """Read the sentences."""
    groups = yaml.safe_load((Path(__file__).parent / 'free_wording.yaml').read_text())
    return tuple(
        Sentence(group=group, **fields) for group, rows in groups.items() for fields in rows
    )


def mistyped(word: str, rng: np.random.Generator) -> str:
    """Make one typing error in a word: two letters swapped, one left out or one doubled."""
    place = int(rng.integers(1, len(word)))
    before, letter = word[place - 1], word[place]
    errors = {letter + before, before, before + letter + letter} - {before + letter}
    error = sorted(errors)[int(rng.integers(len(errors)))]
    return word[: place - 1] + error + word[place + 1 :]


@dataclass(frozen=True, kw_only=True)
class FreeAnswer:
    """The model's answer to one instruction, compared with its meaning.

    Attributes:
        group: Group of the sentence.
        text: The instruction.
        present: Whether its target is in the scene.
        found: Whether the model reports a target.
        score: Score of the mask.
        iou: IoU of the mask with the true one; 0 for an absent target.
        forbidden: IoU of the mask with the objects that the instruction rules out; None if it rules
            out none.
    """

    group: str
    text: str
    present: bool
    found: bool
    score: float
    iou: float
    forbidden: float | None

    @property
    def right(self) -> bool:
        """Whether the answer is right: half of the target, or no answer for an absent one."""
        return self.found == self.present and (not self.present or self.iou > 0.5)


def evaluate_free_wording(
    segmenter: Segmenter, *, scenes: int, processes: Processes
) -> dict[str, Any]:
    """Evaluate a model on every sentence, each in some scenes.

    Args:
        segmenter: The model.
        scenes: Scenes for each sentence.
        processes: The processes that share the sentences.

    Returns:
        The figures of `report`.
    """
    mine = sentences()[processes.rank :: processes.count]
    answers = processes.gather(list(answer_sentences(segmenter, mine, scenes=scenes)))
    return report(answers)


def answer_sentences(
    segmenter: Segmenter, wanted: Sequence[Sentence], *, scenes: int
) -> Iterator[FreeAnswer]:
    """Answer each sentence in some scenes that have its meaning; rare meanings choose first."""
    left = Counter(dict.fromkeys(wanted, scenes))
    seen: Counter[str] = Counter()
    progress = tqdm(total=left.total(), desc='free wording')
    with Tabletop() as tabletop:
        for seed in range(FIRST_SCENE, FIRST_SCENE + MAX_SCENES):
            if not left:
                return
            rng = np.random.default_rng(seed)
            time = rng.uniform(0, 4) + segmenter.reference_frames * segmenter.reference_stride
            tabletop.reset(seed)
            frame = tabletop.observe(time)
            drawn = list(_draw(frame.graph, left, seen, rng))
            if drawn:
                earlier = _reference_frames(segmenter, tabletop, time)
                texts = [sentence.fill(meaning.words, rng) for sentence, meaning in drawn]
                predictions = segmenter.segment_all(
                    frame.rgb, texts, segmenter.encode(segmenter.aligned(earlier, frame.rgb))
                )
                for (sentence, meaning), text, prediction in zip(
                    drawn, texts, predictions, strict=True
                ):
                    yield _score(sentence.group, text, meaning, prediction, frame.labels)
            progress.update(len(drawn))


def _reference_frames(segmenter: Segmenter, tabletop: Tabletop, time: float) -> list[np.ndarray]:
    count, stride = segmenter.reference_frames, segmenter.reference_stride
    times = [time - stride * (count - number) for number in range(count)]
    return [tabletop.observe(earlier, truth=False).rgb for earlier in times]


def _draw(
    graph: SceneGraph, left: Counter[Sentence], seen: Counter[str], rng: np.random.Generator
) -> Iterator[tuple[Sentence, Meaning]]:
    """Draw sentences that are still needed and have a meaning in this scene."""
    needed: dict[str, list[Sentence]] = defaultdict(list)
    for sentence in left:
        needed[sentence.meaning].append(sentence)
    offered = {name: list(MEANINGS[name](graph)) for name in needed}
    possible = sorted((name for name in offered if offered[name]), key=lambda name: seen[name])
    seen.update(possible)
    for name in possible[:PER_SCENE]:
        sentence = needed[name][int(rng.integers(len(needed[name])))]
        left[sentence] -= 1
        if not left[sentence]:
            del left[sentence]
        yield sentence, offered[name][int(rng.integers(len(offered[name])))]


def _score(
    group: str, text: str, meaning: Meaning, prediction: Prediction, labels: np.ndarray | None
) -> FreeAnswer:
    assert labels is not None

    def overlap(objects: frozenset[int]) -> float:
        return float(intersection_over_union(prediction.mask, np.isin(labels, list(objects))))

    return FreeAnswer(
        group=group,
        text=text,
        present=bool(meaning.targets),
        found=bool(prediction.found),
        score=float(prediction.score),
        iou=overlap(meaning.targets) if meaning.targets else 0.0,
        forbidden=overlap(meaning.forbidden) if meaning.forbidden else None,
    )


def report(answers: Sequence[FreeAnswer]) -> dict[str, Any]:
    """Compute the figures of some answers; a target that is missed counts as IoU 0.

    Returns:
        `groups`: for each group the mean `iou`, the share `right`, the number `n` and, where an
        instruction rules objects out, the share `took_forbidden` that got these. `sure`: the share
        of answers with a score above 0.9 that are right. `calibration_error`: the expected
        calibration error of the scores of found targets. `answers`: every answer.
    """
    by_group: dict[str, list[FreeAnswer]] = defaultdict(list)
    for answer in answers:
        by_group[answer.group].append(answer)
    found = [answer for answer in answers if answer.found]
    sure = [answer.right for answer in found if answer.score >= SURE]
    return {
        'groups': {group: _group_figures(of_group) for group, of_group in by_group.items()},
        'sure': {'right': mean(sure), 'n': len(sure)},
        'calibration_error': _calibration_error(found),
        'answers': [vars(answer) | {'right': answer.right} for answer in answers],
    }


def _group_figures(answers: Sequence[FreeAnswer]) -> dict[str, float]:
    present = [answer.iou if answer.found else 0.0 for answer in answers if answer.present]
    figures = {'right': mean([answer.right for answer in answers]), 'n': len(answers)}
    if present:
        figures['iou'] = mean(present)
    taken = [
        answer.found and answer.forbidden > answer.iou
        for answer in answers
        if answer.forbidden is not None
    ]
    return {**figures, 'took_forbidden': mean(taken)} if taken else figures


def _calibration_error(found: Sequence[FreeAnswer]) -> float:
    """Return the mean difference of score and share of right answers, over bins of the score."""
    bins: dict[int, list[FreeAnswer]] = defaultdict(list)
    for answer in found:
        bins[min(_BINS - 1, int(answer.score * _BINS))].append(answer)
    differences = [
        len(inside) * abs(mean([a.score for a in inside]) - mean([a.right for a in inside]))
        for inside in bins.values()
    ]
    return sum(differences) / len(found) if found else 0.0


def table(figures: dict[str, Any]) -> str:
    """Format the figures of `evaluate_free_wording` as a table."""
    lines = [f'{"group":16}{"IoU":>8}{"right":>8}{"forbidden":>12}{"n":>6}']
    for group, row in figures['groups'].items():
        iou = f'{row["iou"]:.3f}' if 'iou' in row else '-'
        taken = f'{row["took_forbidden"]:.3f}' if 'took_forbidden' in row else '-'
        lines.append(f'{group:16}{iou:>8}{row["right"]:>8.3f}{taken:>12}{row["n"]:>6}')
    sure = figures['sure']
    lines.append(f'right with a score of {SURE} or more: {sure["right"]:.3f} of {sure["n"]}')
    lines.append(f'expected calibration error: {figures["calibration_error"]:.3f}')
    return '\n'.join(lines)
