"""Draws a random scene: which objects it has, where they stand and how they move."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from instructseg_ros.spatial.quaternions import from_axis_angle, multiply, to_matrix, yaw
from instructseg_ros.tabletop.world.catalogue import (
    COLORS,
    OBJECT_CATEGORIES,
    SIZES,
    VARIANTS,
    CatalogueEntry,
    catalogue,
)
from instructseg_ros.tabletop.world.geometry import strip
from instructseg_ros.tabletop.world.scene import (
    EllipseMotion,
    Motion,
    PlacedObject,
    Room,
    Scene,
    ShuttleMotion,
    TableCamera,
    random_camera,
    random_room,
)

FRAME = (640, 480)
MARGIN = 6
GAP = 0.012
MAX_DEPTH = 1.2


def placed(discs: np.ndarray, position: np.ndarray, angle: float) -> np.ndarray:
    """Return footprint circles (n, 3), rotated by `angle` about z and moved to `position`."""
    c, s = np.cos(angle), np.sin(angle)
    centres = discs[:, :2] @ np.array([[c, s], [-s, c]]) + position[:2]
    return np.column_stack([centres, discs[:, 2]])


@dataclass
class Layout:
    """The occupied ground of a table: circles (n, 3) of x, y and radius in the table's frame, m."""

    camera: TableCamera
    room: Room
    taken: np.ndarray = field(default_factory=lambda: np.empty((0, 3)))

    def spot(self, rng: np.random.Generator) -> np.ndarray:
        """Draw a point (3,) on the plane of the table, uniformly distributed in the image."""
        k = self.camera.pinhole(*FRAME)
        u, v = rng.uniform(30, FRAME[0] - 30), rng.uniform(40, FRAME[1] - 20)
        ray = self.camera.rotation @ np.array([(u - k.cx) / k.fx, (v - k.cy) / k.fy, 1.0])
        reach = self.camera.position[2] / max(-ray[2], 1e-3)
        return self.camera.position + min(reach, 10.0) * ray

    def fits(self, discs: np.ndarray, height: float) -> bool:
        """Return whether an object of this height and footprint is on free ground and in view."""
        return self._on_table(discs) and self.free(discs) and self.in_view(discs, height)

    def take(self, discs: np.ndarray) -> None:
        """Mark these circles as occupied."""
        self.taken = np.concatenate([self.taken, discs])

    def _on_table(self, discs: np.ndarray) -> bool:
        c, s = np.cos(self.room.turn), np.sin(self.room.turn)
        own = np.abs(discs[:, :2] @ np.array([[c, -s], [s, c]])) + discs[:, 2:]
        return bool((own < np.array(self.room.table) - 0.01).all())

    def free(self, discs: np.ndarray, *, but: int = 0) -> bool:
        """Return whether no circle overlaps occupied ground; its last `but` circles are ignored."""
        taken = self.taken[: len(self.taken) - but]
        apart = np.linalg.norm(discs[:, None, :2] - taken[None, :, :2], axis=-1)
        return bool((apart > discs[:, None, 2] + taken[None, :, 2] + GAP).all())

    def in_view(self, discs: np.ndarray, height: float) -> bool:
        """Return whether cylinders of this height on these circles lie completely in the image."""
        angle = np.arange(6) * np.pi / 3
        around = np.stack([np.cos(angle), np.sin(angle)], -1)
        rim = discs[:, None, :2] + discs[:, None, 2:] * around
        points = np.concatenate(
            [np.concatenate([rim, np.full((*rim.shape[:2], 1), z)], -1) for z in (0.0, height)]
        ).reshape(-1, 3)
        optical = self.camera.to_optical(points)
        pixels = self.camera.pinhole(*FRAME).project(optical)
        inside = (pixels > MARGIN) & (pixels < np.array(FRAME) - 1 - MARGIN)
        return bool(inside.all() and (optical[:, 2] < MAX_DEPTH).all())


STICKS = ('spoon', 'pen', 'knife')
Pose = tuple[np.ndarray, np.ndarray]  # centre (3,) in m, orientation (x, y, z, w)


def onto(carrier: PlacedObject, entry: CatalogueEntry, rng: np.random.Generator) -> Pose | None:
    """Draw the pose of an object on top of a carrier at rest; None if it does not fit."""
    platform, shape = carrier.entry.shape.platform, entry.shape
    overhang = 1.9 if entry.category in STICKS else 1.15
    if platform is None or shape.reach > overhang * platform.radius:
        return None
    overhangs = shape.reach > platform.radius
    top = carrier.entry.shape.height if overhangs else platform.height
    base = carrier.center[2] - 0.5 * carrier.entry.shape.height
    shift = 0.12 * platform.radius * rng.uniform(-1, 1, 2)
    center = np.array([*(carrier.center[:2] + shift), base + top + 0.5 * shape.height])
    return center, yaw(rng.uniform(0, 2 * np.pi))


def into(carrier: PlacedObject, entry: CatalogueEntry, rng: np.random.Generator) -> Pose | None:
    """Draw the pose of an object inside a container at rest; None if it does not fit."""
    hollow, base = carrier.entry.shape.hollow, carrier.center[2]
    if hollow is None:
        return None
    base -= 0.5 * carrier.entry.shape.height
    around = yaw(rng.uniform(0, 2 * np.pi))
    if entry.category in STICKS:
        return _leaning(carrier, entry, base, rng)
    radius = 0.5 * entry.shape.height
    if entry.shape.reach > 0.75 * hollow.mouth:
        return None
    center = np.array([*carrier.center[:2], base + hollow.bottom + radius + 0.15 * radius])
    return center, around


def _leaning(
    carrier: PlacedObject, entry: CatalogueEntry, base: float, rng: np.random.Generator
) -> Pose | None:
    """Draw the pose of a stick that leans from the floor of a container over its rim."""
    hollow, rim = carrier.entry.shape.hollow, carrier.entry.shape.height
    assert hollow is not None
    half = 0.5 * entry.shape.height
    low = np.array([-0.6 * (hollow.floor - half), hollow.bottom + half])
    high = np.array([hollow.mouth - half, rim + half])
    along = (high - low) / np.linalg.norm(high - low)
    if entry.shape.length < 1.25 * np.linalg.norm(high - low):
        return None
    angle = rng.uniform(0, 2 * np.pi)
    c, s = np.cos(angle), np.sin(angle)
    middle = low + 0.5 * entry.shape.length * along
    center = np.array([*carrier.center[:2], base])
    center += np.array([c * middle[0], s * middle[0], middle[1]])
    pitch = from_axis_angle(np.array([0.0, -1.0, 0.0]), np.arctan2(along[1], along[0]))
    orientation = multiply(yaw(angle), pitch)
    if entry.category == 'spoon' and carrier.entry.category == 'bowl':
        orientation = multiply(orientation, yaw(np.pi))
    return center, orientation


ROLLERS = ('ball', 'apple', 'can', 'car')
LOADED = {'bowl': 0.75, 'mug': 0.6, 'plate': 0.6, 'book': 0.55, 'box': 0.5}
PUT_IN = {'bowl': ('apple', 'ball', 'spoon', 'pen'), 'mug': ('spoon', 'pen', 'knife')}
PUT_ON = (
    *('mug', 'can', 'apple', 'ball', 'banana', 'car', 'bowl', 'box', 'book'),
    *('teapot', 'spoon', 'knife', 'pen', 'bottle'),
)
DOWN_X = from_axis_angle(np.array([0.0, 1.0, 0.0]), np.pi / 2)
MAX_TRIES = 40
NOVEL_SHARE = 1 / 3


def _shade(color: str, rng: np.random.Generator) -> np.ndarray:
    """Draw an RGB close to a named color."""
    h, s, v = colorsys.rgb_to_hsv(*COLORS[color])
    h = (h + rng.uniform(-0.012, 0.012)) % 1.0
    s, v = min(1.0, s * rng.uniform(0.92, 1.05)), min(1.0, v * rng.uniform(0.9, 1.06))
    return np.array(colorsys.hsv_to_rgb(h, s, v))


class Arranger:
    """Fills a layout object by object.

    Args:
        layout: The free ground.
        rng: The only random source.
        novel: Novel categories, of which every third object is.
    """

    def __init__(self, layout: Layout, rng: np.random.Generator, novel: Sequence[str] = ()) -> None:
        self.layout = layout
        self.rng = rng
        self.novel = tuple(novel)
        self.objects: list[PlacedObject] = []

    def put_down(self) -> None:
        """Add an object at rest on the table, if there is room."""
        entry, color = self._draw(OBJECT_CATEGORIES)
        if entry is None:
            return
        lying = entry.category in ('can', 'bottle') and self.rng.uniform() < 0.25
        for _ in range(MAX_TRIES):
            if self._place(entry, color, angle=self.rng.uniform(0, 2 * np.pi), lying=lying):
                return

    def set_moving(self) -> None:
        """Add a moving object on the table, if there is room for its whole path."""
        manner = str(
            self.rng.choice(('pushed', 'rolling', 'lifted', 'path'), p=(0.4, 0.25, 0.15, 0.2))
        )
        entry, color = self._draw(ROLLERS if manner == 'rolling' else OBJECT_CATEGORIES)
        if entry is None:
            return
        for _ in range(MAX_TRIES):
            motion = self._motion(manner, entry)
            angle = self.rng.uniform(0, 2 * np.pi)
            lying = manner == 'rolling' and entry.category == 'can'
            if isinstance(motion, ShuttleMotion) and (lying or entry.category == 'car'):
                angle = np.arctan2(motion.direction[1], motion.direction[0])
                angle += np.pi / 2 if lying else np.pi * self.rng.integers(2)
            if self._place(entry, color, angle=angle, lying=lying, motion=motion):
                return

    def load(self, carrier: PlacedObject) -> None:
        """Put another object on or into a carrier at rest, if one fits."""
        inside = carrier.entry.shape.hollow is not None
        categories = PUT_IN[carrier.entry.category] if inside else PUT_ON
        for _ in range(6):
            entry, color = self._draw(categories)
            if entry is None:
                continue
            put = (into if inside else onto)(carrier, entry, self.rng)
            if put is None or not self._claim(carrier, entry, *put):
                continue
            self._add(
                entry,
                color,
                *put,
                on=None if inside else carrier.label,
                inside=carrier.label if inside else None,
            )
            return

    def _draw(self, categories: tuple[str, ...]) -> tuple[CatalogueEntry | None, str]:
        """Draw an unused catalogue entry and a color; categories and colors tend to repeat."""
        if self.novel and self.rng.uniform() < NOVEL_SHARE:
            categories = self.novel
        there = [i.entry.category for i in self.objects if i.entry.category in categories]
        category = str(
            self.rng.choice(there if there and self.rng.uniform() < 0.35 else categories)
        )
        colors = [i.color for i in self.objects]
        again = colors and self.rng.uniform() < 0.3
        color = str(self.rng.choice(colors if again else list(COLORS)))
        size = str(self.rng.choice(list(SIZES)))
        used = {
            i.entry.variant
            for i in self.objects
            if (i.entry.category, i.entry.size) == (category, size)
        }
        left = [v for v in range(VARIANTS) if v not in used]
        if not left:
            return None, color
        return catalogue()[category, size, int(self.rng.choice(left))], color

    def _place(
        self,
        entry: CatalogueEntry,
        color: str,
        *,
        angle: float,
        lying: bool,
        motion: Motion | None = None,
    ) -> bool:
        shape = entry.shape
        spot = self.layout.spot(self.rng)
        height, discs, orientation = shape.height, shape.discs, yaw(angle)
        if lying and shape.roll is not None:
            height, discs = 2 * shape.roll, strip(shape.height, 2 * shape.roll)
            orientation = multiply(orientation, DOWN_X)
        ground = placed(discs, spot, angle)
        if motion is not None:
            ways = motion.sweep()
            ground = np.concatenate([ground + [x, y, 0.0] for x, y, _ in ways])
            rise = ways[:, 2].max()
            if not self.layout.in_view(ground, height + rise):
                return False
        if not self.layout.fits(ground, height):
            return False
        self.layout.take(ground)
        center = spot + np.array([0.0, 0.0, height / 2])
        self._add(entry, color, center, orientation, motion=motion)
        return True

    def _add(
        self,
        entry: CatalogueEntry,
        color: str,
        center: np.ndarray,
        orientation: np.ndarray,
        *,
        motion: Motion | None = None,
        on: int | None = None,
        inside: int | None = None,
    ) -> None:
        obj = PlacedObject(
            label=len(self.objects) + 1,
            entry=entry,
            color=color,
            rgb=_shade(color, self.rng),
            center=center,
            orientation=orientation,
            motion=motion,
            on=on,
            inside=inside,
        )
        self.objects.append(obj)

    def _claim(
        self,
        carrier: PlacedObject,
        entry: CatalogueEntry,
        center: np.ndarray,
        orientation: np.ndarray,
    ) -> bool:
        """Occupy the ground below an object on the newest carrier; return whether it was free."""
        discs, turned = entry.shape.discs, to_matrix(orientation)
        ends = discs[:, :2] @ turned[:, :2].T + center
        ground = np.column_stack([ends[:, :2], discs[:, 2]])
        top = ends[:, 2].max() + 0.5 * entry.shape.height
        below = len(carrier.entry.shape.discs)
        if not (self.layout.in_view(ground, top) and self.layout.free(ground, but=below)):
            return False
        self.layout.take(ground)
        return True

    def _motion(self, manner: str, entry: CatalogueEntry) -> Motion:
        rng = self.rng
        right, away = self.layout.camera.table_axes()
        if manner == 'path':
            tilt, size = rng.uniform(0, 2 * np.pi), rng.uniform(0.06, 0.13)
            first = size * (np.cos(tilt) * right + np.sin(tilt) * away)
            second = rng.uniform(0.6, 1.0) * size * (np.cos(tilt) * away - np.sin(tilt) * right)
            second *= rng.choice((-1, 1))
            return EllipseMotion(
                manner=manner,
                first=first,
                second=second,
                period=2 * np.pi * size / rng.uniform(0.09, 0.2),
                phase=rng.uniform(),
            )
        rest, phase = rng.uniform(0.4, 0.9), rng.uniform(0, 20)
        if manner == 'lifted':
            return ShuttleMotion(
                manner=manner,
                direction=np.array([0.0, 0.0, 1.0]),
                length=rng.uniform(0.1, 0.25),
                there=rng.uniform(0.05, 0.12),
                back=0.25,
                rest=rest,
                phase=phase,
            )
        angle = rng.integers(4) * np.pi / 2 + rng.uniform(-0.3, 0.3)
        speed = rng.uniform(0.07, 0.22)
        return ShuttleMotion(
            manner=manner,
            direction=np.cos(angle) * right + np.sin(angle) * away,
            length=rng.uniform(0.16, 0.42),
            there=speed,
            back=speed,
            rest=rest,
            phase=phase,
            roll=entry.shape.roll if manner == 'rolling' else None,
        )


def random_scene(seed: int, novel: Sequence[str] = ()) -> Scene:
    """Draw a scene of 4 to 10 objects if there is room; in half of the scenes, up to three move.

    Args:
        seed: Seed of everything that is random.
        novel: Novel categories that the scene may contain, see `NOVEL_CATEGORIES`.
    """
    rng = np.random.default_rng(seed)
    camera, room = random_camera(rng), random_room(rng)
    arranger = Arranger(Layout(camera=camera, room=room), rng, novel)
    wanted = int(rng.integers(4, 11))
    if rng.uniform() < 0.55:
        for _ in range(int(rng.integers(1, 4))):
            arranger.set_moving()
    for _ in range(4 * wanted):
        if len(arranger.objects) >= wanted:
            break
        before = len(arranger.objects)
        arranger.put_down()
        if before < len(arranger.objects) < wanted:
            newest = arranger.objects[-1]
            if rng.uniform() < LOADED.get(newest.entry.category, 0.0):
                arranger.load(newest)
    return Scene(camera=camera, room=room, objects=tuple(arranger.objects))


def lone_object(seed: int, view: int, category: str, color: str) -> Scene:
    """Draw one object on an empty table, as it is shown to a camera that learns it.

    Args:
        seed: Seed of the table, the camera and the object.
        view: Number of the place and angle at which the object lies.
        category: A category of the catalogue.
        color: Name of its color.
    """
    rng = np.random.default_rng(seed)
    camera, room = random_camera(rng), random_room(rng)
    entry = catalogue()[category, 'medium', int(rng.integers(VARIANTS))]
    rgb = _shade(color, rng)
    layout, places = Layout(camera=camera, room=room), np.random.default_rng((seed, view))
    for _ in range(MAX_TRIES):
        spot, angle = places.uniform(-0.2, 0.2, 3) * (1, 1, 0), places.uniform(0, 2 * np.pi)
        if layout.fits(placed(entry.shape.discs, spot, angle), entry.shape.height):
            break
    obj = PlacedObject(
        label=1,
        entry=entry,
        color=color,
        rgb=rgb,
        center=spot + np.array([0.0, 0.0, entry.shape.height / 2]),
        orientation=yaw(angle),
    )
    return Scene(camera=camera, room=room, objects=(obj,))
