"""The shape of each object category."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from instructseg_ros.tabletop.world.geometry import (
    Hollow,
    Mesh,
    Part,
    Platform,
    Shape,
    box,
    disc,
    extrude,
    lathe,
    sphere,
    strip,
    sweep,
)

# Rotates z to -y, the direction in which an upright extrusion is thick.
UPRIGHT = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


def _turned(radii: Sequence[float], heights: Sequence[float], segments: int = 24) -> Mesh:
    """A `lathe` whose profile is given as radii and heights."""
    return lathe(list(zip(radii, heights, strict=True)), segments=segments)


def carton(rng: np.random.Generator) -> Shape:
    """A closed box with a strip of tape in a darker shade."""
    x, y = 0.115 * rng.uniform(0.9, 1.15), 0.088 * rng.uniform(0.9, 1.1)
    z = rng.uniform(0.06, 0.09)
    tape = box(x + 0.001, 0.022, z + 0.001)
    parts = (Part(mesh=box(x, y, z)), Part(mesh=tape, shade='dark'))
    return Shape(
        parts=parts,
        discs=strip(x, y),
        height=z,
        platform=Platform(radius=0.48 * min(x, y), height=z),
    )


def _band(radius: float, width: float, turn: np.ndarray) -> Mesh:
    outer = radius + 0.0012
    inner = 0.9 * radius
    return _turned(
        [inner, outer * 0.995, outer, outer * 0.995, inner], [-width, -width, 0, width, width]
    ).rotated(turn)


def ball(rng: np.random.Generator) -> Shape:
    """A ball with a band in a lighter shade around it."""
    r = 0.047 * rng.uniform(0.93, 1.07)
    parts = (
        Part(mesh=sphere(r).moved(z=r)),
        Part(mesh=_band(r, 0.13 * r, UPRIGHT).moved(z=r), shade='light'),
    )
    return Shape(parts=parts, discs=disc(r), height=2 * r, roll=r)


def apple(rng: np.random.Generator) -> Shape:
    """An apple with a dimple and a stem."""
    r = 0.047 * rng.uniform(0.93, 1.07)
    radii = [0.0, 0.22, 0.42, 0.62, 0.82, 0.97, 1.0, 0.9, 0.66, 0.4, 0.18, 0]
    heights = [0.08, 0.02, 0.0, 0.12, 0.42, 0.85, 1.2, 1.56, 1.8, 1.85, 1.72, 1.55]
    body = lathe([(x * r, z * r) for x, z in zip(radii, heights, strict=True)])
    t = np.linspace(0, 1, 5)
    path = np.column_stack([0.25 * r * t**2, 0 * t, r * (1.5 + 0.75 * t)])
    stem = sweep(path, 0.0032, up=(0.0, 1.0, 0.0), segments=6)
    return Shape(
        parts=(Part(mesh=body), Part(mesh=stem, shade='stem')),
        discs=disc(r),
        height=1.85 * r,
        roll=0.95 * r,
    )


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
    return Shape(
        parts=parts, discs=strip(x, y), height=z, platform=Platform(radius=0.46 * y, height=z)
    )


def car(rng: np.random.Generator) -> Shape:
    """A toy car with dark windows and black wheels; it drives along x."""
    x, y, wheel = 0.15 * rng.uniform(0.94, 1.06), 0.068 * rng.uniform(0.95, 1.08), 0.0165
    low = [(-0.5, 0.0), (0.5, 0.0), (0.5, 0.5), (0.44, 0.62), (-0.47, 0.66), (-0.5, 0.5)]
    high = [(-0.36, 0.0), (0.26, 0.0), (0.1, 0.72), (-0.26, 0.72)]
    depth = 0.045
    body = extrude([(a * x, b * depth) for a, b in low], y).rotated(UPRIGHT)
    cabin = extrude([(a * x, b * depth) for a, b in high], 0.86 * y).rotated(UPRIGHT)
    roof = box(0.36 * x, 0.8 * y, 0.004)
    parts = [
        Part(mesh=body.moved(y=y / 2, z=0.4 * wheel)),
        Part(mesh=cabin.moved(y=0.43 * y, z=0.4 * wheel + 0.6 * depth), shade='glass'),
        Part(mesh=roof.moved(x=-0.08 * x, z=0.4 * wheel + 1.31 * depth)),
    ]
    tyre = lathe([(0, -0.008), (wheel, -0.008), (wheel, 0.008), (0, 0.008)], segments=16)
    for i in (-0.3, 0.3):
        for side in (-0.48, 0.48):
            turned = tyre.rotated(UPRIGHT).moved(x=i * x, y=side * y, z=wheel)
            parts.append(Part(mesh=turned, shade='rubber'))
    return Shape(parts=tuple(parts), discs=strip(x, y), height=0.4 * wheel + 1.4 * depth)


# Rotates the z axis of a lathe to x.
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
    path = np.column_stack(
        [
            length / 2 - 2 * a + 0.003 - reach * t,
            0 * t,
            0.011 + 0.005 * np.sin(np.pi * t) - 0.006 * t,
        ]
    )
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
    return Shape(
        parts=(Part(mesh=blade), Part(mesh=handle, shade='dark')),
        discs=strip(length, 0.04),
        height=0.018,
    )


def hammer(rng: np.random.Generator) -> Shape:
    """A handle along x with a heavy head across its end, in a darker shade."""
    length, across = 0.225 * rng.uniform(0.93, 1.07), 0.098 * rng.uniform(0.93, 1.1)
    t = np.linspace(0, 1, 6)
    path = np.column_stack([-length / 2 + (length - 0.02) * t, 0 * t, 0.017 + 0 * t])
    handle = sweep(path, 0.0125 - 0.003 * t, segments=10)
    block = box(0.03, 0.62 * across, 0.03).moved(x=length / 2 - 0.017, y=-0.12 * across, z=0.002)
    face = lathe(
        [(0, 0), (0.014, 0), (0.018, 0.006), (0.018, 0.026), (0.012, 0.034), (0, 0.034)],
        segments=16,
    )
    face = face.rotated(np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]]))
    face = face.moved(x=length / 2 - 0.017, y=0.15 * across, z=0.018)
    parts = (Part(mesh=handle), Part(mesh=block, shade='dark'), Part(mesh=face, shade='dark'))
    head = np.array([[length / 2 - 0.017, y * across, 0.024] for y in (-0.35, 0.0, 0.35)])
    return Shape(parts=parts, discs=np.concatenate([strip(length, 0.03), head]), height=0.036)


def pen(rng: np.random.Generator) -> Shape:
    """A thick pen: barrel, darker cap with a clip, pointed tip."""
    length, r = 0.165 * rng.uniform(0.93, 1.08), 0.0115 * rng.uniform(0.92, 1.08)
    half = length / 2
    barrel = _turned(
        [0, r, r, 0.0035, 0],
        [-half + 0.35 * length, -half + 0.35 * length, half - 0.02, half, half],
        segments=14,
    ).rotated(LYING)
    cap = _turned(
        [0, 0.8 * r, 1.15 * r, 1.15 * r, 0],
        [-half, -half, -half + 0.006, -half + 0.37 * length, -half + 0.37 * length],
        segments=14,
    ).rotated(LYING)
    clip = box(0.28 * length, 0.005, 0.003).moved(x=-half + 0.17 * length, z=1.25 * r)
    tip = sphere(0.003, rings=6, segments=8).moved(x=half)
    z = 1.15 * r
    parts = (
        Part(mesh=barrel.moved(z=z)),
        Part(mesh=cap.moved(z=z), shade='dark'),
        Part(mesh=clip.moved(z=z), shade='dark'),
        Part(mesh=tip.moved(z=z), shade='rubber'),
    )
    return Shape(parts=parts, discs=strip(length, 0.028), height=2.6 * r)


def _arc_handle(x: float, z: float, reach: float, half: float, thickness: float) -> Mesh:
    """A C-shaped handle in the xz plane that starts at (x, z + half) and ends at (x, z - half)."""
    angle = np.linspace(np.pi / 2, -np.pi / 2, 11)
    path = np.column_stack([x + reach * np.cos(angle), 0 * angle, z + half * np.sin(angle)])
    return sweep(path, thickness, up=(0.0, 1.0, 0.0), segments=8)


def mug(rng: np.random.Generator) -> Shape:
    """A cylinder with a handle, open at the top."""
    r, h = 0.042 * rng.uniform(0.92, 1.08), 0.092 * rng.uniform(0.9, 1.12)
    wall, foot = 0.004, rng.uniform(0.88, 1.0)
    body = _turned(
        [0, r * foot, r, r, r - wall, r - wall, r * foot - wall, 0],
        [0, 0, 0.2 * h, h, h, 0.2 * h, 0.007, 0.007],
    )
    handle = _arc_handle(r - 0.003, 0.52 * h, 0.034 * rng.uniform(0.9, 1.15), 0.32 * h, 0.0065)
    discs = np.array([[0.0, 0.0, r], [r + 0.018, 0.0, 0.018]])
    return Shape(
        parts=(Part(mesh=body), Part(mesh=handle)),
        discs=discs,
        height=h,
        hollow=Hollow(mouth=r - wall, floor=r * foot - wall, bottom=0.007),
    )


def bowl(rng: np.random.Generator) -> Shape:
    """A round bowl, open at the top."""
    r, h = 0.088 * rng.uniform(0.93, 1.07), 0.062 * rng.uniform(0.88, 1.15)
    angle = np.linspace(0.35, np.pi / 2, 8)
    outside = [(r * np.sin(a), h * (1 - np.cos(a))) for a in angle]
    low = outside[0][1]
    outside = [(x, (z - low) * h / (h - low)) for x, z in outside]
    inside = [(x - 0.005, max(z, 0.007)) for x, z in reversed(outside)]
    body = lathe([(0, 0), *outside, *inside, (0, 0.007)], segments=28)
    return Shape(
        parts=(Part(mesh=body),),
        discs=disc(r),
        height=h,
        hollow=Hollow(mouth=r - 0.005, floor=outside[0][0], bottom=0.007),
    )


def bottle(rng: np.random.Generator) -> Shape:
    """A bottle with a neck and a cap in a darker shade."""
    r, h = 0.036 * rng.uniform(0.9, 1.1), 0.215 * rng.uniform(0.92, 1.08)
    neck, shoulder, top = 0.014, rng.uniform(0.52, 0.62) * h, 0.9 * h
    body = _turned(
        [0, 0.92 * r, r, r, 0.88 * r, 0.6 * r, neck, neck, 0],
        [0, 0, 0.02 * h, shoulder, shoulder + 0.02, shoulder + 0.04, shoulder + 0.055, top, top],
    )
    cap = lathe([(0, 0.88 * h), (neck + 0.003, 0.88 * h), (neck + 0.003, h), (0, h)], segments=16)
    return Shape(
        parts=(Part(mesh=body), Part(mesh=cap, shade='dark')), discs=disc(r), height=h, roll=r
    )


def can(rng: np.random.Generator) -> Shape:
    """A drinks can with metal ends."""
    r, h = 0.036 * rng.uniform(0.93, 1.07), 0.122 * rng.uniform(0.9, 1.1)
    body = lathe([(0, 0.006), (r, 0.006), (r, 0.9 * h), (0.86 * r, 0.95 * h), (0, 0.95 * h)])
    top = _turned(
        [0, 0.86 * r, 0.86 * r, 0.76 * r, 0.74 * r, 0],
        [0.93 * h, 0.93 * h, h, h, 0.965 * h, 0.965 * h],
    )
    base = lathe([(0, 0), (0.84 * r, 0), (0.98 * r, 0.008), (0, 0.008)])
    parts = (Part(mesh=body), Part(mesh=top, shade='metal'), Part(mesh=base, shade='metal'))
    return Shape(parts=parts, discs=disc(r), height=h, roll=r)


def plate(rng: np.random.Generator) -> Shape:
    """A flat plate with a raised rim."""
    r, h = 0.112 * rng.uniform(0.92, 1.06), 0.020 * rng.uniform(0.85, 1.15)
    body = _turned(
        [0, 0.6 * r, r, r, 0.95 * r, 0.66 * r, 0],
        [0, 0, h - 0.004, h, h, 0.007, 0.007],
        segments=36,
    )
    well = lathe([(0, 0.004), (0.66 * r, 0.004), (0.655 * r, 0.0075), (0, 0.0075)], segments=36)
    return Shape(
        parts=(Part(mesh=body), Part(mesh=well, shade='dark')),
        discs=disc(r),
        height=h,
        platform=Platform(radius=0.62 * r, height=0.007),
    )


def teapot(rng: np.random.Generator) -> Shape:
    """A round pot with a spout, a handle and a lid with a knob."""
    r, h = 0.060 * rng.uniform(0.93, 1.07), 0.088 * rng.uniform(0.92, 1.1)
    angle = np.linspace(-1.05, 1.1, 10)
    low, high = np.sin(angle[0]), np.sin(angle[-1])
    side = [(r * np.cos(a), h * (np.sin(a) - low) / (high - low)) for a in angle]
    body = lathe([(0, 0), *side, (0, h)], segments=28)
    lid = _turned(
        [0, 0.46 * r, 0.4 * r, 0.12 * r, 0.12 * r, 0.2 * r, 0],
        [h, h, 1.09 * h, 1.14 * h, 1.2 * h, 1.27 * h, 1.32 * h],
        segments=20,
    )
    t = np.linspace(0, 1, 8)
    path = np.column_stack([-r * (0.85 + 0.85 * t), 0 * t, h * (0.35 + 0.15 * t + 0.5 * t**3)])
    spout = sweep(path, 0.016 - 0.009 * t, up=(0.0, 1.0, 0.0))
    handle = _arc_handle(0.86 * r, 0.52 * h, 0.62 * r, 0.34 * h, 0.007)
    discs = np.array([[0, 0, r], [-1.4 * r, 0, 0.35 * r], [1.25 * r, 0, 0.3 * r]])
    parts = (Part(mesh=body), Part(mesh=spout), Part(mesh=handle), Part(mesh=lid, shade='dark'))
    return Shape(parts=parts, discs=discs, height=1.32 * h)


def star(rng: np.random.Generator) -> Shape:
    """A five-pointed star lying flat, with a raised middle in a darker shade."""
    outer, thick = 0.062 * rng.uniform(0.93, 1.08), rng.uniform(0.024, 0.032)
    inner = 0.45 * outer
    angle = np.arange(10) * np.pi / 5
    radius = np.where(np.arange(10) % 2, inner, outer)
    outline = list(zip(radius * np.cos(angle), radius * np.sin(angle), strict=True))
    knob = lathe([(0, 0), (0.5 * inner, 0), (0.4 * inner, 0.006), (0, 0.006)], segments=16)
    parts = (Part(mesh=extrude(outline, thick)), Part(mesh=knob.moved(z=thick), shade='dark'))
    return Shape(parts=parts, discs=disc(outer), height=thick + 0.006)


def stapler(rng: np.random.Generator) -> Shape:
    """A flat base in a darker shade below an arm that rises towards its open end."""
    length, width = 0.165 * rng.uniform(0.93, 1.08), 0.036 * rng.uniform(0.92, 1.1)
    base = box(length, width, 0.012)
    hinge, half = -length / 2, length / 2
    profile = [(hinge, 0.012), (half - 0.012, 0.034), (half, 0.045), (half - 0.02, 0.062)]
    side = [*profile, (hinge + 0.03, 0.05), (hinge, 0.034)]
    arm = extrude(side, 0.86 * width).rotated(UPRIGHT).moved(y=0.43 * width)
    plate = box(0.022, 0.7 * width, 0.004).moved(x=half - 0.018, z=0.012)
    parts = (Part(mesh=base, shade='dark'), Part(mesh=arm), Part(mesh=plate, shade='metal'))
    return Shape(parts=parts, discs=strip(length, width), height=0.062)


#: The builder of each category of objects.
BUILDERS: dict[str, Callable[[np.random.Generator], Shape]] = {
    'mug': mug,
    'bowl': bowl,
    'bottle': bottle,
    'can': can,
    'box': carton,
    'ball': ball,
    'plate': plate,
    'spoon': spoon,
    'knife': knife,
    'banana': banana,
    'apple': apple,
    'book': book,
    'car': car,
    'hammer': hammer,
    'pen': pen,
    'teapot': teapot,
}

#: Categories that no training scene contains: a model can be taught them.
NOVEL_BUILDERS: dict[str, Callable[[np.random.Generator], Shape]] = {
    'star': star,
    'stapler': stapler,
}
