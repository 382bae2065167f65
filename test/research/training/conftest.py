"""A tiny model and tiny sets, as `instructseg train --smoke` makes them."""

from __future__ import annotations

import pytest
from training_start import Start, make_start


@pytest.fixture(scope='session')
def start(tmp_path_factory: pytest.TempPathFactory) -> Start:
    return make_start(tmp_path_factory.mktemp('start'))
