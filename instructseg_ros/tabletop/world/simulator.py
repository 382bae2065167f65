"""Simulates a tabletop and renders it off screen with MuJoCo: color, depth and labels."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from instructseg_ros.spatial.pinhole import Pinhole
from instructseg_ros.spatial.quaternions import from_axis_angle, from_matrix, multiply, yaw
from instructseg_ros.tabletop.world.arrangement import random_scene
from instructseg_ros.tabletop.world.geometry import tinted
from instructseg_ros.tabletop.world.mujoco_model import (
    GLOSSES,
    HIDDEN,
    REMEDY,
    SURFACES,
    TABLE_THICKNESS,
    Body,
    OpenGLError,
    load_mujoco,
    texture,
    world,
)
from instructseg_ros.tabletop.world.scene import Light, PlacedObject, Room, Scene
from instructseg_ros.tabletop.world.scene_graph import SceneGraph, scene_graph


class Renderer:
    """Owns one OpenGL context for images of one size; use it from one thread at a time."""

    # The renderer whose context is current, and its thread (an object, because ids can be reused).
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
        """Upload a texture that was changed in the model."""
        self._make_current()
        self._mujoco.mjr_uploadTexture(self._model, self._context, number)

    def update_poses(self, data: Any) -> None:
        """Take the poses of all objects from MuJoCo's `data`; call it before rendering."""
        mujoco = self._mujoco
        self._make_current()
        mujoco.mjv_updateScene(
            self._model,
            data,
            self._option,
            None,
            self._camera,
            mujoco.mjtCatBit.mjCAT_ALL,
            self._scene,
        )

    def color(self) -> np.ndarray:
        """Render the (H, W, 3) uint8 RGB image."""
        self._draw(number_geoms=False)
        self._mujoco.mjr_readPixels(self._flip, None, self._rect, self._context)
        return self._flip[::-1].copy()

    def geoms_and_depth(self) -> tuple[np.ndarray, np.ndarray]:
        """Render (H, W) int32 geom ids + 1 (0: no geom), and (H, W) float32 depth along z, m."""
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
        """Make this context current if it is not: OSMesa rebuilds its buffers at every switch."""
        owner = (self, threading.current_thread())
        if Renderer._current != owner:
            self._gl.make_current()
            Renderer._current = owner


# MuJoCo's cameras look along -z with y up.
OPTICAL_TO_CAMERA = from_axis_angle(np.array([1.0, 0.0, 0.0]), np.pi)
# Rotates the normal of a plane from z to -x.
FACING = from_axis_angle(np.array([0.0, 1.0, 0.0]), -np.pi / 2)
BRIGHTNESS = {'table': (0.34, 0.8), 'floor': (0.15, 0.6), 'wall': (0.35, 0.8)}


def wxyz(quaternion: np.ndarray) -> np.ndarray:
    """Return the (w, x, y, z) quaternion that MuJoCo expects for an (x, y, z, w) one."""
    return np.roll(quaternion, 1)


def dress(
    model: Any,
    renderer: Renderer,
    scene: Scene,
    objects: Sequence[tuple[PlacedObject, Body]],
    fovy: float,
) -> None:
    """Apply a scene to a model, except for the poses of its objects."""
    _show(model, scene.room, objects)
    _paint(model, renderer, scene.room)
    _furnish(model, scene)
    for number, light in enumerate(scene.room.lights):
        _shine(model, number, light)
    model.cam_pos[0] = scene.camera.position
    model.cam_quat[0] = wxyz(multiply(from_matrix(scene.camera.rotation), OPTICAL_TO_CAMERA))
    model.cam_fovy[0] = fovy


def _show(model: Any, room: Room, objects: Sequence[tuple[PlacedObject, Body]]) -> None:
    model.geom_group[:] = np.where(model.geom_bodyid > 0, HIDDEN, 0)
    glosses = [model.material(f'gloss-{number}').id for number in range(len(GLOSSES))]
    for obj, body in objects:
        model.geom_group[body.geoms] = 0
        model.geom_matid[body.geoms] = glosses[room.gloss[obj.label % len(room.gloss)]]
        model.geom_rgba[body.geoms, :3] = [tinted(obj.rgb, shade) for shade in body.shades]


def _paint(model: Any, renderer: Renderer, room: Room) -> None:
    rng = np.random.default_rng(room.texture_seed)
    for name in SURFACES:
        darkest, brightest = BRIGHTNESS[name]
        image = texture(rng, darkest=darkest, brightest=brightest)
        number = model.texture(name).id
        start = model.tex_adr[number]
        model.tex_data[start : start + image.size] = image.ravel()
        renderer.upload_texture(number)


def _furnish(model: Any, scene: Scene) -> None:
    table, wall = model.geom('table').id, model.geom('wall').id
    model.geom_size[table] = (*scene.room.table, TABLE_THICKNESS / 2)
    model.geom_quat[table] = wxyz(yaw(scene.room.turn))
    _, away = scene.camera.table_axes()
    model.geom_pos[wall] = scene.room.wall * away
    model.geom_quat[wall] = wxyz(multiply(yaw(np.arctan2(away[1], away[0])), FACING))


def _shine(model: Any, number: int, light: Light) -> None:
    model.light_pos[number] = light.position
    model.light_dir[number] = light.direction
    model.light_diffuse[number] = light.diffuse
    model.light_ambient[number] = light.ambient
    model.light_specular[number] = light.specular
    model.light_type[number] = 0 if light.spot else 1
    model.light_cutoff[number], model.light_exponent[number] = 70.0, 1.0


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

    A frame depends only on seed, time and image size, and all sizes show the same scene. Use an
    instance from one thread at a time.

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
        """Switch to the random scene with this seed."""
        self.show(random_scene(seed))

    def show(self, scene: Scene) -> None:
        """Switch to a scene."""
        self._check_open()
        self.scene = scene
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
        """Render the frame at `time` seconds, even negative; `truth` doubles the rendering time."""
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

    def __exit__(self, *raised: object) -> None:
        self.close()
