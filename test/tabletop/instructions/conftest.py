"""Fixtures of the tests of instructions."""

from __future__ import annotations

import pytest

from instructseg_ros.tabletop.instructions import wording


@pytest.fixture(autouse=True)
def composed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the grammar compose every sentence: the tests read its sentences back."""
    monkeypatch.setattr(wording, 'PARAPHRASE_SHARE', 0.0)
