from __future__ import annotations

from collections.abc import Iterator

import pytest

from instructseg_ros.tabletop.world.mujoco_model import OpenGLError
from instructseg_ros.tabletop.world.simulator import Tabletop


@pytest.fixture(scope='session')
def shared_tabletop() -> Iterator[Tabletop]:
    try:
        tabletop = Tabletop(width=320, height=240)
    except OpenGLError as error:
        pytest.skip(str(error))
    with tabletop:
        yield tabletop


@pytest.fixture
def tabletop(shared_tabletop: Tabletop) -> Tabletop:
    """A 320x240 camera; every test resets it to a scene of its own."""
    return shared_tabletop
