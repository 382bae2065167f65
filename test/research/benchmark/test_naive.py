from __future__ import annotations

import os
import signal

import pytest
import torch

from instructseg_ros.research.benchmark import naive

CPU = torch.device('cpu')


def killed(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize('kept', [False, True])
def test_freed_memory_is_kept_only_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    settings: list[str] = []
    monkeypatch.setattr(naive, 'keep_freed_memory', lambda: settings.append('kept'))
    cost = naive._measure('tiny', CPU, 1, kept, torch.get_num_threads())
    assert cost.seconds > 0 and cost.gflop > 0
    assert settings == ['kept'] * kept


def test_a_killed_process_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naive, '_measure', killed)
    with pytest.raises(RuntimeError, match='leave out --naive'):
        naive.measure_naive('tiny', CPU, frames=1, kept=False)
