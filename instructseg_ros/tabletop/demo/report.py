"""The figures, verdict and images of the demo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from instructseg_ros.streaming.overlay import draw_overlay, outline
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
        silent = [
            answer.text
            for answer in self.answers
            if answer.state not in (State.FOUND, State.NOT_FOUND)
        ]
        found = _mean(
            [
                answer.iou
                for answer in self.answers
                if answer.iou is not None and answer.state is State.FOUND
            ]
        )
        complaints = [f'no mask and no "not found" came back for "{text}"' for text in silent]
        if found is None:
            complaints.append('no target was found')
        elif found < LEAST_IOU:
            complaints.append(
                f'the mean IoU of what was found is {found:.2f}, at least {LEAST_IOU} is wanted'
            )
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
        return '\n'.join(
            [
                *lines,
                f'mean IoU {figures["mean_iou"]}, {figures["fps"]} results/s, age of a result '
                f'p50 {figures["age_p50_ms"]} ms, p95 {figures["age_p95_ms"]} ms',
                *(f'  - {complaint}' for complaint in complaints),
                'FAILED' if complaints else 'PASSED',
            ]
        )


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


TILE = (320, 240)
CAPTION = 44
GAP = 8
COLUMNS = 2
TRUTH_COLOR = (255, 255, 255)
BACKGROUND = (16, 18, 24)
GOOD, FAIR, BAD = (96, 230, 120), (255, 200, 80), (255, 96, 96)


def contact_sheet(answers: Sequence[Answer]) -> Image.Image:
    """Draw each answer as camera image, overlay (the truth outlined in white) and figures."""
    width, height = 2 * TILE[0], TILE[1] + CAPTION
    rows = -(-len(answers) // COLUMNS)
    sheet = Image.new(
        'RGB', (COLUMNS * (width + GAP) + GAP, rows * (height + GAP) + GAP), (40, 44, 52)
    )
    for index, answer in enumerate(answers):
        row, column = divmod(index, COLUMNS)
        sheet.paste(_cell(answer), (GAP + column * (width + GAP), GAP + row * (height + GAP)))
    return sheet


def save_film(frames: Sequence[np.ndarray], path: Path, *, seconds_per_frame: float) -> None:
    """Write (H, W, 3) uint8 frames as an animated GIF of the tile's size."""
    images = [
        Image.fromarray(frame).resize(TILE).quantize(96, dither=Image.Dither.NONE)
        for frame in frames
    ]
    images[0].save(
        path,
        save_all=True,
        append_images=images[1:],
        loop=0,
        optimize=True,
        duration=int(1e3 * seconds_per_frame),
    )


def _cell(answer: Answer) -> Image.Image:
    cell = Image.new('RGB', (2 * TILE[0], TILE[1] + CAPTION), BACKGROUND)
    if answer.image is not None and answer.result is not None and answer.truth is not None:
        marked = draw_overlay(answer.image, answer.result)
        marked[outline(answer.truth)] = TRUTH_COLOR
        cell.paste(Image.fromarray(answer.image).resize(TILE), (0, CAPTION))
        cell.paste(Image.fromarray(marked).resize(TILE), (TILE[0], CAPTION))
    draw = ImageDraw.Draw(cell)
    draw.text((GAP, 4), f'"{answer.text}"', font=ImageFont.load_default(16), fill=(240, 240, 240))
    draw.text((GAP, 25), _figures(answer), font=ImageFont.load_default(13), fill=_color(answer))
    return cell


def _figures(answer: Answer) -> str:
    score = 0.0 if answer.result is None else answer.result.score
    iou = 'no target in view' if answer.iou is None else f'IoU {answer.iou:.2f}'
    return f'{answer.kind}: {answer.state.name}, score {score:.2f}, {iou}'


def _color(answer: Answer) -> tuple[int, int, int]:
    if answer.iou is None:
        return GOOD if answer.state is State.NOT_FOUND else BAD
    return GOOD if answer.iou >= 0.7 else FAIR if answer.iou >= 0.5 else BAD
