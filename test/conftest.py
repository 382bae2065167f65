"""Fixtures of all tests."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# A shell without job control ignores SIGINT in what it starts in the background. The tests, and the
# programs that they start, need it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Escape names of files that are not UTF-8: pytest-xdist cannot send them between processes."""
    report: Any = yield
    report.sections = [
        (title, text.encode('utf-8', 'backslashreplace').decode())
        for title, text in report.sections
    ]
    return report


@pytest.fixture(scope='session')
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of the embedded shape and random weights."""
    import torch

    from instructseg_ros.model.embedded_model import embedded_config, processor_for
    from instructseg_ros.model.modeling import InstructSegModel

    words = ['all', 'blue', 'from', 'is', 'left', 'moving', 'mug', 'of', 'red', 'the', 'where']
    config = embedded_config(len(words) + 3)
    folder = tmp_path_factory.mktemp('tiny_model')
    torch.manual_seed(0)
    InstructSegModel(config).save_pretrained(folder)
    processor_for(config, words).save_pretrained(folder)
    return folder


@pytest.fixture
def small_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a benchmark measure the machine with small matrices: large ones take seconds."""
    monkeypatch.setattr('instructseg_ros.research.benchmark.measure._SIDE', 256)
