from __future__ import annotations

from pathlib import Path

from small_models import compact_config, released_config
from transformers import PhiConfig

from instructseg_ros.model.configuration import InstructSegConfig, MaskConfig


def test_the_default_is_the_released_model() -> None:
    config = InstructSegConfig()
    assert config.hidden_size == 2560
    assert config.image_tokens == 729
    assert config.num_queries == 100
    assert config.num_latents == 128
    assert config.reference_frames == 4
    assert config.text_config.rope_parameters['partial_rotary_factor'] == 0.4
    assert config.text_config.vocab_size == 50296
    assert config.vision_config.num_hidden_layers == 26
    assert config.mask_config.decoder_layers == 10
    assert config.mask_config.encoder_layers == 6
    assert config.mask_config.mask_upsampling == 1
    swin = config.mask_config.backbone_config
    assert swin.depths == [2, 2, 18, 2] and swin.window_size == 12


def test_options_for_small_models_are_off_by_default() -> None:
    config = InstructSegConfig()
    assert config.stem_channels == ()
    assert not config.projector_norm
    assert not config.motion_perceiver
    assert not config.bidirectional_image
    assert not config.pointer


def test_configurations_of_parts_are_taken_as_they_are() -> None:
    text, masks = PhiConfig(hidden_size=64), MaskConfig(num_queries=7)
    config = InstructSegConfig(text_config=text, mask_config=masks)
    assert config.text_config is text and config.mask_config is masks
    assert config.hidden_size == 64 and config.num_queries == 7


def test_vision_tokens_are_whole_patches() -> None:
    assert released_config().image_tokens == 16  # of 60 pixels, 4 patches of 14


def test_a_saved_configuration_comes_back_the_same(tmp_path: Path) -> None:
    for config in (compact_config(), released_config()):
        config.score_threshold = 0.375
        config.save_pretrained(tmp_path)
        again = InstructSegConfig.from_pretrained(tmp_path)
        assert again.to_dict() == config.to_dict()
        assert again.stem_channels == config.stem_channels
        assert again.mask_config.mask_upsampling == config.mask_config.mask_upsampling
        assert again.score_threshold == 0.375
