"""What the demo saw, its figures and its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from instructseg_ros.streaming.segmentation import Segmentation, State

ABSENT = 'absent'
LEAST_IOU = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """One instruction of the demo and the first answer to it.

    Attributes:
        text: The instruction.
        kind: Its kind; 'absent' when its target is not in the scene.
        image: (H, W, 3) uint8 RGB, the frame that was answered; None without an answer.
        truth: (H, W) bool, the pixels that are meant in that frame; None without an answer.
        result: The answer, or None when none came.
        latency: Seconds from giving the instruction to its answer.
    """

    text: str
    kind: str
    image: np.ndarray | None = None
    truth: np.ndarray | None = None
    result: Segmentation | None = None
    latency: float | None = None

    @property
    def iou(self) -> float | None:
        """Overlap of mask and truth, 0 for a present target that was missed; None when absent."""
        if self.kind == ABSENT:
            return None
        if self.result is None or self.result.state is not State.FOUND or self.truth is None:
            return 0.0
        return mask_iou(self.result.mask, self.truth)

    @property
    def state(self) -> State:
        """The answer's state, UNKNOWN without one."""
        return State.UNKNOWN if self.result is None else self.result.state

    def to_json(self) -> dict[str, Any]:
        """Return the answer's row of demo.json."""
        return {
            'instruction': self.text,
            'kind': self.kind,
            'state': self.state.name,
            'score': 0.0 if self.result is None else round(self.result.score, 4),
            'iou': None if self.iou is None else round(self.iou, 4),
            'latency_ms': None if self.latency is None else round(1e3 * self.latency, 1),
        }


@dataclass(frozen=True, kw_only=True)
class Report:
    """The demo's answers and the pace of the stream.

    Attributes:
        answers: One for each instruction.
        fps: Results per second while one instruction is live.
        ages: Seconds from the stamp of a frame to its result's arrival, for every result counted.
    """

    answers: Sequence[Answer]
    fps: float
    ages: Sequence[float]

    @property
    def mean_iou(self) -> float | None:
        """Mean over the present targets; one that was missed counts 0."""
        return _mean([answer.iou for answer in self.answers if answer.iou is not None])

    def shortcomings(self) -> list[str]:
        """Return why the demo failed, in words; nothing when it passed."""
        silent = [answer.text for answer in self.answers
                  if answer.state not in (State.FOUND, State.NOT_FOUND)]
        found = _mean([answer.iou for answer in self.answers
                       if answer.iou is not None and answer.state is State.FOUND])
        complaints = [f'no mask and no "not found" came back for "{text}"' for text in silent]
        if found is None:
            complaints.append('no target was found')
        elif found < LEAST_IOU:
            complaints.append(
                f'the mean IoU of what was found is {found:.2f}, at least {LEAST_IOU} is wanted')
        return complaints

    def to_json(self) -> dict[str, Any]:
        """Return demo.json."""
        return {
            'instructions': [answer.to_json() for answer in self.answers],
            'mean_iou': None if self.mean_iou is None else round(self.mean_iou, 4),
            'fps': round(self.fps, 2),
            'age_p50_ms': _percentile_ms(self.ages, 50),
            'age_p95_ms': _percentile_ms(self.ages, 95),
        }

    def to_table(self) -> str:
        """Return the report as text for a terminal."""
        lines = [f'{"instruction":44} {"kind":12} {"state":10} score   IoU  latency']
        lines += [_table_row(answer) for answer in self.answers]
        figures = self.to_json()
        complaints = self.shortcomings()
        return '\n'.join([
            *lines,
            f'mean IoU {figures["mean_iou"]}, {figures["fps"]} results/s, age of a result '
            f'p50 {figures["age_p50_ms"]} ms, p95 {figures["age_p95_ms"]} ms',
            *(f'  - {complaint}' for complaint in complaints),
            'FAILED' if complaints else 'PASSED',
        ])


def mask_iou(mask: np.ndarray | None, truth: np.ndarray) -> float:
    """Intersection over union of two (H, W) bool masks; 1 when both are empty."""
    if mask is None:
        return 0.0
    union = int((mask | truth).sum())
    return 1.0 if union == 0 else int((mask & truth).sum()) / union


def _table_row(answer: Answer) -> str:
    text = answer.text if len(answer.text) <= 44 else answer.text[:41] + '...'
    score = 0.0 if answer.result is None else answer.result.score
    iou = '   -' if answer.iou is None else f'{answer.iou:4.2f}'
    latency = '     -' if answer.latency is None else f'{1e3 * answer.latency:4.0f} ms'
    return f'{text:44} {answer.kind:12} {answer.state.name:10} {score:5.2f}  {iou}  {latency}'


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return sum(numbers) / len(numbers) if numbers else None


def _percentile_ms(seconds: Sequence[float], percentile: float) -> float | None:
    return round(1e3 * float(np.percentile(seconds, percentile)), 1) if seconds else None
