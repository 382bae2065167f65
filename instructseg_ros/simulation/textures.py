"""Procedural textures for table, floor and wall: plain, wood, checker, noise, gradient, stripes."""

from __future__ import annotations

import colorsys

import numpy as np

SIDE = 256


def _noise(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Smooth noise (SIDE, SIDE) in -1..1 with that many bumps a side."""
    grid = rng.uniform(-1.0, 1.0, (cells + 1, cells + 1))
    at = np.linspace(0.0, cells, SIDE, endpoint=False)
    low = at.astype(int)
    part = (at - low) ** 2 * (3 - 2 * (at - low))
    rows = grid[low] * (1 - part)[:, None] + grid[low + 1] * part[:, None]
    return rows[:, low] * (1 - part) + rows[:, low + 1] * part


def _ramp() -> tuple[np.ndarray, np.ndarray]:
    at = np.linspace(0.0, 1.0, SIDE, endpoint=False)
    return at[None, :], at[:, None]


def _pattern(kind: str, rng: np.random.Generator) -> np.ndarray:
    """Brightness (SIDE, SIDE), about -1..1."""
    u, v = _ramp()
    if kind == 'wood':
        rings = u * rng.integers(5, 14) + 0.35 * _noise(rng, 3) + 0.06 * _noise(rng, 40)
        return 0.7 * np.sin(2 * np.pi * rings) + 0.3 * _noise(rng, 64)
    if kind == 'checker':
        count = int(rng.integers(3, 9))
        return np.where((np.floor(u * count) + np.floor(v * count)) % 2, 0.8, -0.8)
    if kind == 'noise':
        return 0.5 * _noise(rng, 6) + 0.35 * _noise(rng, 24) + 0.35 * _noise(rng, 100)
    if kind == 'gradient':
        a, b = rng.uniform(-1, 1, 2)
        return 1.4 * (a * (u - 0.5) + b * (v - 0.5)) + 0.1 * _noise(rng, 30)
    if kind == 'stripes':
        bands = 0.8 * np.sin(2 * np.pi * u * rng.integers(4, 16))
        return np.broadcast_to(bands, (SIDE, SIDE))
    return 0.12 * _noise(rng, 80)


def texture(rng: np.random.Generator, *, darkest: float, brightest: float) -> np.ndarray:
    """A random muted texture (SIDE, SIDE, 3) uint8 with a mean brightness in that range (0..1)."""
    kinds = ('plain', 'wood', 'checker', 'noise', 'gradient', 'stripes')
    kind = str(rng.choice(kinds, p=(0.22, 0.26, 0.12, 0.2, 0.1, 0.1)))
    hue, saturation = rng.uniform(), rng.uniform(0.0, 0.22)
    if kind == 'wood' or rng.uniform() < 0.3:
        hue, saturation = rng.uniform(0.05, 0.11), rng.uniform(0.2, 0.42)
    value = rng.uniform(darkest, brightest)
    base = np.array(colorsys.hsv_to_rgb(hue, saturation, value))
    contrast = rng.uniform(0.06, 0.16)
    image = base * (1.0 + contrast * _pattern(kind, rng)[..., None])
    return (np.clip(image, 0.0, 1.0) * 255).astype(np.uint8)
