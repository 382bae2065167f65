from __future__ import annotations

import os
import signal

import numpy as np
import pytest
import torch
from small_models import SmallModel, compact_model, released_model

from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.research.benchmark import baseline
from instructseg_ros.research.benchmark.baseline import make_straightforward, straightforward_frame

CPU = torch.device('cpu')
LAYOUTS = {'compact': compact_model, 'released': released_model}


@pytest.fixture(scope='module', params=LAYOUTS)
def pair(request: pytest.FixtureRequest) -> tuple[Segmenter, SmallModel]:
    """A model as the engine runs it, and the same as its parts come."""
    fast, plain = (LAYOUTS[request.param]() for _ in range(2))
    make_straightforward(plain.model)
    segmenter = Segmenter(fast.model, fast.processor, name='small', device=torch.device('cpu'))
    return segmenter, plain


@pytest.mark.parametrize('references', [0, 1, 2])
@pytest.mark.parametrize('text', ['the red mug', 'where is the left ball of all?'])
def test_the_authors_procedure_gives_the_exact_answer(
    pair: tuple[Segmenter, SmallModel], references: int, text: str
) -> None:
    segmenter, plain = pair
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 256, (references + 1, 48, 64, 3), dtype=np.uint8))
    mask, score = straightforward_frame(plain.model, plain.processor, images, text)
    earlier = segmenter.encode(images[:-1])
    expected = segmenter.segment(images[-1], text, earlier)
    assert mask.shape == (48, 64) and mask.dtype == np.bool_
    assert 0 < mask.mean() < 1
    assert score == pytest.approx(expected.score, abs=1e-3)
    clear = np.abs(expected.probability - 0.5) > 1e-3
    assert clear.mean() > 0.9
    assert np.array_equal(mask[clear], expected.mask[clear])


def killed(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize('kept', [False, True])
def test_freed_memory_is_kept_only_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    settings: list[str] = []
    monkeypatch.setattr(baseline, 'keep_freed_memory', lambda: settings.append('kept'))
    cost = baseline._measure_here('tiny', CPU, 1, kept, torch.get_num_threads())
    assert cost.seconds > 0 and cost.gflop > 0
    assert settings == ['kept'] * kept


def test_a_killed_process_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, '_measure_here', killed)
    with pytest.raises(RuntimeError, match='leave out --naive'):
        baseline.measure_naive('tiny', CPU, frames=1, kept=False)
