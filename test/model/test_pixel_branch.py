"""The pixel branch: its decoder equals the authors', and features of frames are independent."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from small_models import SmallModel
from torch import nn
from transformers.models.mask2former.modeling_mask2former import Mask2FormerPixelDecoder

from instructseg_ros.model.pixel_branch import Detail, PixelDecoder

SIZES = [(13, 18), (7, 9), (4, 5), (2, 3)]


def feature_maps(decoder: PixelDecoder, *, frames: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(frames, channels, *size, generator=generator)
        for channels, size in zip(decoder.feature_channels, SIZES, strict=True)
    ]


def channels_last(maps: list[torch.Tensor]) -> list[torch.Tensor]:
    return [x.contiguous(memory_format=torch.channels_last) for x in maps]


def assert_near(mine: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(mine, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('frames', [1, 3])
@pytest.mark.parametrize('gradients', [True, False])
def test_features_are_those_of_transformers(
    small: SmallModel, frames: int, gradients: bool
) -> None:
    decoder = small.model.pixel_branch.decoder
    theirs = copy.copy(decoder)
    theirs.__class__ = Mask2FormerPixelDecoder
    maps = feature_maps(decoder, frames=frames)
    with torch.set_grad_enabled(gradients):
        expected = theirs(maps)
        for given in (maps, channels_last(maps)):
            mine = decoder(given)
            assert_near(mine.mask_features, expected.mask_features)
            for level, its in zip(
                mine.multi_scale_features, expected.multi_scale_features, strict=True
            ):
                assert_near(level, its)


@torch.no_grad()
@pytest.mark.parametrize('frames', [1, 2])
def test_features_stay_in_the_layout_of_the_maps(small: SmallModel, frames: int) -> None:
    decoder = small.model.pixel_branch.decoder
    mine = decoder(channels_last(feature_maps(decoder, frames=frames)))
    for x in (mine.mask_features, *mine.multi_scale_features):
        assert x.stride(1) == 1


def test_the_finest_level_joins_by_convolutions_with_biases_and_relu(small: SmallModel) -> None:
    decoder = small.model.pixel_branch.decoder
    for module in (decoder.adapter_1, decoder.layer_1):
        convolution, norm, activation = module
        assert convolution.bias is not None
        assert isinstance(norm, nn.GroupNorm) and norm.num_groups == 32
        assert isinstance(activation, nn.ReLU)
    assert decoder.lateral_convolutions == [decoder.adapter_1]
    assert decoder.output_convolutions == [decoder.layer_1]


@torch.no_grad()
def test_mask_features_are_the_released_top_down_step(released: SmallModel) -> None:
    decoder = released.model.pixel_branch.decoder
    maps = feature_maps(decoder, frames=1)
    features = decoder(maps)
    coarser = nn.functional.interpolate(
        features.multi_scale_features[-1], size=SIZES[0], mode='bilinear', align_corners=False
    )
    joined = decoder.layer_1(decoder.adapter_1(maps[0]) + coarser)
    assert_near(features.mask_features, decoder.mask_projection(joined))


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def test_features_have_the_strides_of_the_pixel_decoder(small: SmallModel) -> None:
    config = small.model.config.mask_config
    height, width = small.processor.config.mask_size
    features = small.model.encode_pixels(small.inputs(frames=2)['pixel_values'])
    channels = small.model.pixel_branch.backbone.channels[-1]
    assert features.coarse.shape == (2, channels, height // 32, width // 32)
    assert [tuple(level.shape) for level in features.levels] == [
        (2, config.feature_size, height // stride, width // stride) for stride in (32, 16, 8)
    ]
    stride = 4 // config.mask_upsampling
    assert features.mask_features.shape == (
        2,
        config.mask_feature_size,
        height // stride,
        width // stride,
    )


def test_features_of_a_frame_do_not_depend_on_its_batch(small: SmallModel) -> None:
    pictures = small.inputs(frames=2)['pixel_values']
    both = small.model.encode_pixels(pictures)
    alone = small.model.encode_pixels(pictures[1:])
    torch.testing.assert_close(both.coarse[1:], alone.coarse, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(both.mask_features[1:], alone.mask_features, atol=1e-4, rtol=1e-3)
    for mine, its in zip(both.levels, alone.levels, strict=True):
        torch.testing.assert_close(mine[1:], its, atol=1e-4, rtol=1e-3)


def test_features_do_not_depend_on_earlier_inputs(small: SmallModel) -> None:
    branch = small.model.pixel_branch
    pictures = small.inputs()['pixel_values']
    before = branch(pictures).mask_features
    branch(torch.zeros_like(pictures))
    assert torch.equal(branch(pictures).mask_features, before)


def test_memory_layout_does_not_change_features(small: SmallModel) -> None:
    pictures = small.inputs()['pixel_values']
    plain = small.model.encode_pixels(pictures)
    last = small.model.encode_pixels(pictures.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(plain.mask_features, last.mask_features, atol=1e-4, rtol=1e-3)


def test_detail_reads_the_image_around_each_mask_feature() -> None:
    torch.manual_seed(0)
    detail = Detail(6, 4, stride=2)
    features, picture = torch.randn(1, 6, 16, 16), torch.randn(1, 3, 32, 32)
    other = picture.clone()
    other[..., 10:12, 20:22] += 1
    changed = (detail(features, other) != detail(features, picture)).any(dim=1)[0]
    rows, columns = changed.nonzero().T
    assert changed[5, 10]
    assert (rows - 5).abs().max() <= 3 and (columns - 10).abs().max() <= 3


def test_without_detail_mask_features_are_the_decoders(released: SmallModel) -> None:
    assert not any('detail' in name for name in released.model.state_dict())


def test_features_of_some_frames_are_views_where_the_frames_follow_one_another(
    small: SmallModel,
) -> None:
    features = small.model.encode_pixels(small.inputs(frames=4)['pixel_values'])
    for frames, is_view in (([0, 1, 2, 3], True), ([1, 2], True), ([3], True), ([0, 2], False)):
        some = features.of(frames)
        for part, whole in (
            (some.coarse, features.coarse),
            (some.mask_features, features.mask_features),
            *zip(some.levels, features.levels, strict=True),
        ):
            assert torch.equal(part, whole[frames])
            shared = part.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()
            assert shared == is_view
