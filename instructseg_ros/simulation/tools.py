"""Spoon, knife, hammer and pen: long things that lie on the table, tip towards +x."""

from __future__ import annotations

import numpy as np

from instructseg_ros.simulation.meshes import box, extrude, lathe, sphere, sweep
from instructseg_ros.simulation.shapes import Part, Shape, strip

# z to x: lays a lathe's axis along x.
LYING = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])


def spoon(rng: np.random.Generator) -> Shape:
    """An oval scoop at the end of a slender handle."""
    length, a, b = 0.185 * rng.uniform(0.93, 1.08), 0.036, 0.024 * rng.uniform(0.95, 1.1)
    angle = np.linspace(0.0, np.pi / 2, 6)
    outside = [(np.sin(t), 1 - np.cos(t)) for t in angle]
    inside = [(0.88 * np.sin(t), 1 - 0.78 * np.cos(t)) for t in angle[::-1]]
    scoop = lathe([*outside, *inside], segments=20).scaled(a, b, 0.013)
    t = np.linspace(0, 1, 9)
    reach = length - 2 * a + 0.006
    path = np.column_stack([length / 2 - 2 * a + 0.003 - reach * t, 0 * t,
                            0.011 + 0.005 * np.sin(np.pi * t) - 0.006 * t])  # fmt: skip
    handle = sweep(path, 0.006 + 0.005 * t**2, flatness=0.5, segments=8)
    parts = (Part(mesh=scoop.moved(x=length / 2 - a)), Part(mesh=handle))
    return Shape(parts=parts, discs=strip(length, 0.045), height=0.018)


def knife(rng: np.random.Generator) -> Shape:
    """A broad pointed blade and a handle in a darker shade."""
    length, width = 0.215 * rng.uniform(0.93, 1.08), 0.034 * rng.uniform(0.92, 1.12)
    grip = 0.42 * length
    edge = np.linspace(0, 1, 7)
    blade_x = -length / 2 + grip
    lower = [(blade_x + (length - grip) * e, -width / 2 + width * 0.85 * e**3) for e in edge]
    upper = [(length / 2 - 0.01, width * 0.46), (blade_x, width * 0.46)]
    blade = extrude([*lower, *upper], 0.005).moved(z=0.006)
    t = np.linspace(0, 1, 6)
    path = np.column_stack([-length / 2 + (grip + 0.004) * t, 0.004 + 0 * t, 0.009 + 0 * t])
    handle = sweep(path, 0.0135 - 0.002 * np.sin(np.pi * t), flatness=0.65, segments=10)
    return Shape(parts=(Part(mesh=blade), Part(mesh=handle, shade='dark')),
                 discs=strip(length, 0.04), height=0.018)  # fmt: skip


def hammer(rng: np.random.Generator) -> Shape:
    """A handle along x with a heavy head across its end, in a darker shade."""
    length, across = 0.225 * rng.uniform(0.93, 1.07), 0.098 * rng.uniform(0.93, 1.1)
    t = np.linspace(0, 1, 6)
    path = np.column_stack([-length / 2 + (length - 0.02) * t, 0 * t, 0.017 + 0 * t])
    handle = sweep(path, 0.0125 - 0.003 * t, segments=10)
    block = box(0.03, 0.62 * across, 0.03).moved(x=length / 2 - 0.017, y=-0.12 * across, z=0.002)
    face = lathe([(0, 0), (0.014, 0), (0.018, 0.006), (0.018, 0.026), (0.012, 0.034), (0, 0.034)],
                 segments=16)  # fmt: skip
    face = face.rotated(np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]]))
    face = face.moved(x=length / 2 - 0.017, y=0.15 * across, z=0.018)
    parts = (Part(mesh=handle), Part(mesh=block, shade='dark'), Part(mesh=face, shade='dark'))
    head = np.array([[length / 2 - 0.017, y * across, 0.024] for y in (-0.35, 0.0, 0.35)])
    return Shape(parts=parts, discs=np.concatenate([strip(length, 0.03), head]), height=0.036)


def pen(rng: np.random.Generator) -> Shape:
    """A thick pen: barrel, darker cap with a clip, pointed tip."""
    length, r = 0.165 * rng.uniform(0.93, 1.08), 0.0115 * rng.uniform(0.92, 1.08)
    half = length / 2
    barrel = lathe([(0, -half + 0.35 * length), (r, -half + 0.35 * length), (r, half - 0.02),
                    (0.0035, half), (0, half)], segments=14).rotated(LYING)  # fmt: skip
    cap = lathe([(0, -half), (0.8 * r, -half), (1.15 * r, -half + 0.006),
                 (1.15 * r, -half + 0.37 * length), (0, -half + 0.37 * length)],
                segments=14).rotated(LYING)  # fmt: skip
    clip = box(0.28 * length, 0.005, 0.003).moved(x=-half + 0.17 * length, z=1.25 * r)
    tip = sphere(0.003, rings=6, segments=8).moved(x=half)
    z = 1.15 * r
    parts = (Part(mesh=barrel.moved(z=z)), Part(mesh=cap.moved(z=z), shade='dark'),
             Part(mesh=clip.moved(z=z), shade='dark'), Part(mesh=tip.moved(z=z), shade='rubber'))
    return Shape(parts=parts, discs=strip(length, 0.028), height=2.6 * r)
