"""Small models, made once."""

from __future__ import annotations

import pytest
from small_models import SmallModel, compact_model, released_model


@pytest.fixture(scope='session')
def compact() -> SmallModel:
    """The embedded model's layout."""
    return compact_model()


@pytest.fixture(scope='session')
def released() -> SmallModel:
    """The released model's layout."""
    return released_model()


@pytest.fixture(params=['compact', 'released'])
def small(request: pytest.FixtureRequest) -> SmallModel:
    """Each layout in turn."""
    model: SmallModel = request.getfixturevalue(request.param)
    return model
