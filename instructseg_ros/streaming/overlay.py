"""Overlays: the camera's image with masks, outlines and captions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from instructseg_ros.streaming.segmentation import Segmentation, State

MASK_COLOR = (255, 64, 160)
COLORS = (
    MASK_COLOR,
    (64, 200, 255),
    (255, 190, 40),
    (150, 230, 60),
    (180, 120, 255),
    (255, 120, 60),
    (60, 220, 170),
    (240, 240, 90),
)
STATE_COLORS = {State.FOUND: (96, 230, 120), State.NOT_FOUND: (255, 200, 80)}
OTHER_COLOR = (255, 96, 96)
MARGIN = 6


def draw_overlay(
    image: np.ndarray,
    *results: Segmentation,
    opacity: float = 0.45,
    colors: Sequence[int] | None = None,
) -> np.ndarray:
    """Draw results on a copy of the image.

    Args:
        image: (H, W, 3) uint8 RGB.
        results: The results for this image; masks must have the image's size.
        opacity: Opacity of the masks, 0..1.
        colors: Color number of each result; by default 0, 1, 2, ... If two numbers stand
            for the same color, the later result gets the next free one.
    """
    drawn = np.array(image)
    chosen = _choose_colors(colors or range(len(results)))
    for result, color in zip(results, chosen, strict=True):
        if result.state is State.FOUND and result.mask is not None:
            tinted = drawn[result.mask] * (1.0 - opacity) + np.array(color) * opacity
            drawn[result.mask] = tinted.astype(np.uint8)
            drawn[outline(result.mask)] = color
    return _with_captions(drawn, results, chosen if len(results) > 1 else None)


def _choose_colors(numbers: Sequence[int]) -> Sequence[tuple[int, int, int]]:
    free = list(range(len(COLORS)))
    chosen = []
    for wanted in (number % len(COLORS) for number in numbers):
        index = min(free, key=lambda each: (each - wanted) % len(COLORS), default=wanted)
        chosen.append(COLORS[index])
        if free:
            free.remove(index)
    return chosen


def outline(mask: np.ndarray) -> np.ndarray:
    """Return the border pixels of an (H, W) bool mask, including those at the image border."""
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inside


def _with_captions(
    image: np.ndarray,
    results: Sequence[Segmentation],
    colors: Sequence[tuple[int, int, int]] | None,
) -> np.ndarray:
    """Caption each result in its own strip, the first at the bottom, up to half of the image."""
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    size = max(10, canvas.height // 26)
    font = ImageFont.load_default(size)
    strip = size + 2 * MARGIN
    room = max(1, canvas.height // 2 // strip)
    for row, result in enumerate(results[:room]):
        bottom = canvas.height - row * strip
        draw.rectangle((0, bottom - strip, canvas.width, bottom), fill=(16, 18, 24))
        if colors is not None:
            draw.rectangle((0, bottom - strip, MARGIN // 2, bottom), fill=colors[row])
        _write(draw, result, bottom - strip + MARGIN // 2, canvas.width, font)
    return np.array(canvas)


def _write(
    draw: ImageDraw.ImageDraw,
    result: Segmentation,
    top: int,
    width: int,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    state = f'{result.state.name} {result.score:.2f}'
    color = STATE_COLORS.get(result.state, OTHER_COLOR)
    left = width - MARGIN - draw.textlength(state, font=font)
    text = _shorten(result.instruction.text, left - 3 * MARGIN, draw, font)
    draw.text((MARGIN, top), text, font=font, fill=(240, 240, 240))
    draw.text((left, top), state, font=font, fill=color)


def _shorten(
    text: str,
    width: float,
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> str:
    """Shorten a text to a width in pixels and to at most 80 characters."""
    text = text[:80]
    while text and draw.textlength(text, font=font) > width:
        text = text[:-2].rstrip() + '\u2026' if len(text) > 2 else ''
    return text
