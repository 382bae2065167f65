"""A store of rendered scenes with their instructions, as memory-mapped arrays."""

from __future__ import annotations

import dataclasses
import functools
import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image
from tqdm import tqdm

from instructseg_ros.model.camera_motion import remove_camera_motion
from instructseg_ros.model.processor import stretch_levels
from instructseg_ros.spatial.pinhole import Pinhole
from instructseg_ros.tabletop.shifts import observe_shifted
from instructseg_ros.tabletop.training.scene_variation import random_shift
from instructseg_ros.tabletop.world.catalogue import COLORS, OBJECT_CATEGORIES, SIZES
from instructseg_ros.tabletop.world.scene_graph import SceneGraph, SceneObject, from_json, to_json
from instructseg_ros.tabletop.world.simulator import Tabletop
from instructseg_ros.video.run_folder import make_folder

MAX_OBJECTS: Final = 14
MAX_WORDS: Final = 44
FRAMES: Final = 3  # two reference frames, then the key frame
_GRAPH_BYTES = 16384

# Columns of `objects`: whether it exists; indices into the catalogue; centre in image widths and
# heights; extent and depth in metres; index in MOTIONS + 1 (0: none); flow in focal lengths.
EXISTS, CATEGORY, COLOR, SIZE, U, V, SCALE, DEPTH, MOTION, FLOW_U, FLOW_V = range(11)
# Columns of `roles`: bit sets of objects.
TARGETS, ANCHORS, CANDIDATES = range(3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoreShape:
    """Content of a store, and the size of its images.

    Args:
        first_seed: Seed of the first scene; scene i has the seed `first_seed` + i.
        scenes: Number of scenes.
        instructions: Instructions of each scene.
        vision_size: Side of the vision tower's images, in pixels.
        mask_size: (height, width) of the mask branch's images, in pixels.
        photographs: Folder of photographs that some tables show; '': none.
    """

    first_seed: int
    scenes: int
    instructions: int
    vision_size: int
    mask_size: tuple[int, int]
    photographs: str = ''


class SceneStore:
    """Scenes and instructions as arrays on disk.

    Attributes:
        vision: (N, 3, S, S, 3) uint8, reference frames (oldest first) and key frame, as squares.
        image: (N, H, W, 3) uint8 key frame.
        labels: (N, H, W) uint8, value k for slot k - 1 of `objects`, 0 for the background.
        objects: (N, MAX_OBJECTS, 11) float32, with the columns EXISTS to FLOW_V.
        graphs: (N, 16384) uint8 scene graph of the key frame as JSON, padded with zeros.
        words: (N, I, MAX_WORDS) uint16 token ids with [SEG], 0 = padding.
        roles: (N, I, 3) uint16 bit sets of slots: targets, anchors, candidates.
        categories: (N, I) uint8 category of the instruction.
        groundings: (N, I, MAX_WORDS, MAX_OBJECTS) uint8, how well the word describes the object.
        groups: (N, I, MAX_WORDS) uint8, 0 = a word that may be exchanged, else its group + 1.
        done: (N,) bool, True for rendered scenes.
    """

    def __init__(self, folder: Path, shape: StoreShape) -> None:
        self.shape = shape
        self.folder = folder
        n, i, s = shape.scenes, shape.instructions, shape.vision_size
        self.vision = self._array('vision', (n, FRAMES, s, s, 3), 'uint8')
        self.image = self._array('image', (n, *shape.mask_size, 3), 'uint8')
        self.labels = self._array('labels', (n, *shape.mask_size), 'uint8')
        self.objects = self._array('objects', (n, MAX_OBJECTS, 11), 'float32')
        self.graphs = self._array('graphs', (n, _GRAPH_BYTES), 'uint8')
        self.words = self._array('words', (n, i, MAX_WORDS), 'uint16')
        self.roles = self._array('roles', (n, i, 3), 'uint16')
        self.categories = self._array('categories', (n, i), 'uint8')
        self.groundings = self._array('groundings', (n, i, MAX_WORDS, MAX_OBJECTS), 'uint8')
        self.groups = self._array('groups', (n, i, MAX_WORDS), 'uint8')
        self.done = self._array('done', (n,), 'bool')

    @classmethod
    def open(cls, folder: Path) -> SceneStore:
        """Open an existing store."""
        values = json.loads((folder / 'store.json').read_text())
        values['mask_size'] = tuple(values['mask_size'])
        return cls(folder, StoreShape(**values))

    @classmethod
    def create(cls, folder: Path, shape: StoreShape) -> SceneStore:
        """Create a store, or open the one in the folder.

        Raises:
            NotADirectoryError: The folder is a file.
            ValueError: The folder contains different scenes.
        """
        make_folder(folder)
        description = json.dumps(dataclasses.asdict(shape)) + '\n'
        file = folder / 'store.json'
        if not file.exists():
            file.write_text(description)
        if file.read_text() != description:
            raise ValueError(
                f'{folder} contains different scenes: remove it or name another folder'
            )
        return cls(folder, shape)

    def write_graph(self, index: int, graph: SceneGraph) -> None:
        """Store the scene graph of scene `index`."""
        text = to_json(graph, stamp=0, scene=index, time=0).encode()
        self.graphs[index] = np.frombuffer(text.ljust(_GRAPH_BYTES, b'\0'), np.uint8)

    def read_graph(self, index: int) -> SceneGraph:
        """Read the scene graph of scene `index`."""
        return from_json(self.graphs[index].tobytes().rstrip(b'\0').decode())

    def key_frames(
        self, indices: np.ndarray, *, mirrored: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read (B, MAX_OBJECTS, 11) objects and (B, H, W) labels of key frames or mirror images.

        Mirroring changes only places in the image: the caller must mirror words like "left".
        """
        objects, labels = np.array(self.objects[indices]), self.labels[indices]
        if mirrored:
            objects[..., U] = np.where(objects[..., EXISTS] > 0, 1 - objects[..., U], 0)
            labels = labels[:, :, ::-1]
        return objects, labels

    def feature(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Open a float16 array (N, *shape) for features of a trained stage."""
        return self._array(name, (self.shape.scenes, *shape), 'float16')

    def _array(self, name: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        file = self.folder / f'{name}.dat'
        mode = 'r+' if file.exists() else 'w+'
        return np.memmap(file, dtype, mode, shape=shape)


MOTIONS: Final = ('left', 'right', 'towards', 'away', 'up')
_RENDER_SIZE = (480, 360)
_STRIDE_JITTER = 0.3
_CHUNK = 8
_MIN_OBJECTS = 3
_PORTRAIT_EVERY = 9  # of so many chunks of scenes, one is in portrait format


def render_scenes(store: SceneStore, *, stride: float, processes: int) -> None:
    """Render those scenes that are still missing from a store.

    Software OpenGL crashes once in ten thousand scenes: after a crash, the renderers are restarted.

    Args:
        stride: Seconds between the frames of a scene, varied by up to 30 % from scene to scene.
        processes: Number of renderers that run in parallel.

    Raises:
        RuntimeError: Renderers crashed before they had finished any scene.
    """
    render = functools.partial(_render, store.folder, stride)
    while len(todo := np.flatnonzero(~store.done)):
        try:
            _render_all(render, todo, processes)
        except BrokenProcessPool as error:
            if store.done[todo].any():
                continue
            raise RuntimeError(
                'renderers crash immediately: check that `make demo` runs'
            ) from error


def _render_all(render: Callable[[np.ndarray], None], scenes: np.ndarray, processes: int) -> None:
    chunks = [scenes[i : i + _CHUNK] for i in range(0, len(scenes), _CHUNK)]
    with ProcessPoolExecutor(processes, multiprocessing.get_context('spawn')) as pool:
        for _ in tqdm(pool.map(render, chunks), 'render', total=len(chunks)):
            pass


class SceneWriter:
    """Renders one scene after another into a store, in portrait or landscape format."""

    def __init__(self, store: SceneStore, stride: float, *, portrait: bool = False) -> None:
        width, height = reversed(_RENDER_SIZE) if portrait else _RENDER_SIZE
        self._tabletop = Tabletop(width=width, height=height)
        self._store = store
        self._stride = stride
        self._photographs = _photographs(store.shape.photographs)

    def write(self, index: int) -> None:
        """Render scene `index` into the store."""
        seed = self._store.shape.first_seed + index
        rng = np.random.default_rng(seed)
        stride = self._stride * rng.uniform(1 - _STRIDE_JITTER, 1 + _STRIDE_JITTER)
        times = rng.uniform(0, 4) + stride * np.arange(FRAMES)
        shift = random_shift(rng, self._photographs)
        frames = observe_shifted(self._tabletop, seed, times.tolist(), shift)
        if len(frames[-1].graph) < _MIN_OBJECTS:  # this camera looks past most of them
            frames = observe_shifted(self._tabletop, seed, times.tolist())
        key = frames[-1]
        assert key.labels is not None
        store = self._store
        side = store.shape.vision_size
        height, width = store.shape.mask_size
        seen = [*remove_camera_motion([frame.rgb for frame in frames[:-1]], key.rgb), key.rgb]
        store.vision[index] = [_resize(rgb, (side, side), 'BICUBIC') for rgb in seen]
        store.image[index] = _resize(key.rgb, (width, height), 'BILINEAR')
        graph = key.graph[:MAX_OBJECTS]
        slots = np.zeros(256, np.uint8)
        for slot, one in enumerate(graph):
            slots[one.label] = slot + 1
            store.objects[index, slot] = _describe(one, key.pinhole, stride)
        store.labels[index] = slots[_resize(key.labels, (width, height), 'NEAREST')]
        store.write_graph(index, graph)
        store.done[index] = True


def _render(folder: Path, stride: float, indices: np.ndarray) -> None:
    portrait = int(indices[0]) // _CHUNK % _PORTRAIT_EVERY == 0
    writer = _writer(folder, stride, portrait)
    for index in indices:
        writer.write(int(index))


@functools.lru_cache(maxsize=2)
def _writer(folder: Path, stride: float, portrait: bool) -> SceneWriter:
    """Create this process's writers once, and within a task, so that errors reach the caller."""
    return SceneWriter(SceneStore.open(folder), stride, portrait=portrait)


def _photographs(folder: str) -> list[np.ndarray]:
    """Read all pictures in a folder, at most 640 pixels wide and high; '' has none."""
    pictures = []
    for file in sorted(Path(folder).iterdir()) if folder else []:
        with Image.open(file) as image:
            picture = image.convert('RGB')
        picture.thumbnail((640, 640))
        pictures.append(np.asarray(picture))
    return pictures


def _describe(one: SceneObject, pinhole: Pinhole, stride: float) -> list[float]:
    x, y, z = one.position
    # Image flow of the object's centre over one stride, in focal lengths.
    flow_u = (one.velocity[0] - x / z * one.velocity[2]) / z * stride
    flow_v = (one.velocity[1] - y / z * one.velocity[2]) / z * stride
    return [
        1,
        OBJECT_CATEGORIES.index(one.category),
        list(COLORS).index(one.color),
        list(SIZES).index(one.size),
        one.pixel[0] / pinhole.width,
        one.pixel[1] / pinhole.height,
        one.extent,
        z,
        MOTIONS.index(one.motion) + 1 if one.motion else 0,
        flow_u,
        flow_v,
    ]


def _resize(image: np.ndarray, size: tuple[int, int], method: str) -> np.ndarray:
    resized = Image.fromarray(image).resize(size, Image.Resampling[method])
    return np.asarray(stretch_levels(resized) if resized.mode == 'RGB' else resized)
