"""Makes the compiled model look like one scene: visibility, colours, textures, light, camera."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from instructseg_ros.simulation.renderer import Renderer
from instructseg_ros.simulation.rotations import compose, from_matrix, turn, yaw
from instructseg_ros.simulation.scene import Item, Light, Room, Scene
from instructseg_ros.simulation.shapes import tinted
from instructseg_ros.simulation.textures import texture
from instructseg_ros.simulation.world import GLOSSES, HIDDEN, SURFACES, TABLE_THICKNESS, Body

# MuJoCo's cameras look along -z with y up.
OPTICAL_TO_CAMERA = turn(np.array([1.0, 0.0, 0.0]), np.pi)
# Turns a plane's normal from z to -x.
FACING = turn(np.array([0.0, 1.0, 0.0]), -np.pi / 2)
BRIGHTNESS = {'table': (0.34, 0.8), 'floor': (0.15, 0.6), 'wall': (0.35, 0.8)}


def dress(model: Any, renderer: Renderer, scene: Scene, items: Sequence[tuple[Item, Body]],
          fovy: float) -> None:  # fmt: skip
    """Apply a scene to a model; the poses of its items are set per frame."""
    _show(model, scene.room, items)
    _paint(model, renderer, scene.room)
    _furnish(model, scene)
    for number, light in enumerate(scene.room.lights):
        _shine(model, number, light)
    model.cam_pos[0] = scene.camera.position
    model.cam_quat[0] = compose(from_matrix(scene.camera.rotation), OPTICAL_TO_CAMERA)
    model.cam_fovy[0] = fovy


def _show(model: Any, room: Room, items: Sequence[tuple[Item, Body]]) -> None:
    model.geom_group[:] = np.where(model.geom_bodyid > 0, HIDDEN, 0)
    glosses = [model.material(f'gloss-{number}').id for number in range(len(GLOSSES))]
    for item, body in items:
        model.geom_group[body.geoms] = 0
        model.geom_matid[body.geoms] = glosses[room.gloss[item.label % len(room.gloss)]]
        model.geom_rgba[body.geoms, :3] = [tinted(item.rgb, shade) for shade in body.shades]


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
    model.geom_quat[table] = yaw(scene.room.turn)
    _, away = scene.camera.table_axes()
    model.geom_pos[wall] = scene.room.wall * away
    model.geom_quat[wall] = compose(yaw(np.arctan2(away[1], away[0])), FACING)


def _shine(model: Any, number: int, light: Light) -> None:
    model.light_pos[number] = light.position
    model.light_dir[number] = light.direction
    model.light_diffuse[number] = light.diffuse
    model.light_ambient[number] = light.ambient
    model.light_specular[number] = light.specular
    model.light_type[number] = 0 if light.spot else 1
    model.light_cutoff[number], model.light_exponent[number] = 70.0, 1.0
