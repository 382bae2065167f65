"""Renders scenes into a store, on several processes."""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image
from tqdm import tqdm

from instructseg_ros.simulation.tabletop import Tabletop
from instructseg_ros.simulation.things import COLORS, KINDS, SIZES
from instructseg_ros.training.tabletop.scenes import MAX_THINGS, SceneStore

if TYPE_CHECKING:
    from instructseg_ros.simulation.scene_graph import Thing

MOTIONS: Final = ('left', 'right', 'towards', 'away', 'up')
_RENDER_SIZE = (480, 360)
_STRIDE_JITTER = 0.3
_CHUNK = 8


def render_scenes(store: SceneStore, *, stride: float, processes: int) -> None:
    """Fill the scenes of a store that are not done yet.

    OpenGL in software crashes once in ten thousand scenes: others take a dead renderer's place.

    Args:
        stride: seconds between the frames of a scene, jittered by 30 %.

    Raises:
        RuntimeError: renderers died before they had done anything; what is rendered stays.
    """
    render = functools.partial(_render, store.folder, stride)
    while len(todo := np.flatnonzero(~store.done)):
        try:
            _render_all(render, todo, processes)
        except BrokenProcessPool as error:
            if store.done[todo].any():
                continue
            raise RuntimeError('renderers die at once: does the demo run?') from error


def _render_all(
    render: Callable[[np.ndarray], None], scenes: np.ndarray, processes: int
) -> None:
    chunks = [scenes[i : i + _CHUNK] for i in range(0, len(scenes), _CHUNK)]
    with ProcessPoolExecutor(processes, multiprocessing.get_context('spawn')) as pool:
        for _ in tqdm(pool.map(render, chunks), 'render', total=len(chunks)):
            pass


class SceneWriter:
    """Renders one scene after another into a store."""

    def __init__(self, store: SceneStore, stride: float) -> None:
        width, height = _RENDER_SIZE
        self._tabletop = Tabletop(width=width, height=height)
        self._store = store
        self._stride = stride

    def write(self, index: int) -> None:
        """Render scene `index` of the store."""
        seed = self._store.shape.first_seed + index
        rng = np.random.default_rng(seed)
        self._tabletop.reset(seed)
        stride = self._stride * rng.uniform(1 - _STRIDE_JITTER, 1 + _STRIDE_JITTER)
        start = rng.uniform(0, 4)
        frames = [self._tabletop.observe(start + i * stride, truth=False).rgb for i in range(2)]
        key = self._tabletop.observe(start + 2 * stride)
        frames.append(key.rgb)
        store = self._store
        side = store.shape.vision_size
        height, width = store.shape.mask_size
        store.vision[index] = [_resize(frame, (side, side), 'BICUBIC') for frame in frames]
        store.image[index] = _resize(key.rgb, (width, height), 'BILINEAR')
        graph = key.graph[:MAX_THINGS]
        slots = np.zeros(256, np.uint8)
        for slot, thing in enumerate(graph):
            slots[thing.label] = slot + 1
            store.things[index, slot] = _describe(thing, stride)
        store.labels[index] = slots[_resize(key.labels, (width, height), 'NEAREST')]
        store.write_graph(index, graph)
        store.done[index] = True


def _render(folder: Path, stride: float, indices: np.ndarray) -> None:
    writer = _writer(folder, stride)
    for index in indices:
        writer.write(int(index))


@functools.lru_cache(maxsize=1)
def _writer(folder: Path, stride: float) -> SceneWriter:
    """This process's writer: made in a task, whose errors reach the one who asked."""
    return SceneWriter(SceneStore.open(folder), stride)


def _describe(thing: Thing, stride: float) -> list[float]:
    x, y, z = thing.position
    # The image flow of its centre over one stride, in picture widths of a camera of focal 1.
    flow_u = (thing.velocity[0] - x / z * thing.velocity[2]) / z * stride
    flow_v = (thing.velocity[1] - y / z * thing.velocity[2]) / z * stride
    width, height = _RENDER_SIZE
    return [
        1,
        KINDS.index(thing.kind),
        list(COLORS).index(thing.color),
        list(SIZES).index(thing.size),
        thing.pixel[0] / width,
        thing.pixel[1] / height,
        thing.extent,
        z,
        MOTIONS.index(thing.motion) + 1 if thing.motion else 0,
        flow_u,
        flow_v,
    ]


def _resize(image: np.ndarray, size: tuple[int, int], method: str) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling[method]))
