"""A tiny model and tiny sets, as `instructseg train --smoke` makes them."""

from __future__ import annotations

import pytest
from accelerate.state import AcceleratorState
from training_start import Start, make_start


@pytest.fixture(scope='session')
def start(tmp_path_factory: pytest.TempPathFactory) -> Start:
    return make_start(tmp_path_factory.mktemp('start'))


@pytest.fixture(autouse=True, scope='module')
def fresh_engine() -> None:
    """Forget the precision that trainings of other test modules chose for the whole process."""
    AcceleratorState._reset_state(reset_partial_state=True)
