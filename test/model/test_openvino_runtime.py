from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from instructseg_ros.model.configuration import InstructSegConfig
from instructseg_ros.model.embedded_model import embedded_config
from instructseg_ros.model.model_files import ModelError
from instructseg_ros.model.openvino_runtime import OpenVinoStages, claim_threads, uses_openvino
from instructseg_ros.model.precision import Precision
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.tabletop.world.recording import Recording

CPU = torch.device('cpu')
EMBEDDED = embedded_config(100)
TEXTS = ['the red mug', 'every mug', 'the mug and the ball', 'the largest thing']


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    count = torch.get_num_threads()
    yield
    torch.set_num_threads(count)


@pytest.fixture(scope='module')
def plain() -> Segmenter:
    return Segmenter.from_pretrained('embedded')


@pytest.fixture(scope='module')
def frames() -> list[np.ndarray]:
    with Recording() as recording:
        return [recording.observe(time).rgb for time in (0.6, 0.8, 1.0)]


def test_the_encoders_give_the_features_of_torch(plain: Segmenter) -> None:
    pytest.importorskip('openvino')
    stages = OpenVinoStages(plain._model, threads=1)
    generator = torch.Generator().manual_seed(0)
    for count, height, width in ((1, 240, 320), (2, 240, 320), (1, 160, 224)):
        vision = torch.rand(count, 3, 256, 256, generator=generator) * 2 - 1
        pixels = torch.randn(count, 3, height, width, generator=generator)
        with torch.inference_mode():
            tokens = plain._model.encode_frame(vision)
            features = plain._model.encode_pixels(pixels)
        assert torch.allclose(stages.encode_frame(vision), tokens, atol=1e-4)
        ours = stages.encode_pixels(pixels)
        pairs = [(ours.coarse, features.coarse), (ours.mask_features, features.mask_features)]
        for one, other in [*pairs, *zip(ours.levels, features.levels, strict=True)]:
            assert one.shape == other.shape and torch.allclose(one, other, atol=1e-3)


@pytest.mark.parametrize('references', [0, 1, 2])
@pytest.mark.parametrize(('bfloat16', 'score', 'share'), [(False, 1e-3, 0.999), (True, 0.1, 0.9)])
def test_answers_are_those_of_torch_within_the_precision(
    plain: Segmenter,
    frames: list[np.ndarray],
    references: int,
    bfloat16: bool,
    score: float,
    share: float,
) -> None:
    pytest.importorskip('openvino')
    fast = Segmenter.from_pretrained('embedded', dtype='float32')
    fast.use_openvino(bfloat16=bfloat16)
    answers = [
        one.segment_all(frames[-1], TEXTS, one.encode(frames[2 - references : 2]))
        for one in (plain, fast)
    ]
    for ours, theirs in zip(*answers, strict=True):
        assert ours.found == theirs.found
        assert ours.score == pytest.approx(theirs.score, abs=score)
        union = (ours.mask | theirs.mask).sum()
        assert (ours.mask & theirs.mask).sum() >= share * union


def test_a_new_number_of_cameras_needs_no_preparation(
    plain: Segmenter, frames: list[np.ndarray]
) -> None:
    pytest.importorskip('openvino')
    fast = Segmenter.from_pretrained('embedded', runtime='openvino', dtype='float32')
    for count in (1, 3, 2):
        tokens = [each.vision for each in fast.encode(frames[:count])]
        expected = [each.vision for each in plain.encode(frames[:count])]
        assert torch.allclose(torch.stack(tokens), torch.stack(expected), atol=1e-4)


def test_auto_takes_openvino_for_models_that_it_can_run() -> None:
    pytest.importorskip('openvino')
    half = Precision(dtype=torch.bfloat16, language=torch.bfloat16)
    assert uses_openvino('auto', CPU, Precision(), EMBEDDED)
    assert not uses_openvino('torch', CPU, Precision(), EMBEDDED)
    assert not uses_openvino('auto', CPU, Precision(), InstructSegConfig())
    assert not uses_openvino('auto', CPU, half, EMBEDDED)
    assert not uses_openvino('auto', torch.device('cuda'), Precision(), EMBEDDED)
    assert not uses_openvino('auto', CPU, Precision(), EMBEDDED, compiled=True)


def test_a_model_that_openvino_cannot_run_is_refused_with_the_remedy() -> None:
    with pytest.raises(ModelError, match='use the runtime "auto"'):
        uses_openvino('openvino', CPU, Precision(), InstructSegConfig())


def test_an_unknown_runtime_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ModelError, match='"onnx" is not one of auto, torch, openvino'):
        uses_openvino('onnx', CPU, Precision(), EMBEDDED)


def test_a_missing_openvino_is_named_unless_the_choice_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, 'openvino', None)
    assert not uses_openvino('auto', CPU, Precision(), EMBEDDED)
    with pytest.raises(ModelError, match='pip install openvino'):
        uses_openvino('openvino', CPU, Precision(), EMBEDDED)


def test_a_second_model_gets_the_threads_that_torch_had_before_the_first() -> None:
    torch.set_num_threads(3)
    assert (claim_threads(), torch.get_num_threads()) == (3, 1)
    assert (claim_threads(), torch.get_num_threads()) == (3, 1)
