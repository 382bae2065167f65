"""Box, ball, banana, apple, book and car."""

from __future__ import annotations

import numpy as np

from instructseg_ros.simulation.meshes import Mesh, box, extrude, lathe, sphere, sweep
from instructseg_ros.simulation.shapes import Part, Platform, Shape, disc, strip

# z up, turned so that an extrusion's thickness points along -y.
UPRIGHT = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


def carton(rng: np.random.Generator) -> Shape:
    """A closed box with a strip of tape in a darker shade."""
    x, y = 0.115 * rng.uniform(0.9, 1.15), 0.088 * rng.uniform(0.9, 1.1)
    z = rng.uniform(0.06, 0.09)
    tape = box(x + 0.001, 0.022, z + 0.001)
    parts = (Part(mesh=box(x, y, z)), Part(mesh=tape, shade='dark'))
    return Shape(parts=parts, discs=strip(x, y), height=z,
                 platform=Platform(radius=0.48 * min(x, y), height=z))  # fmt: skip


def _band(radius: float, width: float, turn: np.ndarray) -> Mesh:
    outer = radius + 0.0012
    inner = 0.9 * radius
    return lathe([(inner, -width), (outer * 0.995, -width), (outer, 0), (outer * 0.995, width),
                  (inner, width)]).rotated(turn)  # fmt: skip


def ball(rng: np.random.Generator) -> Shape:
    """A ball with a band in a lighter shade around it."""
    r = 0.047 * rng.uniform(0.93, 1.07)
    parts = (Part(mesh=sphere(r).moved(z=r)),
             Part(mesh=_band(r, 0.13 * r, UPRIGHT).moved(z=r), shade='light'))  # fmt: skip
    return Shape(parts=parts, discs=disc(r), height=2 * r, roll=r)


def apple(rng: np.random.Generator) -> Shape:
    """An apple with a dimple and a stem."""
    r = 0.047 * rng.uniform(0.93, 1.07)
    profile = [(0.0, 0.08), (0.22, 0.02), (0.42, 0.0), (0.62, 0.12), (0.82, 0.42), (0.97, 0.85),
               (1.0, 1.2), (0.9, 1.56), (0.66, 1.8), (0.4, 1.85), (0.18, 1.72),
               (0, 1.55)]  # fmt: skip
    body = lathe([(x * r, z * r) for x, z in profile])
    t = np.linspace(0, 1, 5)
    path = np.column_stack([0.25 * r * t**2, 0 * t, r * (1.5 + 0.75 * t)])
    stem = sweep(path, 0.0032, up=(0.0, 1.0, 0.0), segments=6)
    return Shape(parts=(Part(mesh=body), Part(mesh=stem, shade='stem')), discs=disc(r),
                 height=1.85 * r, roll=0.95 * r)  # fmt: skip


def banana(rng: np.random.Generator) -> Shape:
    """A bent fruit lying on its side, with dark tips."""
    radius, half, thick = 0.095, rng.uniform(0.95, 1.1), 0.0185 * rng.uniform(0.92, 1.1)
    angle = np.linspace(-half, half, 17)
    path = np.column_stack([radius * np.sin(angle), radius * (np.cos(angle) - 0.78), 0 * angle])
    path[:, 2] += thick
    taper = thick * np.clip(1.12 * (1 - np.abs(np.linspace(-1, 1, 17)) ** 4.0), 0.28, 1.0)
    body = sweep(path, taper, segments=10)
    tips = []
    for end, inner in ((0, 1), (-1, -2)):
        step = path[end] - path[inner]
        points = np.stack([path[end] - 0.3 * step, path[end] + 0.9 * step])
        tips.append(sweep(points, 0.36 * thick, segments=8))
    discs = np.column_stack([path[1::3, 0], path[1::3, 1], np.full(6, 1.5 * thick)])
    parts = (Part(mesh=body), *(Part(mesh=tip, shade='stem') for tip in tips))
    return Shape(parts=parts, discs=discs, height=2 * thick)


def book(rng: np.random.Generator) -> Shape:
    """A closed book: cover and spine around paler pages."""
    x, y = 0.165 * rng.uniform(0.92, 1.1), 0.118 * rng.uniform(0.95, 1.08)
    z = rng.uniform(0.022, 0.036)
    cover = 0.004
    pages = box(x - 0.008, y - 0.006, z - 2 * cover).moved(y=-0.001, z=cover)
    back = box(x, y, cover)
    front = back.moved(z=z - cover)
    spine = box(x, cover, z).moved(y=(y - cover) / 2)
    parts = (Part(mesh=pages, shade='pages'), Part(mesh=back), Part(mesh=front), Part(mesh=spine))
    return Shape(parts=parts, discs=strip(x, y), height=z,
                 platform=Platform(radius=0.46 * y, height=z))  # fmt: skip


def car(rng: np.random.Generator) -> Shape:
    """A toy car with dark windows and black wheels; it drives along x."""
    x, y, wheel = 0.15 * rng.uniform(0.94, 1.06), 0.068 * rng.uniform(0.95, 1.08), 0.0165
    low = [(-0.5, 0.0), (0.5, 0.0), (0.5, 0.5), (0.44, 0.62), (-0.47, 0.66), (-0.5, 0.5)]
    high = [(-0.36, 0.0), (0.26, 0.0), (0.1, 0.72), (-0.26, 0.72)]
    depth = 0.045
    body = extrude([(a * x, b * depth) for a, b in low], y).rotated(UPRIGHT)
    cabin = extrude([(a * x, b * depth) for a, b in high], 0.86 * y).rotated(UPRIGHT)
    roof = box(0.36 * x, 0.8 * y, 0.004)
    parts = [Part(mesh=body.moved(y=y / 2, z=0.4 * wheel)),
             Part(mesh=cabin.moved(y=0.43 * y, z=0.4 * wheel + 0.6 * depth), shade='glass'),
             Part(mesh=roof.moved(x=-0.08 * x, z=0.4 * wheel + 1.31 * depth))]  # fmt: skip
    tyre = lathe([(0, -0.008), (wheel, -0.008), (wheel, 0.008), (0, 0.008)], segments=16)
    for i in (-0.3, 0.3):
        for side in (-0.48, 0.48):
            turned = tyre.rotated(UPRIGHT).moved(x=i * x, y=side * y, z=wheel)
            parts.append(Part(mesh=turned, shade='rubber'))
    return Shape(parts=tuple(parts), discs=strip(x, y), height=0.4 * wheel + 1.4 * depth)
