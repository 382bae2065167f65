"""Renders scenes as seen by an RGB-D camera, with ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType

import numpy as np

from instructseg_ros.spatial.pinhole import Pinhole
from instructseg_ros.tabletop.world.arrangement import random_scene
from instructseg_ros.tabletop.world.renderer import Renderer, dress, wxyz
from instructseg_ros.tabletop.world.scene_graph import SceneGraph, scene_graph
from instructseg_ros.tabletop.world.world_model import load_mujoco, world


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A frame with its ground truth.

    Attributes:
        rgb: (H, W, 3) uint8.
        depth: (H, W) float32 along the optical axis, m; None without ground truth.
        labels: (H, W) uint8, 0 for the background; None without ground truth.
        graph: The visible objects; () without ground truth.
        pinhole: The camera.
        time: Time in the scene, s.
    """

    rgb: np.ndarray
    depth: np.ndarray | None
    labels: np.ndarray | None
    graph: SceneGraph
    pinhole: Pinhole
    time: float


class Tabletop:
    """Renders random scenes; a context manager that owns one renderer.

    A frame depends only on seed, time and image size, and all sizes show the same scene. Use it
    from one thread at a time.

    Raises:
        OpenGLError: There is no OpenGL to render with; the message says how to fix it.
    """

    def __init__(self, *, width: int = 640, height: int = 480, seed: int = 0) -> None:
        if width < 16 or height < 16:
            raise ValueError(f'an image of {width}x{height} is too small, the minimum is 16x16')
        self.width, self.height = width, height
        mujoco = load_mujoco()
        self._model, self._bodies = world(width=width, height=height)
        self._data = mujoco.MjData(self._model)
        self._renderer = Renderer(self._model, width=width, height=height)
        self._closed = False
        self.reset(seed)

    def reset(self, seed: int) -> None:
        """Switch to the scene with this seed."""
        self._check_open()
        self.scene = random_scene(seed)
        self._objects = [
            (i, self._bodies[i.entry.category, i.entry.size, i.entry.variant])
            for i in self.scene.objects
        ]
        dress(
            self._model,
            self._renderer,
            self.scene,
            self._objects,
            self.scene.camera.vertical_view(self.width, self.height),
        )
        self._label_of_geom = np.zeros(self._model.ngeom + 1, np.uint8)
        for obj, body in self._objects:
            self._label_of_geom[body.geoms + 1] = obj.label

    def observe(self, time: float, *, truth: bool = True) -> Observation:
        """Render the frame at `time` seconds, which may be negative; `truth` doubles the time."""
        self._check_open()
        self._move(time)
        rgb, depth, labels = self._renderer.color(), None, None
        graph: SceneGraph = ()
        pinhole = self.scene.camera.pinhole(self.width, self.height)
        if truth:
            geoms, depth = self._renderer.geoms_and_depth()
            labels = self._label_of_geom[geoms]
            graph = scene_graph(self.scene, self._objects, labels, pinhole, time)
        return Observation(
            rgb=rgb, depth=depth, labels=labels, graph=graph, pinhole=pinhole, time=float(time)
        )

    def _move(self, time: float) -> None:
        mujoco = load_mujoco()
        for obj, body in self._objects:
            _, base, orientation = obj.pose(time)
            self._data.mocap_pos[body.mocap] = base
            self._data.mocap_quat[body.mocap] = wxyz(orientation)
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        self._renderer.update_poses(self._data)

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError('this Tabletop is closed: create a new one')

    def close(self) -> None:
        """Free the renderer; closing twice is fine."""
        if not self._closed:
            self._closed = True
            self._renderer.close()

    def __enter__(self) -> Tabletop:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
