"""Things put on each other, into each other and into motion: a random scene from a seed."""

from __future__ import annotations

import colorsys

import numpy as np

from instructseg_ros.simulation.catalogue import VARIANTS, Article, catalogue
from instructseg_ros.simulation.layout import Layout, placed
from instructseg_ros.simulation.motion import Loop, Motion, Shuttle
from instructseg_ros.simulation.rotations import compose, to_matrix, turn, yaw
from instructseg_ros.simulation.scene import Item, Scene, random_camera, random_room
from instructseg_ros.simulation.shapes import strip
from instructseg_ros.simulation.stacking import into, onto
from instructseg_ros.simulation.things import COLORS, KINDS, SIZES

ROLLERS = ('ball', 'apple', 'can', 'car')
LOADED = {'bowl': 0.75, 'mug': 0.6, 'plate': 0.6, 'book': 0.55, 'box': 0.5}
PUT_IN = {'bowl': ('apple', 'ball', 'spoon', 'pen'), 'mug': ('spoon', 'pen', 'knife')}
PUT_ON = ('mug', 'can', 'apple', 'ball', 'banana', 'car', 'bowl', 'box', 'book', 'teapot', 'spoon',
          'knife', 'pen', 'bottle')  # fmt: skip
DOWN_X = turn(np.array([0.0, 1.0, 0.0]), np.pi / 2)
TRIES = 40


def _shade(color: str, rng: np.random.Generator) -> np.ndarray:
    """The RGB of one thing of a named colour, a little off the name's."""
    h, s, v = colorsys.rgb_to_hsv(*COLORS[color])
    h = (h + rng.uniform(-0.012, 0.012)) % 1.0
    s, v = min(1.0, s * rng.uniform(0.92, 1.05)), min(1.0, v * rng.uniform(0.9, 1.06))
    return np.array(colorsys.hsv_to_rgb(h, s, v))


class Arranger:
    """Fills one layout item by item; all chance comes from `rng`."""

    def __init__(self, layout: Layout, rng: np.random.Generator) -> None:
        self.layout = layout
        self.rng = rng
        self.items: list[Item] = []

    def put_down(self) -> None:
        """Put one thing at rest on the table, if there is room."""
        article, color = self._draw(KINDS)
        if article is None:
            return
        lying = article.kind in ('can', 'bottle') and self.rng.uniform() < 0.25
        for _ in range(TRIES):
            if self._place(article, color, angle=self.rng.uniform(0, 2 * np.pi), lying=lying):
                return

    def set_moving(self) -> None:
        """Put one moving thing on the table, if there is room for all of its way."""
        manner = str(self.rng.choice(('pushed', 'rolling', 'lifted', 'path'),
                                     p=(0.4, 0.25, 0.15, 0.2)))  # fmt: skip
        article, color = self._draw(ROLLERS if manner == 'rolling' else KINDS)
        if article is None:
            return
        for _ in range(TRIES):
            motion = self._motion(manner, article)
            angle = self.rng.uniform(0, 2 * np.pi)
            lying = manner == 'rolling' and article.kind == 'can'
            if isinstance(motion, Shuttle) and (lying or article.kind == 'car'):
                angle = np.arctan2(motion.direction[1], motion.direction[0])
                angle += np.pi / 2 if lying else np.pi * self.rng.integers(2)
            if self._place(article, color, angle=angle, lying=lying, motion=motion):
                return

    def load(self, carrier: Item) -> None:
        """Put something on or into a thing at rest, if it can carry it."""
        inside = carrier.article.shape.hollow is not None
        kinds = PUT_IN[carrier.article.kind] if inside else PUT_ON
        for _ in range(6):
            article, color = self._draw(kinds)
            if article is None:
                continue
            put = (into if inside else onto)(carrier, article, self.rng)
            if put is None or not self._claim(carrier, article, *put):
                continue
            self._add(article, color, *put, on=None if inside else carrier.label,
                      inside=carrier.label if inside else None)  # fmt: skip
            return

    def _draw(self, kinds: tuple[str, ...]) -> tuple[Article | None, str]:
        """An article that is not in use yet, and a colour; kinds and colours tend to repeat."""
        there = [i.article.kind for i in self.items if i.article.kind in kinds]
        kind = str(self.rng.choice(there if there and self.rng.uniform() < 0.35 else kinds))
        colors = [i.color for i in self.items]
        again = colors and self.rng.uniform() < 0.3
        color = str(self.rng.choice(colors if again else list(COLORS)))
        size = str(self.rng.choice(list(SIZES)))
        used = {i.article.variant for i in self.items
                if (i.article.kind, i.article.size) == (kind, size)}  # fmt: skip
        left = [v for v in range(VARIANTS) if v not in used]
        if not left:
            return None, color
        return catalogue()[kind, size, int(self.rng.choice(left))], color

    def _place(self, article: Article, color: str, *, angle: float, lying: bool,
               motion: Motion | None = None) -> bool:  # fmt: skip
        shape = article.shape
        spot = self.layout.spot(self.rng)
        height, discs, orientation = shape.height, shape.discs, yaw(angle)
        if lying and shape.roll is not None:
            height, discs = 2 * shape.roll, strip(shape.height, 2 * shape.roll)
            orientation = compose(orientation, DOWN_X)
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
        self._add(article, color, center, orientation, motion=motion)
        return True

    def _add(self, article: Article, color: str, center: np.ndarray, orientation: np.ndarray, *,
             motion: Motion | None = None, on: int | None = None,
             inside: int | None = None) -> None:  # fmt: skip
        item = Item(label=len(self.items) + 1, article=article, color=color,
                    rgb=_shade(color, self.rng), center=center, orientation=orientation,
                    motion=motion, on=on, inside=inside)  # fmt: skip
        self.items.append(item)

    def _claim(self, carrier: Item, article: Article, center: np.ndarray,
               orientation: np.ndarray) -> bool:  # fmt: skip
        """Take the ground under a thing that a just placed carrier holds, if it is free."""
        discs, turned = article.shape.discs, to_matrix(orientation)
        ends = discs[:, :2] @ turned[:, :2].T + center
        ground = np.column_stack([ends[:, :2], discs[:, 2]])
        top = ends[:, 2].max() + 0.5 * article.shape.height
        below = len(carrier.article.shape.discs)
        if not (self.layout.in_view(ground, top) and self.layout.free(ground, but=below)):
            return False
        self.layout.take(ground)
        return True

    def _motion(self, manner: str, article: Article) -> Motion:
        rng = self.rng
        right, away = self.layout.camera.table_axes()
        if manner == 'path':
            tilt, size = rng.uniform(0, 2 * np.pi), rng.uniform(0.06, 0.13)
            first = size * (np.cos(tilt) * right + np.sin(tilt) * away)
            second = rng.uniform(0.6, 1.0) * size * (np.cos(tilt) * away - np.sin(tilt) * right)
            second *= rng.choice((-1, 1))
            return Loop(manner=manner, first=first, second=second,
                        period=2 * np.pi * size / rng.uniform(0.09, 0.2), phase=rng.uniform())
        rest, phase = rng.uniform(0.4, 0.9), rng.uniform(0, 20)
        if manner == 'lifted':
            return Shuttle(manner=manner, direction=np.array([0.0, 0.0, 1.0]),
                           length=rng.uniform(0.1, 0.25), there=rng.uniform(0.05, 0.12), back=0.25,
                           rest=rest, phase=phase)  # fmt: skip
        angle = rng.integers(4) * np.pi / 2 + rng.uniform(-0.3, 0.3)
        speed = rng.uniform(0.07, 0.22)
        return Shuttle(manner=manner, direction=np.cos(angle) * right + np.sin(angle) * away,
                       length=rng.uniform(0.16, 0.42), there=speed, back=speed, rest=rest,
                       phase=phase, roll=article.shape.roll if manner == 'rolling' else None)


def random_scene(seed: int) -> Scene:
    """The scene of a seed: 4 to 10 things, half of the scenes with one to three that move."""
    rng = np.random.default_rng(seed)
    camera, room = random_camera(rng), random_room(rng)
    arranger = Arranger(Layout(camera=camera, room=room), rng)
    wanted = int(rng.integers(4, 11))
    if rng.uniform() < 0.55:
        for _ in range(int(rng.integers(1, 4))):
            arranger.set_moving()
    for _ in range(4 * wanted):
        if len(arranger.items) >= wanted:
            break
        before = len(arranger.items)
        arranger.put_down()
        if before < len(arranger.items) < wanted:
            newest = arranger.items[-1]
            if rng.uniform() < LOADED.get(newest.article.kind, 0.0):
                arranger.load(newest)
    return Scene(camera=camera, room=room, items=tuple(arranger.items))
