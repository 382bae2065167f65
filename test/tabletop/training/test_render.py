from __future__ import annotations

from pathlib import Path

import dying_renderers
import numpy as np
import pytest

from instructseg_ros.tabletop.training import scene_store as render
from instructseg_ros.tabletop.training.scene_store import (
    CATEGORY,
    EXISTS,
    SceneStore,
    SceneWriter,
    StoreShape,
    U,
    V,
    render_scenes,
)
from instructseg_ros.tabletop.world.catalogue import OBJECT_CATEGORIES

SHAPE = StoreShape(
    first_seed=1_000_000, scenes=2, instructions=1, vision_size=64, mask_size=(60, 80)
)


@pytest.fixture(scope='module')
def rendered(tmp_path_factory: pytest.TempPathFactory) -> SceneStore:
    store = SceneStore.create(tmp_path_factory.mktemp('rendered'), SHAPE)
    writer = SceneWriter(store, 0.2, portrait=True)  # as `render_scenes` does with the first ones
    writer.write(0)
    writer.write(1)
    return store


def test_every_thing_of_the_graph_is_described_in_its_slot(rendered: SceneStore) -> None:
    for index in range(SHAPE.scenes):
        graph = rendered.read_graph(index)
        objects = rendered.objects[index]
        assert 1 <= len(graph) == int(objects[:, EXISTS].sum())
        assert (objects[: len(graph), EXISTS] == 1).all()
        assert [OBJECT_CATEGORIES[int(kind)] for kind in objects[: len(graph), CATEGORY]] == [
            one.category for one in graph
        ]


def test_labels_are_slots_and_lie_around_the_centres(rendered: SceneStore) -> None:
    height, width = SHAPE.mask_size
    for index in range(SHAPE.scenes):
        labels, objects = rendered.labels[index], rendered.objects[index]
        count = int(objects[:, EXISTS].sum())
        assert labels.max() <= count
        for slot in range(count):
            rows, columns = np.nonzero(labels == slot + 1)
            if len(rows) >= 20:
                assert abs((columns.mean() + 0.5) / width - objects[slot, U]) < 0.03
                assert abs((rows.mean() + 0.5) / height - objects[slot, V]) < 0.03


def test_pictures_show_the_same_scene_at_three_times(rendered: SceneStore) -> None:
    vision = rendered.vision[:].astype(float)
    assert rendered.image[:].std() > 10 and vision.std() > 10
    within = np.abs(vision[:, 0] - vision[:, 2]).mean()
    between = np.abs(vision[0] - vision[1]).mean()
    assert within < between / 2
    assert rendered.done.all()


def test_rendering_goes_on_where_it_stopped(rendered: SceneStore, tmp_path: Path) -> None:
    store = SceneStore.create(tmp_path, SHAPE)
    SceneWriter(store, 0.2, portrait=True).write(0)
    store.image[0] = 9
    render_scenes(store, stride=0.2, processes=1)
    again = SceneStore.open(tmp_path)
    assert again.done.all()
    assert (again.image[0] == 9).all()  # it was done
    assert np.array_equal(again.vision[1], rendered.vision[1])
    assert np.array_equal(again.labels[1], rendered.labels[1])
    assert again.read_graph(1) == rendered.read_graph(1)


def test_another_renderer_takes_the_place_of_one_that_dies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, '_render', dying_renderers.finish_one_and_die)
    store = SceneStore.create(tmp_path, SHAPE)
    render_scenes(store, stride=0.2, processes=1)
    assert store.done.all()


def test_renderers_that_die_at_once_end_the_rendering(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, '_render', dying_renderers.die_at_once)
    store = SceneStore.create(tmp_path, SHAPE)
    with pytest.raises(RuntimeError, match='crash immediately'):
        render_scenes(store, stride=0.2, processes=1)
