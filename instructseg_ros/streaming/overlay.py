"""The picture for people: the camera's image with mask, outline and answer drawn in."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from instructseg_ros.streaming.segmentation import Segmentation, State

MASK_COLOR = (255, 64, 160)
STATE_COLORS = {State.FOUND: (96, 230, 120), State.NOT_FOUND: (255, 200, 80)}
OTHER_COLOR = (255, 96, 96)
MARGIN = 6


def draw_overlay(image: np.ndarray, result: Segmentation, *, opacity: float = 0.45) -> np.ndarray:
    """Return a copy of the image with the answer drawn in.

    Args:
        image: (H, W, 3) uint8 RGB.
        result: The answer for this image; a mask must have the image's size.
        opacity: 0..1, of the mask's colour.
    """
    drawn = np.array(image)
    if result.state is State.FOUND and result.mask is not None:
        tinted = drawn[result.mask] * (1.0 - opacity) + np.array(MASK_COLOR) * opacity
        drawn[result.mask] = tinted.astype(np.uint8)
        drawn[outline(result.mask)] = MASK_COLOR
    return _with_caption(drawn, result)


def outline(mask: np.ndarray) -> np.ndarray:
    """Return the pixels of an (H, W) bool mask that touch its outside; the frame's edge counts."""
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inside


def _with_caption(image: np.ndarray, result: Segmentation) -> np.ndarray:
    height = image.shape[0]
    size = max(10, height // 26)
    strip = size + 2 * MARGIN
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(size)
    draw.rectangle((0, height - strip, canvas.width, height), fill=(16, 18, 24))
    state = f'{result.state.name} {result.score:.2f}'
    color = STATE_COLORS.get(result.state, OTHER_COLOR)
    left = canvas.width - MARGIN - draw.textlength(state, font=font)
    text = _shorten(result.instruction.text, left - 3 * MARGIN, draw, font)
    draw.text((MARGIN, height - strip + MARGIN // 2), text, font=font, fill=(240, 240, 240))
    draw.text((left, height - strip + MARGIN // 2), state, font=font, fill=color)
    return np.array(canvas)


def _shorten(text: str, width: float, draw: ImageDraw.ImageDraw,
             font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Cut a text to so many pixels; at most 80 characters are looked at."""
    text = text[:80]
    while text and draw.textlength(text, font=font) > width:
        text = text[:-2].rstrip() + '\u2026' if len(text) > 2 else ''
    return text
