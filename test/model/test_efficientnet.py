from __future__ import annotations

import torch
from torch.nn import functional

from instructseg_ros.model.efficientnet import EfficientNetLite


def test_the_maps_have_strides_4_to_32() -> None:
    backbone = EfficientNetLite()
    with torch.inference_mode():
        maps = backbone(torch.zeros(2, 3, 64, 96))
    assert backbone.channels == (24, 40, 112, 320)
    assert [tuple(each.shape) for each in maps] == [
        (2, 24, 16, 24),
        (2, 40, 8, 12),
        (2, 112, 4, 6),
        (2, 320, 2, 3),
    ]


def test_strided_convolutions_pad_at_the_right_and_at_the_bottom() -> None:
    backbone = EfficientNetLite()
    stem, image = backbone.stem, torch.randn(1, 3, 8, 8)
    with torch.inference_mode():
        out = stem(image)
        first = functional.conv2d(image[:, :, :3, :3], stem.weight, stem.bias)[..., 0, 0]
        padded = functional.pad(image, (0, 1, 0, 1))[:, :, 6:, 6:]
        last = functional.conv2d(padded, stem.weight, stem.bias)[..., 0, 0]
    assert out.shape[-2:] == (4, 4)
    assert torch.allclose(out[..., 0, 0], first, atol=1e-5)
    assert torch.allclose(out[..., 3, 3], last, atol=1e-5)
