from __future__ import annotations

import numpy as np
import torch
from small_models import SmallModel

from instructseg_ros.model.compilation import compile_stages
from instructseg_ros.model.segmenter import Segmenter


def test_compiled_stages_answer_like_the_others(small: SmallModel) -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    segmenter = Segmenter(small.model, small.processor, name='small', device=torch.device('cpu'))
    plain = segmenter.segment(image, 'the red mug')
    # The tracing is the same with every backend; generating code takes minutes.
    compile_stages(small.model, backend='aot_eager')
    try:
        compiled = segmenter.segment(image, 'the red mug')
    finally:
        for stage in (small.model.vision_tower, small.model.pixel_branch):
            stage._compiled_call_impl = None
    np.testing.assert_allclose(compiled.probability, plain.probability, atol=1e-4)
