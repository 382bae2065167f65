from __future__ import annotations

import numpy as np
import pytest
from true_boxes import true_box

from instructseg_ros.spatial.quaternions import to_matrix
from instructseg_ros.tabletop.world.arrangement import random_scene

SEEDS = range(30, 50)


@pytest.mark.parametrize('time', [0.0, 2.5])
def test_a_box_is_upright_and_holds_all_of_its_object_tightly(time: float) -> None:
    for scene in map(random_scene, SEEDS):
        for obj in scene.objects:
            box = true_box(scene, obj, time)
            _, base, orientation = obj.pose(time)
            corners = obj.entry.shape.vertices() @ to_matrix(orientation).T + base
            own = (scene.camera.to_optical(corners) - box.center) @ box.rotation
            assert np.allclose(own.max(0), box.size / 2) and np.allclose(own.min(0), -box.size / 2)
            assert np.allclose(scene.camera.rotation @ box.rotation[:, 2], [0, 0, 1])
            assert np.linalg.det(box.rotation) == pytest.approx(1)
            assert box.size[0] >= box.size[1]
