from __future__ import annotations

import numpy as np
import pytest

from instructseg_ros.tabletop.world import simulator
from instructseg_ros.tabletop.world.mujoco_model import OpenGLError
from instructseg_ros.teaching import backgrounds
from instructseg_ros.teaching.backgrounds import (
    CANVAS,
    Background,
    observe_scenes,
    photographed_backgrounds,
    scene_background,
)


def shows(*nouns: str) -> Background:
    image = np.zeros((8, 8, 3), np.uint8)
    return Background(image=image, labels=image[..., 0], nouns=frozenset(nouns))


@pytest.mark.parametrize(
    ('name', 'may_show'),
    [('mug', True), ('coffee mug', True), ('star', False), ('mug tree', False)],
)
def test_a_background_may_show_what_is_called_by_one_of_its_nouns(
    name: str, may_show: bool
) -> None:
    assert shows('mug', 'bowl').may_show(['spoon', name]) == may_show


def test_without_opengl_scenes_are_frames_of_the_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> simulator.Tabletop:
        raise OpenGLError('none')

    monkeypatch.setattr(backgrounds, 'Tabletop', refuse)
    seen = observe_scenes(2)
    assert len(seen) == 2
    assert all(scene_background(each).nouns and each.labels is not None for each in seen)


def test_no_scenes_need_no_opengl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backgrounds, 'Tabletop', None)
    assert observe_scenes(0) == []


def test_the_photographs_of_the_package_are_backgrounds_without_labels() -> None:
    pictures = photographed_backgrounds()
    assert len(pictures) >= 5
    assert all(max(each.image.shape) == CANVAS and not each.labels.any() for each in pictures)
    assert any(each.may_show(['dog']) for each in pictures)
