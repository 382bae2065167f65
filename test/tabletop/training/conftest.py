"""A store of scenes and a model that is taught them."""

from __future__ import annotations

from pathlib import Path

import pytest
from accelerate.state import AcceleratorState
from small_scenes import filled_store, taught

from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.tabletop.training.scene_store import SceneStore
from instructseg_ros.tabletop.training.word_augmentation import write_instructions


@pytest.fixture(scope='session')
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a store with scenes and instructions; tests only read it."""
    store = filled_store(tmp_path_factory.mktemp('scenes'))
    write_instructions(store, taught()[1], seed=3)
    return store.folder


@pytest.fixture
def store(filled: Path) -> SceneStore:
    """The store."""
    return SceneStore.open(filled)


@pytest.fixture
def taught_model() -> InstructSegModel:
    """A small model of the embedded layout, the tabletop's words in its vocabulary."""
    return taught()[0]


@pytest.fixture(scope='session')
def processor() -> InstructSegProcessor:
    """The processor of `taught_model`."""
    return taught()[1]


@pytest.fixture(autouse=True, scope='module')
def fresh_engine() -> None:
    """Forget the precision that trainings of other test modules chose for the whole process."""
    AcceleratorState._reset_state(reset_partial_state=True)
