from __future__ import annotations

import numpy as np
import pytest

from instructseg_ros.tabletop.world.catalogue import (
    NOVEL_CATEGORIES,
    OBJECT_CATEGORIES,
    SIZES,
    VARIANTS,
    catalogue,
)
from instructseg_ros.tabletop.world.geometry import Mesh, box, extrude, lathe, sphere, sweep


def _volume(mesh: Mesh) -> float:
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    return float(np.einsum('ij,ij->i', a, np.cross(b, c)).sum() / 6)


def test_solids_have_their_volume_and_face_outwards() -> None:
    assert _volume(box(0.1, 0.2, 0.3)) == pytest.approx(0.006)
    assert _volume(sphere(0.1, rings=60, segments=90)) == pytest.approx(0.00419, rel=0.01)
    cylinder = lathe([(0, 0), (0.1, 0), (0.1, 1), (0, 1)], segments=200)
    assert _volume(cylinder) == pytest.approx(np.pi / 100, rel=0.01)
    straight = np.array([[0.0, 0, 0], [0.5, 0, 0], [1.0, 0, 0]])
    assert _volume(sweep(straight, 0.1, segments=200)) == pytest.approx(np.pi / 100, rel=0.01)
    triangle = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0)]
    assert _volume(extrude(triangle, 2.0)) == pytest.approx(1.0)


def test_creases_split_vertices_of_edges_but_not_of_smooth_surfaces() -> None:
    assert len(box(1, 1, 1).creased().vertices) == 26
    assert len(sphere(1.0).creased().vertices) == len(sphere(1.0).vertices)


def test_creasing_keeps_the_surface() -> None:
    mesh = lathe([(0, 0), (0.1, 0), (0.1, 1), (0, 1)])
    creased = mesh.creased()
    assert np.allclose(mesh.vertices[mesh.faces], creased.vertices[creased.faces])


def test_the_catalogue_holds_every_category_in_every_size() -> None:
    categories = {*OBJECT_CATEGORIES, *NOVEL_CATEGORIES}
    assert len(catalogue()) == len(categories) * len(SIZES) * VARIANTS
    for entry in catalogue().values():
        for part in entry.shape.parts:
            assert _volume(part.mesh) > 0
            assert np.isfinite(part.mesh.vertices).all()


def test_objects_stand_on_the_table_and_within_their_footprint() -> None:
    for entry in catalogue().values():
        points = entry.shape.vertices()
        assert points[:, 2].min() == pytest.approx(0.0, abs=0.006)
        assert points[:, 2].max() == pytest.approx(entry.shape.height, rel=0.25)
        discs = entry.shape.discs
        apart = np.linalg.norm(points[:, None, :2] - discs[None, :, :2], axis=-1)
        assert (apart - discs[:, 2]).min(1).max() < 0.012


def test_a_large_object_is_larger_than_a_small_one() -> None:
    for category in OBJECT_CATEGORIES:
        extents = [
            np.ptp(catalogue()[category, size, 0].shape.vertices(), axis=0).max()
            for size in ('small', 'medium', 'large')
        ]
        assert extents[0] < 0.8 * extents[1] < 0.65 * extents[2]
