"""The figures, verdict and images of the demo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from instructseg_ros.research.evaluation.metrics import intersection_over_union
from instructseg_ros.streaming.overlay import draw_overlay, outline
from instructseg_ros.streaming.segmentation import Segmentation, State

ABSENT = 'absent'
MIN_IOU = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """One instruction of the demo and the first result for it.

    Attributes:
        text: The instruction.
        category: Its category; 'absent' if its target is not in the scene.
        image: (H, W, 3) uint8 RGB frame of the result; None without a result.
        truth: (H, W) bool true mask in that frame; None without a result.
        result: The result; None if there was none.
        latency: Time from sending the instruction to the result, s.
    """

    text: str
    category: str
    image: np.ndarray | None = None
    truth: np.ndarray | None = None
    result: Segmentation | None = None
    latency: float | None = None

    @property
    def iou(self) -> float | None:
        """IoU of mask and truth; 0 for a present target that was missed, None for an absent one."""
        if self.category == ABSENT:
            return None
        if self.result is None or self.result.state is not State.FOUND or self.truth is None:
            return 0.0
        if self.result.mask is None:
            return 0.0
        return intersection_over_union(self.result.mask, self.truth)

    @property
    def state(self) -> State:
        """State of the result, UNKNOWN without one."""
        return State.UNKNOWN if self.result is None else self.result.state

    def to_json(self) -> dict[str, Any]:
        """Return the entry of demo.json."""
        return {
            'instruction': self.text,
            'category': self.category,
            'state': self.state.name,
            'score': 0.0 if self.result is None else round(self.result.score, 4),
            'iou': None if self.iou is None else round(self.iou, 4),
            'latency_ms': None if self.latency is None else round(1e3 * self.latency, 1),
        }


@dataclass(frozen=True, kw_only=True)
class DemoReport:
    """Results of the demo and the rate of the stream.

    Attributes:
        answers: One for each instruction.
        fps: Results per second while one instruction is active.
        ages: Time from the stamp of a frame to the arrival of its result, s, for each result.
    """

    answers: Sequence[Answer]
    fps: float
    ages: Sequence[float]

    @property
    def mean_iou(self) -> float | None:
        """Mean IoU of the present targets; a missed one counts as 0."""
        return _mean([answer.iou for answer in self.answers if answer.iou is not None])

    def shortcomings(self) -> list[str]:
        """Return the reasons why the demo failed; empty if it passed."""
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
        complaints = [f'neither FOUND nor NOT_FOUND was reported for "{text}"' for text in silent]
        if found is None:
            complaints.append('no target was found')
        elif found < MIN_IOU:
            complaints.append(
                f'the mean IoU of the found targets is {found:.2f}; at least {MIN_IOU} is required'
            )
        return complaints

    def to_json(self) -> dict[str, Any]:
        """Return the content of demo.json."""
        return {
            'instructions': [answer.to_json() for answer in self.answers],
            'mean_iou': None if self.mean_iou is None else round(self.mean_iou, 4),
            'fps': round(self.fps, 2),
            'age_p50_ms': _percentile_ms(self.ages, 50),
            'age_p95_ms': _percentile_ms(self.ages, 95),
        }

    def to_table(self) -> str:
        """Return the report as text for a terminal."""
        lines = [f'{"instruction":44} {"category":12} {"state":10} score   IoU  latency']
        lines += [_table_row(answer) for answer in self.answers]
        figures = self.to_json()
        complaints = self.shortcomings()
        return '\n'.join(
            [
                *lines,
                f'mean IoU {figures["mean_iou"]}, {figures["fps"]} results/s, age of results '
                f'p50 {figures["age_p50_ms"]} ms, p95 {figures["age_p95_ms"]} ms',
                *(f'  - {complaint}' for complaint in complaints),
                'FAILED' if complaints else 'PASSED',
            ]
        )


def _table_row(answer: Answer) -> str:
    text = answer.text if len(answer.text) <= 44 else answer.text[:41] + '...'
    score = 0.0 if answer.result is None else answer.result.score
    iou = '   -' if answer.iou is None else f'{answer.iou:4.2f}'
    latency = '     -' if answer.latency is None else f'{1e3 * answer.latency:4.0f} ms'
    return f'{text:44} {answer.category:12} {answer.state.name:10} {score:5.2f}  {iou}  {latency}'


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
    """Draw each answer: camera image, overlay with the truth outlined in white, and figures."""
    width, height = 2 * TILE[0], TILE[1] + CAPTION
    rows = -(-len(answers) // COLUMNS)
    sheet = Image.new(
        'RGB', (COLUMNS * (width + GAP) + GAP, rows * (height + GAP) + GAP), (40, 44, 52)
    )
    for index, answer in enumerate(answers):
        row, column = divmod(index, COLUMNS)
        sheet.paste(_cell(answer), (GAP + column * (width + GAP), GAP + row * (height + GAP)))
    return sheet


def save_video(frames: Sequence[np.ndarray], path: Path, *, seconds_per_frame: float) -> None:
    """Write (H, W, 3) uint8 frames as an animated GIF, resized to TILE."""
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
    return f'{answer.category}: {answer.state.name}, score {score:.2f}, {iou}'


def _color(answer: Answer) -> tuple[int, int, int]:
    if answer.iou is None:
        return GOOD if answer.state is State.NOT_FOUND else BAD
    return GOOD if answer.iou >= 0.7 else FAIR if answer.iou >= 0.5 else BAD
