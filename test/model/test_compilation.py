from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from small_models import SmallModel, compact_model, released_model

from instructseg_ros.model.segmenter import Prediction, Segmenter

TEXTS = ['the red mug', 'where is the blue mug?', 'all']


def answers(segmenter: Segmenter) -> list[Prediction]:
    """On a still image, and on a frame with reference frames, kept ones and others."""
    rng = np.random.default_rng(0)
    earlier, image = rng.integers(0, 256, (2, 48, 64, 3), dtype=np.uint8)
    still = segmenter.segment_all(image, TEXTS)
    tokens, reference = segmenter.encode([image, earlier])
    expressions = [segmenter.query(text) for text in TEXTS]
    pixels = segmenter.encode_pixels([image])
    for keep in (False, True):
        embeddings = segmenter.reason([expressions], [tokens], [[reference]], keep_references=keep)
        still += segmenter.decode(embeddings, pixels)[0]
    return still


@pytest.mark.parametrize('make', [compact_model, released_model])
def test_compiled_stages_answer_like_the_others(make: Callable[[], SmallModel]) -> None:
    small = make()
    segmenter = Segmenter(small.model, small.processor, name='small', device=torch.device('cpu'))
    plain = answers(segmenter)
    # Tracing is the same for every backend; generating code takes minutes.
    segmenter.compile(backend='aot_eager')
    for one, other in zip(plain, answers(segmenter), strict=True):
        np.testing.assert_allclose(other.probability, one.probability, atol=1e-4)
        assert other.score == pytest.approx(one.score, abs=1e-4)
