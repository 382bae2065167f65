"""Mug, bowl, bottle, can, plate and teapot: turned on a lathe."""

from __future__ import annotations

import numpy as np

from instructseg_ros.simulation.meshes import Mesh, lathe, sweep
from instructseg_ros.simulation.shapes import Hollow, Part, Platform, Shape, disc


def _arc_handle(x: float, z: float, reach: float, half: float, thickness: float) -> Mesh:
    """A C-shaped handle in the xz plane that starts at (x, z + half) and ends at (x, z - half)."""
    angle = np.linspace(np.pi / 2, -np.pi / 2, 11)
    path = np.column_stack([x + reach * np.cos(angle), 0 * angle, z + half * np.sin(angle)])
    return sweep(path, thickness, up=(0.0, 1.0, 0.0), segments=8)


def mug(rng: np.random.Generator) -> Shape:
    """A cylinder with a handle, open at the top."""
    r, h = 0.042 * rng.uniform(0.92, 1.08), 0.092 * rng.uniform(0.9, 1.12)
    wall, foot = 0.004, rng.uniform(0.88, 1.0)
    body = lathe([(0, 0), (r * foot, 0), (r, 0.2 * h), (r, h), (r - wall, h),
                  (r - wall, 0.2 * h), (r * foot - wall, 0.007), (0, 0.007)])  # fmt: skip
    handle = _arc_handle(r - 0.003, 0.52 * h, 0.034 * rng.uniform(0.9, 1.15), 0.32 * h, 0.0065)
    discs = np.array([[0.0, 0.0, r], [r + 0.018, 0.0, 0.018]])
    return Shape(parts=(Part(mesh=body), Part(mesh=handle)), discs=discs, height=h,
                 hollow=Hollow(mouth=r - wall, floor=r * foot - wall, bottom=0.007))  # fmt: skip


def bowl(rng: np.random.Generator) -> Shape:
    """A round bowl, open at the top."""
    r, h = 0.088 * rng.uniform(0.93, 1.07), 0.062 * rng.uniform(0.88, 1.15)
    angle = np.linspace(0.35, np.pi / 2, 8)
    outside = [(r * np.sin(a), h * (1 - np.cos(a))) for a in angle]
    low = outside[0][1]
    outside = [(x, (z - low) * h / (h - low)) for x, z in outside]
    inside = [(x - 0.005, max(z, 0.007)) for x, z in reversed(outside)]
    body = lathe([(0, 0), *outside, *inside, (0, 0.007)], segments=28)
    return Shape(parts=(Part(mesh=body),), discs=disc(r), height=h,
                 hollow=Hollow(mouth=r - 0.005, floor=outside[0][0], bottom=0.007))  # fmt: skip


def bottle(rng: np.random.Generator) -> Shape:
    """A bottle with a neck and a cap in a darker shade."""
    r, h = 0.036 * rng.uniform(0.9, 1.1), 0.215 * rng.uniform(0.92, 1.08)
    neck, shoulder = 0.014, rng.uniform(0.52, 0.62) * h
    body = lathe([(0, 0), (0.92 * r, 0), (r, 0.02 * h), (r, shoulder), (0.88 * r, shoulder + 0.02),
                  (0.6 * r, shoulder + 0.04), (neck, shoulder + 0.055), (neck, 0.9 * h),
                  (0, 0.9 * h)])  # fmt: skip
    cap = lathe([(0, 0.88 * h), (neck + 0.003, 0.88 * h), (neck + 0.003, h), (0, h)], segments=16)
    return Shape(parts=(Part(mesh=body), Part(mesh=cap, shade='dark')), discs=disc(r), height=h,
                 roll=r)  # fmt: skip


def can(rng: np.random.Generator) -> Shape:
    """A drinks can with metal ends."""
    r, h = 0.036 * rng.uniform(0.93, 1.07), 0.122 * rng.uniform(0.9, 1.1)
    body = lathe([(0, 0.006), (r, 0.006), (r, 0.9 * h), (0.86 * r, 0.95 * h), (0, 0.95 * h)])
    top = lathe([(0, 0.93 * h), (0.86 * r, 0.93 * h), (0.86 * r, h), (0.76 * r, h),
                 (0.74 * r, 0.965 * h), (0, 0.965 * h)])  # fmt: skip
    base = lathe([(0, 0), (0.84 * r, 0), (0.98 * r, 0.008), (0, 0.008)])
    parts = (Part(mesh=body), Part(mesh=top, shade='metal'), Part(mesh=base, shade='metal'))
    return Shape(parts=parts, discs=disc(r), height=h, roll=r)


def plate(rng: np.random.Generator) -> Shape:
    """A flat plate with a raised rim."""
    r, h = 0.112 * rng.uniform(0.92, 1.06), 0.020 * rng.uniform(0.85, 1.15)
    body = lathe([(0, 0), (0.6 * r, 0), (r, h - 0.004), (r, h), (0.95 * r, h),
                  (0.66 * r, 0.007), (0, 0.007)], segments=36)  # fmt: skip
    well = lathe([(0, 0.004), (0.66 * r, 0.004), (0.655 * r, 0.0075), (0, 0.0075)], segments=36)
    return Shape(parts=(Part(mesh=body), Part(mesh=well, shade='dark')), discs=disc(r), height=h,
                 platform=Platform(radius=0.62 * r, height=0.007))  # fmt: skip


def teapot(rng: np.random.Generator) -> Shape:
    """A round pot with a spout, a handle and a lid with a knob."""
    r, h = 0.060 * rng.uniform(0.93, 1.07), 0.088 * rng.uniform(0.92, 1.1)
    angle = np.linspace(-1.05, 1.1, 10)
    low, high = np.sin(angle[0]), np.sin(angle[-1])
    side = [(r * np.cos(a), h * (np.sin(a) - low) / (high - low)) for a in angle]
    body = lathe([(0, 0), *side, (0, h)], segments=28)
    lid = lathe([(0, h), (0.46 * r, h), (0.4 * r, 1.09 * h), (0.12 * r, 1.14 * h),
                 (0.12 * r, 1.2 * h), (0.2 * r, 1.27 * h), (0, 1.32 * h)], segments=20)  # fmt: skip
    t = np.linspace(0, 1, 8)
    path = np.column_stack([-r * (0.85 + 0.85 * t), 0 * t, h * (0.35 + 0.15 * t + 0.5 * t**3)])
    spout = sweep(path, 0.016 - 0.009 * t, up=(0.0, 1.0, 0.0))
    handle = _arc_handle(0.86 * r, 0.52 * h, 0.62 * r, 0.34 * h, 0.007)
    discs = np.array([[0, 0, r], [-1.4 * r, 0, 0.35 * r], [1.25 * r, 0, 0.3 * r]])
    parts = (Part(mesh=body), Part(mesh=spout), Part(mesh=handle), Part(mesh=lid, shade='dark'))
    return Shape(parts=parts, discs=discs, height=1.32 * h)
