"""Builds the MuJoCo model of all catalogue entries and surfaces, once per process."""

from __future__ import annotations

import colorsys
import copy
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from instructseg_ros.tabletop.world.catalogue import CatalogueEntry, catalogue

SIDE = 256


def _noise(rng: np.random.Generator, cells: int) -> np.ndarray:
    """Return smooth noise (SIDE, SIDE) from -1 to 1 with this many cells per side."""
    grid = rng.uniform(-1.0, 1.0, (cells + 1, cells + 1))
    at = np.linspace(0.0, cells, SIDE, endpoint=False)
    low = at.astype(int)
    part = (at - low) ** 2 * (3 - 2 * (at - low))
    rows = grid[low] * (1 - part)[:, None] + grid[low + 1] * part[:, None]
    return rows[:, low] * (1 - part) + rows[:, low + 1] * part


def _ramp() -> tuple[np.ndarray, np.ndarray]:
    at = np.linspace(0.0, 1.0, SIDE, endpoint=False)
    return at[None, :], at[:, None]


def _pattern(pattern: str, rng: np.random.Generator) -> np.ndarray:
    """Brightness (SIDE, SIDE) of a pattern, about -1 to 1."""
    u, v = _ramp()
    if pattern == 'wood':
        rings = u * rng.integers(5, 14) + 0.35 * _noise(rng, 3) + 0.06 * _noise(rng, 40)
        return 0.7 * np.sin(2 * np.pi * rings) + 0.3 * _noise(rng, 64)
    if pattern == 'checker':
        count = int(rng.integers(3, 9))
        return np.where((np.floor(u * count) + np.floor(v * count)) % 2, 0.8, -0.8)
    if pattern == 'noise':
        return 0.5 * _noise(rng, 6) + 0.35 * _noise(rng, 24) + 0.35 * _noise(rng, 100)
    if pattern == 'gradient':
        a, b = rng.uniform(-1, 1, 2)
        return 1.4 * (a * (u - 0.5) + b * (v - 0.5)) + 0.1 * _noise(rng, 30)
    if pattern == 'stripes':
        bands = 0.8 * np.sin(2 * np.pi * u * rng.integers(4, 16))
        return np.broadcast_to(bands, (SIDE, SIDE))
    return 0.12 * _noise(rng, 80)


def texture(rng: np.random.Generator, *, darkest: float, brightest: float) -> np.ndarray:
    """Draw a muted (SIDE, SIDE, 3) uint8 texture with a mean brightness (0 to 1) in this range."""
    patterns = ('plain', 'wood', 'checker', 'noise', 'gradient', 'stripes')
    pattern = str(rng.choice(patterns, p=(0.22, 0.26, 0.12, 0.2, 0.1, 0.1)))
    hue, saturation = rng.uniform(), rng.uniform(0.0, 0.22)
    if pattern == 'wood' or rng.uniform() < 0.3:
        hue, saturation = rng.uniform(0.05, 0.11), rng.uniform(0.2, 0.42)
    value = rng.uniform(darkest, brightest)
    base = np.array(colorsys.hsv_to_rgb(hue, saturation, value))
    contrast = rng.uniform(0.06, 0.16)
    image = base * (1.0 + contrast * _pattern(pattern, rng)[..., None])
    return (np.clip(image, 0.0, 1.0) * 255).astype(np.uint8)


class OpenGLError(RuntimeError):
    """There is no OpenGL to render with; the message says how to fix it."""


REMEDY = (
    'install OSMesa (`apt-get install libosmesa6`), or set MUJOCO_GL=egl where a GPU driver with '
    'EGL is installed, or use the recording, which needs no OpenGL'
)


def load_mujoco() -> ModuleType:
    """Import mujoco with off-screen OpenGL; MUJOCO_GL keeps its value if it is set."""
    gpu = Path('/proc/driver/nvidia/version').exists()
    os.environ.setdefault('MUJOCO_GL', 'egl' if gpu else 'osmesa')
    # At camera resolutions, threads slow llvmpipe down.
    os.environ.setdefault('LP_NUM_THREADS', '1')
    try:
        import mujoco
    except ModuleNotFoundError as error:
        raise OpenGLError('the simulation needs `pip install mujoco`') from error
    except (ImportError, AttributeError, OSError, RuntimeError) as error:
        raise OpenGLError(f'MuJoCo finds no OpenGL ({error}): {REMEDY}') from error
    return mujoco


SURFACES = ('table', 'floor', 'wall')
GLOSSES = ((0.05, 0.1), (0.35, 0.4), (0.7, 0.8))  # specular, shininess
HIDDEN = 5
TABLE_THICKNESS = 0.03
FLOOR = -0.72


@dataclass(frozen=True, kw_only=True)
class Body:
    """The MuJoCo body of a catalogue entry.

    Attributes:
        mocap: Index of its mocap pose.
        geoms: Ids of its geoms.
        shades: Shade of each geom.
        points: (n, 3) points on its surface, m in its own frame.
        extent: Its longest side, m.
    """

    mocap: int
    geoms: np.ndarray
    shades: tuple[str, ...]
    points: np.ndarray
    extent: float


def _add_surfaces(spec: Any, mujoco: Any) -> None:
    for name in SURFACES:
        spec.add_texture(
            name=name,
            type=mujoco.mjtTexture.mjTEXTURE_2D,
            width=SIDE,
            height=SIDE,
            builtin=mujoco.mjtBuiltin.mjBUILTIN_FLAT,
        )
        # The wall is emissive, because the shadow map is too coarse at its distance.
        glow, rgba = (0.55, [0.55, 0.55, 0.55, 1]) if name == 'wall' else (0.0, [1, 1, 1, 1])
        material = spec.add_material(
            name=name, specular=0.1, shininess=0.2, texrepeat=[1, 1], emission=glow, rgba=rgba
        )
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
    box, plane = mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_PLANE
    world = spec.worldbody
    # A rotated pose: the compiler would tie an unrotated geom to its body's pose (geom_sameframe).
    turned = [0.8, 0.0, 0.0, 0.6]
    world.add_geom(
        name='table',
        type=box,
        size=[0.7, 0.6, TABLE_THICKNESS / 2],
        pos=[0, 0, -TABLE_THICKNESS / 2],
        quat=turned,
        material='table',
    )
    world.add_geom(name='floor', type=plane, size=[4, 4, 0.1], pos=[0, 0, FLOOR], material='floor')
    world.add_geom(
        name='wall', type=plane, size=[4, 4, 0.1], pos=[0, 2, 0], quat=turned, material='wall'
    )


def _add_entry(spec: Any, mujoco: Any, entry: CatalogueEntry) -> None:
    body = spec.worldbody.add_body(name=entry.name, mocap=True)
    for number, part in enumerate(entry.shape.parts):
        name = f'{entry.name}-{number}'
        mesh = part.mesh.creased()
        spec.add_mesh(
            name=name,
            inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
            uservert=mesh.vertices.ravel(),
            userface=mesh.faces.ravel(),
        )
        body.add_geom(
            name=name,
            type=mujoco.mjtGeom.mjGEOM_MESH,
            meshname=name,
            group=HIDDEN,
            contype=0,
            conaffinity=0,
            material='gloss-0',
        )


def surface_points(entry: CatalogueEntry, count: int = 96) -> np.ndarray:
    """Draw points (count, 3) on the surface of an object, m."""
    corners = np.concatenate([part.mesh.vertices[part.mesh.faces] for part in entry.shape.parts])
    area = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    rng = np.random.default_rng(0)
    chosen = corners[rng.choice(len(corners), count, p=area / area.sum())]
    weights = rng.dirichlet((1.0, 1.0, 1.0), count)
    return np.einsum('nc,ncd->nd', weights, chosen)


@lru_cache(maxsize=1)
def _compiled() -> tuple[Any, dict[tuple[str, str, int], Body]]:
    mujoco = load_mujoco()
    spec = mujoco.MjSpec()
    for number, (specular, shininess) in enumerate(GLOSSES):
        spec.add_material(name=f'gloss-{number}', specular=specular, shininess=shininess)
    _add_surfaces(spec, mujoco)
    spec.worldbody.add_camera(name='camera')
    for number in range(2):
        spec.worldbody.add_light(name=f'light-{number}', castshadow=number == 0)
    for entry in catalogue().values():
        _add_entry(spec, mujoco, entry)
    model = spec.compile()
    return model, {key: _find(model, entry) for key, entry in catalogue().items()}


def _find(model: Any, entry: CatalogueEntry) -> Body:
    body = model.body(entry.name).id
    start = model.body_geomadr[body]
    corners = entry.shape.vertices()
    return Body(
        mocap=int(model.body_mocapid[body]),
        geoms=np.arange(start, start + model.body_geomnum[body]),
        shades=tuple(part.shade for part in entry.shape.parts),
        points=surface_points(entry),
        extent=float(np.ptp(corners, axis=0).max()),
    )


def world(*, width: int, height: int) -> tuple[Any, dict[tuple[str, str, int], Body]]:
    """Return a copy of the model for a renderer of this image size, and the bodies in it."""
    compiled, bodies = _compiled()
    model = copy.copy(compiled)
    model.vis.global_.offwidth, model.vis.global_.offheight = width, height
    model.vis.quality.offsamples = 0
    model.vis.quality.shadowsize = 1024
    model.vis.map.znear, model.vis.map.zfar = 0.05, 8.0
    model.vis.map.shadowclip = 1.0
    model.vis.headlight.active = 0
    model.stat.extent = 1.0
    model.stat.center[:] = 0.0
    return model, bodies
