"""Configuration of InstructSeg; the defaults are the released model's sizes."""

from __future__ import annotations

from typing import Any

from transformers import Mask2FormerConfig, PhiConfig, PretrainedConfig, SiglipVisionConfig

_SWIN_B: dict[str, Any] = {
    'model_type': 'swin',
    'image_size': 1024,
    'embed_dim': 128,
    'depths': [2, 2, 18, 2],
    'num_heads': [4, 8, 16, 32],
    'window_size': 12,
    'drop_path_rate': 0.3,
    'out_features': ['stage1', 'stage2', 'stage3', 'stage4'],
}
# 26 of SigLIP-so400m's 27 layers: the authors read `hidden_states[-2]` (siglip_encoder.py).
_SIGLIP: dict[str, Any] = {
    'hidden_size': 1152,
    'intermediate_size': 4304,
    'num_hidden_layers': 26,
    'num_attention_heads': 16,
    'image_size': 384,
    'patch_size': 14,
    'vision_use_head': False,
}
_PHI2: dict[str, Any] = {
    'vocab_size': 50296,
    'hidden_size': 2560,
    'intermediate_size': 10240,
    'num_hidden_layers': 32,
    'num_attention_heads': 32,
    # Computes the release's gelu_new in one kernel.
    'hidden_act': 'gelu_pytorch_tanh',
    'partial_rotary_factor': 0.4,
    'pad_token_id': None,
}


class MaskConfig(Mask2FormerConfig):
    """Mask2Former's configuration with options for small models, all off in the released layout.

    Args:
        mask_upsampling: Factor by which the final masks are finer than stride 4.
        mask_detail_width: Channels of the convolutions that refine mask features with the image;
            0: no such convolutions.
    """

    backbones_supported = ['swin', 'resnet']
    mask_upsampling: int = 1
    mask_detail_width: int = 0


class InstructSegConfig(PretrainedConfig):
    """Configuration of InstructSeg (arXiv 2412.14006).

    Args:
        vision_config: SigLIP vision tower; `num_hidden_layers` counts only the used layers. This
            and the next two are configurations or dictionaries of their fields.
        text_config: Phi language model.
        mask_config: Mask2Former's backbone, pixel decoder and mask decoder; `num_queries` is the
            number of mask tokens.
        num_latents: Reference tokens per frame that the video perceiver computes.
        perceiver_layers, perceiver_heads, perceiver_head_dim: Sizes of the perceiver.
        fusion_width, fusion_layers, fusion_heads, fusion_head_dim: Sizes of the text fusion.
        reference_frames: Number of earlier frames that the model reads besides the key frame.
        reference_stride: Seconds between reference frames.
        max_reference_stride: Longest stride, in seconds, that the model was trained with.
        score_scale, score_offset: Factor and offset that turn a score's log-odds into those of a
            right answer; the release is not calibrated.
        score_threshold: Calibrated minimum score of a target that counts as found.
        release_threshold: Calibrated score below which a found target counts as lost; None: the
            same as `score_threshold`.
        language_dtype: Number format of the vision tower, projector and language model if it
            differs from the rest, e.g. 'float16' in the release.

    Options for small models trained from scratch, all off in the released layout:
        stem_channels: Channels of strided convolutions that replace SigLIP's single patch
            convolution; empty: none.
        projector_norm: Whether the projector ends with a LayerNorm.
        motion_perceiver: Whether latents anchored at the key frame's cells read the reference
            frames and are fused into the image tokens, instead of becoming separate tokens.
        bidirectional_image: Whether all image tokens attend to each other in the language model.
        pointer: Whether mask tokens select image cells, whose states are added to their queries.
    """

    model_type = 'instructseg'
    sub_configs = {
        'vision_config': SiglipVisionConfig,
        'text_config': PhiConfig,
        'mask_config': MaskConfig,
    }

    vision_config: Any = None
    text_config: Any = None
    mask_config: Any = None
    num_latents: int = 128
    perceiver_layers: int = 3
    perceiver_heads: int = 8
    perceiver_head_dim: int = 128
    fusion_width: int = 1024
    fusion_layers: int = 3
    fusion_heads: int = 8
    fusion_head_dim: int = 128
    reference_frames: int = 4
    reference_stride: float = 0.25
    max_reference_stride: float = 1.0
    score_scale: float = 1.0
    score_offset: float = 0.0
    score_threshold: float = 0.5
    release_threshold: float | None = None
    language_dtype: str | None = None
    stem_channels: tuple[int, ...] = ()
    projector_norm: bool = False
    motion_perceiver: bool = False
    bidirectional_image: bool = False
    pointer: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        """Build the configuration of each part that is given as a dictionary or not at all."""
        self.vision_config = _sub_config(SiglipVisionConfig, self.vision_config, _SIGLIP)
        self.text_config = _sub_config(PhiConfig, self.text_config, _PHI2)
        self.mask_config = _sub_config(MaskConfig, self.mask_config, {'backbone_config': _SWIN_B})
        self.stem_channels = tuple(self.stem_channels)
        super().__post_init__(**kwargs)

    @property
    def hidden_size(self) -> int:
        """Width of the language model."""
        return int(self.text_config.hidden_size)

    @property
    def image_tokens(self) -> int:
        """Vision tokens of one frame."""
        vision = self.vision_config
        return int((vision.image_size // vision.patch_size) ** 2)

    @property
    def num_queries(self) -> int:
        """Mask tokens of one instruction."""
        return int(self.mask_config.num_queries)


def _sub_config(cls: Any, given: Any, default: dict[str, Any]) -> Any:
    if isinstance(given, cls):
        return given
    return cls(**(default if given is None else given))
