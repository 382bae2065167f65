"""A store of rendered scenes with their instructions, as memory-mapped arrays."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Final

import numpy as np

from instructseg_ros.locking import make_folder
from instructseg_ros.simulation.scene_graph import SceneGraph, from_json, to_json

MAX_THINGS: Final = 14
MAX_WORDS: Final = 28
FRAMES: Final = 3  # two reference frames, then the key frame
_GRAPH_BYTES = 16384

# Columns of `things`: indices into the vocabularies of the simulation, then pictures and metres.
EXISTS, KIND, COLOR, SIZE, U, V, SCALE, DEPTH, MOTION, FLOW_U, FLOW_V = range(11)
# Columns of `roles`: bit sets of things.
TARGETS, ANCHORS, CANDIDATES = range(3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoreShape:
    """Numbers that fix what a store holds: scene i is that of seed `first_seed` + i."""

    first_seed: int
    scenes: int
    instructions: int
    vision_size: int
    mask_size: tuple[int, int]


class SceneStore:
    """Arrays over scenes, on disk.

    Attributes:
        vision: (N, 3, S, S, 3) uint8, reference frames (oldest first) and key frame, squashed.
        image: (N, H, W, 3) uint8 key frame.
        labels: (N, H, W) uint8, k = slot k - 1 of `things`.
        things: (N, MAX_THINGS, 11) float32, see the column names.
        graphs: (N, 16384) uint8 scene graph of the key frame as JSON, padded with zeros.
        words: (N, I, MAX_WORDS) uint16 token ids with [SEG], 0 = padding.
        roles: (N, I, 3) uint16 bit sets of slots: targets, anchors, candidates.
        kinds: (N, I) uint8 kind of instruction.
        pointed: (N, I, MAX_WORDS, MAX_THINGS) uint8, 255 = the word is true of the thing.
        groups: (N, I, MAX_WORDS) uint8, 0 = the word points at nothing, else its group + 1.
        done: (N,) bool, scenes already rendered.
    """

    def __init__(self, folder: Path, shape: StoreShape) -> None:
        self.shape = shape
        self.folder = folder
        n, i, s = shape.scenes, shape.instructions, shape.vision_size
        self.vision = self._array('vision', (n, FRAMES, s, s, 3), 'uint8')
        self.image = self._array('image', (n, *shape.mask_size, 3), 'uint8')
        self.labels = self._array('labels', (n, *shape.mask_size), 'uint8')
        self.things = self._array('things', (n, MAX_THINGS, 11), 'float32')
        self.graphs = self._array('graphs', (n, _GRAPH_BYTES), 'uint8')
        self.words = self._array('words', (n, i, MAX_WORDS), 'uint16')
        self.roles = self._array('roles', (n, i, 3), 'uint16')
        self.kinds = self._array('kinds', (n, i), 'uint8')
        self.pointed = self._array('pointed', (n, i, MAX_WORDS, MAX_THINGS), 'uint8')
        self.groups = self._array('groups', (n, i, MAX_WORDS), 'uint8')
        self.done = self._array('done', (n,), 'bool')

    @classmethod
    def open(cls, folder: Path) -> SceneStore:
        """Open a store that `create` made."""
        values = json.loads((folder / 'store.json').read_text())
        values['mask_size'] = tuple(values['mask_size'])
        return cls(folder, StoreShape(**values))

    @classmethod
    def create(cls, folder: Path, shape: StoreShape) -> SceneStore:
        """Make a store, or open the one that is there if it has the same shape."""
        make_folder(folder)
        description = json.dumps(dataclasses.asdict(shape)) + '\n'
        file = folder / 'store.json'
        if not file.exists():
            file.write_text(description)
        if file.read_text() != description:
            raise ValueError(f'{folder} holds other scenes: remove it or name another folder')
        return cls(folder, shape)

    def write_graph(self, index: int, graph: SceneGraph) -> None:
        """Keep the scene graph of scene `index`."""
        text = to_json(graph, stamp=0, scene=index, time=0).encode()
        self.graphs[index] = np.frombuffer(text.ljust(_GRAPH_BYTES, b'\0'), np.uint8)

    def read_graph(self, index: int) -> SceneGraph:
        """The scene graph of scene `index`."""
        return from_json(self.graphs[index].tobytes().rstrip(b'\0').decode())

    def key_frames(
        self, indices: np.ndarray, *, mirrored: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Things (B, MAX_THINGS, 11) and labels (B, H, W) of key frames, or of their mirror images.

        What a picture shows stays the same in a mirror; words like "left" do not.
        """
        things, labels = np.array(self.things[indices]), self.labels[indices]
        if mirrored:
            things[..., U] = np.where(things[..., EXISTS] > 0, 1 - things[..., U], 0)
            labels = labels[:, :, ::-1]
        return things, labels

    def feature(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """A float16 array over scenes for features of a trained stage: (N, *shape)."""
        return self._array(name, (self.shape.scenes, *shape), 'float16')

    def _array(self, name: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        file = self.folder / f'{name}.dat'
        mode = 'r+' if file.exists() else 'w+'
        return np.memmap(file, dtype, mode, shape=shape)

