"""A store of a few scenes made without a renderer, for the tests of training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from instruction_scenes import random_scene
from small_models import compact_config, processor_of, scramble

from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.tabletop.training.scene_store import SceneStore, StoreShape
from instructseg_ros.tabletop.training.word_vectors import all_words
from instructseg_ros.tabletop.world.catalogue import COLORS, OBJECT_CATEGORIES, SIZES
from instructseg_ros.tabletop.world.scene_graph import MOTIONS, SceneGraph, SceneObject

SCENES = 12
SHAPE = StoreShape(
    first_seed=1_000_000, scenes=SCENES, instructions=6, vision_size=64, mask_size=(64, 96)
)


def filled_store(folder: Path) -> SceneStore:
    """Fill a store with random objects as squares on noise; every fourth scene is still."""
    store = SceneStore.create(folder, SHAPE)
    for index in range(SCENES):
        rng = np.random.default_rng(index)
        graph = _placed(random_scene(index), rng, at_rest=index % 4 == 0)
        store.vision[index] = rng.integers(0, 256, store.vision.shape[1:])
        store.image[index] = rng.integers(0, 256, store.image.shape[1:])
        for slot, thing in enumerate(graph):
            _draw(store, index, slot, thing)
        store.write_graph(index, graph)
        store.done[index] = True
    return store


def taught(seed: int = 0) -> tuple[InstructSegModel, InstructSegProcessor]:
    """A small model with the vocabulary of the tabletop, and its processor."""
    config = compact_config()
    words = all_words()
    config.text_config.vocab_size = len(words) + 3
    torch.manual_seed(seed)
    model = InstructSegModel(config)
    scramble(model)
    return model, processor_of(config, mask_size=SHAPE.mask_size, compact=True, words=words)


def _placed(graph: SceneGraph, rng: np.random.Generator, *, at_rest: bool) -> SceneGraph:
    """Move the objects apart, with pixels from 0 to 1, and stop them in a still scene."""
    rest = {'motion': None, 'manner': None, 'velocity': (0.0, 0.0, 0.0)} if at_rest else {}
    places = rng.permutation(24)[: len(graph)]
    return tuple(
        replace(
            thing,
            label=slot + 1,
            pixel=((place % 6 + 0.4) / 6, (place // 6 + 0.4) / 4),
            on=None,
            inside=None,
            **rest,
        )
        for slot, (thing, place) in enumerate(zip(graph, places, strict=True))
    )


def _draw(store: SceneStore, index: int, slot: int, thing: SceneObject) -> None:
    height, width = store.shape.mask_size
    u, v = thing.pixel
    row, column = int(v * height), int(u * width)
    store.labels[index, row - 6 : row + 6, column - 6 : column + 6] = slot + 1
    motion = MOTIONS.index(thing.motion) + 1 if thing.motion else 0
    store.objects[index, slot] = [
        1,
        OBJECT_CATEGORIES.index(thing.category),
        list(COLORS).index(thing.color),
        list(SIZES).index(thing.size),
        u,
        v,
        thing.extent,
        thing.position[2],
        motion,
        0.02 * bool(motion),
        -0.01 * bool(motion),
    ]
