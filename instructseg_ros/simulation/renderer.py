"""Off-screen pictures of a MuJoCo model: colour, metric depth and geom numbers."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from instructseg_ros.simulation.opengl import REMEDY, OpenGLError, load_mujoco
from instructseg_ros.simulation.world import HIDDEN


class Renderer:
    """Owns one OpenGL context for images of one size; use it from one thread at a time."""

    # Whose context is current, in which thread: the number of a thread is used again.
    _current: tuple[Renderer, threading.Thread] | None = None

    def __init__(self, model: Any, *, width: int, height: int) -> None:
        self._mujoco = mujoco = load_mujoco()
        self._model = model
        self._size = (height, width)
        self._rect = mujoco.MjrRect(0, 0, width, height)
        try:
            self._gl = mujoco.GLContext(width, height)
            self._make_current()
            self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_50)
            mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        except Exception as error:
            raise OpenGLError(f'cannot open an OpenGL context ({error}): {REMEDY}') from error
        self._scene = mujoco.MjvScene(model, maxgeom=400)
        self._option = mujoco.MjvOption()
        self._option.geomgroup[HIDDEN] = 0
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._camera.fixedcamid = 0
        self._flip = np.empty((height, width, 3), np.uint8)
        self._z = np.empty((height, width), np.float32)

    def upload_texture(self, number: int) -> None:
        """Take over a texture that was changed in the model."""
        self._make_current()
        self._mujoco.mjr_uploadTexture(self._model, self._context, number)

    def look(self, data: Any) -> None:
        """Take over the poses; needed before rendering."""
        mujoco = self._mujoco
        self._make_current()
        mujoco.mjv_updateScene(self._model, data, self._option, None, self._camera,
                               mujoco.mjtCatBit.mjCAT_ALL, self._scene)  # fmt: skip

    def color(self) -> np.ndarray:
        """The picture (H, W, 3) uint8 RGB."""
        self._draw(number_geoms=False)
        self._mujoco.mjr_readPixels(self._flip, None, self._rect, self._context)
        return self._flip[::-1].copy()

    def geoms_and_depth(self) -> tuple[np.ndarray, np.ndarray]:
        """Geom number plus one (H, W) int32, 0 for none, and depth (H, W) float32 along z in m."""
        self._draw(number_geoms=True)
        self._mujoco.mjr_readPixels(self._flip, self._z, self._rect, self._context)
        part = self._flip[::-1].astype(np.int32)
        segments = part[..., 0] | (part[..., 1] << 8) | (part[..., 2] << 16)
        geoms = np.zeros(self._scene.ngeom + 1, np.int32)
        for geom in self._scene.geoms[: self._scene.ngeom]:
            if geom.segid >= 0 and geom.objtype == self._mujoco.mjtObj.mjOBJ_GEOM:
                geoms[geom.segid + 1] = geom.objid + 1
        return geoms[segments], self._metric(self._z[::-1])

    def _metric(self, z: np.ndarray) -> np.ndarray:
        near = self._model.vis.map.znear * self._model.stat.extent
        far = self._model.vis.map.zfar * self._model.stat.extent
        return (near / (1.0 - z * np.float32(1.0 - near / far))).astype(np.float32)

    def _draw(self, *, number_geoms: bool) -> None:
        flag = self._mujoco.mjtRndFlag
        self._scene.flags[flag.mjRND_SEGMENT] = number_geoms
        self._scene.flags[flag.mjRND_IDCOLOR] = number_geoms
        self._mujoco.mjr_render(self._rect, self._scene, self._context)

    def close(self) -> None:
        """Free the OpenGL context; closing twice is fine."""
        if self._gl is not None:
            self._make_current()
            self._context.free()
            self._gl.free()
            self._gl = None
            Renderer._current = None

    def _make_current(self) -> None:
        """Switch to this context where another one is current: OSMesa rebuilds its buffers."""
        owner = (self, threading.current_thread())
        if Renderer._current != owner:
            self._gl.make_current()
            Renderer._current = owner
