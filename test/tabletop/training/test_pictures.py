from __future__ import annotations

import numpy as np
import torch
from small_scenes import SHAPE

from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.tabletop.training.images import mask_batch, vision_batch

MEAN = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
STD = torch.tensor([58.395, 57.12, 57.375])[:, None, None]


def pictures(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, height, width, 3), dtype=np.uint8)


def test_undisturbed_pictures_are_what_the_processor_makes(processor: InstructSegProcessor) -> None:
    side = SHAPE.vision_size
    squashed = pictures(side, side)
    expected = torch.stack([processor.vision_values(picture) for picture in squashed])
    torch.testing.assert_close(vision_batch(squashed, None), expected)
    fitting = pictures(*SHAPE.mask_size)
    expected = torch.stack([processor.pixel_values(picture) for picture in fitting])
    torch.testing.assert_close(mask_batch(fitting, None), expected)


def test_disturbed_pictures_stay_pictures() -> None:
    given = pictures(32, 48)
    torch.manual_seed(0)
    disturbed = vision_batch(given, np.random.default_rng(0))
    assert disturbed.shape == (3, 3, 32, 48)
    assert disturbed.min() >= -1 and disturbed.max() <= 1
    change = (disturbed - vision_batch(given, None)).abs().mean(dim=(1, 2, 3))
    assert (change > 0.01).all() and (change < 0.3).all()
    raw = mask_batch(given, np.random.default_rng(0)) * STD + MEAN
    assert raw.min() > -0.01 and raw.max() < 255.01


def test_the_same_seeds_disturb_alike() -> None:
    def disturbed() -> torch.Tensor:
        torch.manual_seed(4)
        return mask_batch(pictures(8, 8), np.random.default_rng(5))

    assert torch.equal(disturbed(), disturbed())


def test_mirrored_views_are_read_as_they_look() -> None:
    given = pictures(8, 12)
    assert torch.equal(vision_batch(given[:, :, ::-1], None), vision_batch(given, None).flip(-1))
