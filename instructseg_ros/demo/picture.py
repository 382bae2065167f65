"""The demo's pictures: a contact sheet of the answers and a short film."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from instructseg_ros.demo.report import Answer
from instructseg_ros.streaming.overlay import draw_overlay, outline
from instructseg_ros.streaming.segmentation import State

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
    sheet = Image.new('RGB', (COLUMNS * (width + GAP) + GAP, rows * (height + GAP) + GAP),
                      (40, 44, 52))
    for index, answer in enumerate(answers):
        row, column = divmod(index, COLUMNS)
        sheet.paste(_cell(answer), (GAP + column * (width + GAP), GAP + row * (height + GAP)))
    return sheet


def save_film(frames: Sequence[np.ndarray], path: Path, *, seconds_per_frame: float) -> None:
    """Write (H, W, 3) uint8 frames as an animated GIF of the tile's size."""
    images = [Image.fromarray(frame).resize(TILE).quantize(96, dither=Image.Dither.NONE)
              for frame in frames]
    images[0].save(path, save_all=True, append_images=images[1:], loop=0, optimize=True,
                   duration=int(1e3 * seconds_per_frame))


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
