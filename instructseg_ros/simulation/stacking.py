"""Where a thing rests on another one or inside it."""

from __future__ import annotations

import numpy as np

from instructseg_ros.simulation.catalogue import Article
from instructseg_ros.simulation.rotations import compose, turn, yaw
from instructseg_ros.simulation.scene import Item

STICKS = ('spoon', 'pen', 'knife')
Pose = tuple[np.ndarray, np.ndarray]  # centre (3,) in m, orientation quaternion


def onto(carrier: Item, article: Article, rng: np.random.Generator) -> Pose | None:
    """The pose of an article on top of a carrier at rest, None if it does not fit."""
    platform, shape = carrier.article.shape.platform, article.shape
    overhang = 1.9 if article.kind in STICKS else 1.15
    if platform is None or shape.reach > overhang * platform.radius:
        return None
    overhangs = shape.reach > platform.radius
    top = carrier.article.shape.height if overhangs else platform.height
    base = carrier.center[2] - 0.5 * carrier.article.shape.height
    shift = 0.12 * platform.radius * rng.uniform(-1, 1, 2)
    center = np.array([*(carrier.center[:2] + shift), base + top + 0.5 * shape.height])
    return center, yaw(rng.uniform(0, 2 * np.pi))


def into(carrier: Item, article: Article, rng: np.random.Generator) -> Pose | None:
    """The pose of an article inside a container at rest, None if it does not fit."""
    hollow, base = carrier.article.shape.hollow, carrier.center[2]
    if hollow is None:
        return None
    base -= 0.5 * carrier.article.shape.height
    around = yaw(rng.uniform(0, 2 * np.pi))
    if article.kind in STICKS:
        return _leaning(carrier, article, base, rng)
    radius = 0.5 * article.shape.height
    if article.shape.reach > 0.75 * hollow.mouth:
        return None
    center = np.array([*carrier.center[:2], base + hollow.bottom + radius + 0.15 * radius])
    return center, around


def _leaning(carrier: Item, article: Article, base: float,
             rng: np.random.Generator) -> Pose | None:  # fmt: skip
    """A stick from the floor of a container over its rim."""
    hollow, rim = carrier.article.shape.hollow, carrier.article.shape.height
    assert hollow is not None
    half = 0.5 * article.shape.height
    low = np.array([-0.6 * (hollow.floor - half), hollow.bottom + half])
    high = np.array([hollow.mouth - half, rim + half])
    along = (high - low) / np.linalg.norm(high - low)
    if article.shape.length < 1.25 * np.linalg.norm(high - low):
        return None
    angle = rng.uniform(0, 2 * np.pi)
    c, s = np.cos(angle), np.sin(angle)
    middle = low + 0.5 * article.shape.length * along
    center = np.array([*carrier.center[:2], base])
    center += np.array([c * middle[0], s * middle[0], middle[1]])
    pitch = turn(np.array([0.0, -1.0, 0.0]), np.arctan2(along[1], along[0]))
    orientation = compose(yaw(angle), pitch)
    if article.kind == 'spoon' and carrier.article.kind == 'bowl':
        orientation = compose(orientation, yaw(np.pi))
    return center, orientation
