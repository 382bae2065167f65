"""InstructSeg (arXiv 2412.14006) in five stages; each runs again only if its inputs change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from transformers import DynamicCache, PreTrainedModel
from transformers import initialization as init
from transformers.models.siglip.modeling_siglip import SiglipVisionEmbeddings

from instructseg_ros.model.attention import IMPLEMENTATION
from instructseg_ros.model.configuration import InstructSegConfig
from instructseg_ros.model.language import LanguageModel
from instructseg_ros.model.mask_decoder import MaskDecoder
from instructseg_ros.model.perceiver import ImageTokenFusion, MotionPerceiver, VideoPerceiver
from instructseg_ros.model.pixel_branch import PixelBranch, PixelFeatures
from instructseg_ros.model.stage_outputs import (
    ImagePrefix,
    InstructSegOutput,
    PrefixCache,
    Prompt,
    Reasoning,
    VisualContext,
)
from instructseg_ros.model.tasks import IMAGE_ID, SEG_ID, TEMPORAL_ID
from instructseg_ros.model.text_fusion import Pointer, TextFusion
from instructseg_ros.model.vision import Projector, VisionTower


class InstructSegModel(PreTrainedModel):
    """Maps images and instructions to a mask and a score for each mask token."""

    config_class = InstructSegConfig
    config: InstructSegConfig
    base_model_prefix = 'instructseg'
    main_input_name = 'pixel_values'
    _supports_sdpa = True
    supports_gradient_checkpointing = True

    def __init__(self, config: InstructSegConfig) -> None:
        config._attn_implementation = IMPLEMENTATION
        super().__init__(config)
        width = config.mask_config.hidden_dim
        self.vision_tower = VisionTower(config)
        self.projector = Projector(config)
        self.perceiver: nn.Module
        if config.motion_perceiver:
            self.perceiver = MotionPerceiver(config)
            self.image_token_fusion = ImageTokenFusion(config)
        else:
            self.perceiver = VideoPerceiver(config)
        self.language_model = LanguageModel(config.text_config)
        self.seg_query = nn.Parameter(torch.zeros(config.num_queries, config.hidden_size))
        self.seg_query_projector = nn.Linear(config.hidden_size, width)
        self.pointer = Pointer(config) if config.pointer else None
        self.pixel_branch = PixelBranch(config.mask_config)
        self.text_fusion = TextFusion(config, self.pixel_branch.backbone.channels[-1])
        self.mask_decoder = MaskDecoder(config.mask_config)
        self.post_init()
        if config.language_dtype:
            self._use_language_dtype(getattr(torch, config.language_dtype))

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, SiglipVisionEmbeddings):
            # A buffer that checkpoints do not contain.
            positions = torch.arange(module.num_positions, device=module.position_ids.device)
            module.position_ids = positions[None]
        elif isinstance(module, VideoPerceiver):
            init.normal_(module.temporal_query)
        elif module is self:
            init.zeros_(self.seg_query)

    def _use_language_dtype(self, dtype: torch.dtype) -> None:
        self.vision_tower.to(dtype)
        self.projector.to(dtype)
        # Buffers stay float32, because rotary embeddings need that precision.
        for parameter in self.language_model.parameters():
            parameter.data = parameter.data.to(dtype)

    def forward(
        self,
        pixel_values: torch.Tensor,
        vision_values: torch.Tensor,
        prompt: Prompt,
        reference_values: torch.Tensor | None = None,
    ) -> InstructSegOutput:
        """Run the five stages one after the other.

        Args:
            pixel_values: (F, 3, H, W) key frames, for the mask branch.
            vision_values: (F, 3, S, S) key frames, for the vision tower.
            prompt: K instructions on each frame.
            reference_values: (F, T, 3, S, S) earlier frames, oldest first; None: still images.
        """
        tokens = self.encode_frame(vision_values)
        references = None
        if reference_values is not None:
            references = self.encode_frame(reference_values.flatten(0, 1))
            references = references.unflatten(0, reference_values.shape[:2])
        context = self.perceive(tokens, references, prompt)
        reasoning = self.reason(context, prompt)
        return self.decode(reasoning, self.encode_pixels(pixel_values))

    def encode_frame(self, vision_values: torch.Tensor) -> torch.Tensor:
        """Compute vision tokens: (B, 3, S, S) in [-1, 1] -> (B, V, D)."""
        return self.projector(self.vision_tower(vision_values))

    def perceive(
        self, tokens: torch.Tensor, references: torch.Tensor | None, prompt: Prompt
    ) -> VisualContext:
        """Combine reference frames with the key frame.

        Args:
            tokens: (F, V, D) vision tokens of the key frames.
            references: (F, T, V, D) vision tokens, oldest first; None: the key frame is its own
                reference, as in the authors' llava_phi.py.
            prompt: Instructions, whose words guide the perceiver.
        """
        if self.config.motion_perceiver:
            tokens = tokens.to(self.seg_query.dtype)
            motion = self.perceiver(tokens, self.motion_references(tokens, references))
            return VisualContext(
                image_tokens=self.image_token_fusion(tokens, motion), reference_tokens=None
            )
        references = tokens[:, None] if references is None else references
        return VisualContext(
            image_tokens=tokens,
            reference_tokens=self.perceive_frames(references, prompt).flatten(2, 3),
        )

    def perceive_frames(self, frames: torch.Tensor, prompt: Prompt) -> torch.Tensor:
        """Compute the reference tokens of each frame and instruction independently.

        Args:
            frames: (F, T, V, D) vision tokens.
            prompt: K instructions on each of F frames.

        Returns:
            (F, K, T, num_latents, D).
        """
        count = frames.shape[1]
        # The perceiver reads only the instructions; the rest of the prompt would be masked.
        span = slice(prompt.read_from, prompt.refer_stop)
        words = self.language_model.embed_tokens(prompt.input_ids[..., span].clamp(min=0))
        dtype = self.seg_query.dtype
        tokens = self.perceiver(
            frames.flatten(0, 1).to(dtype),
            _repeat_rows(words.to(dtype), count),
            _repeat_rows(prompt.refer_mask[..., span], count),
        )
        return tokens.unflatten(0, (len(frames), count, -1)).transpose(1, 2)

    def encode_pixels(self, pixel_values: torch.Tensor) -> PixelFeatures:
        """Compute features of the mask branch from (F, 3, H, W) normalised pixels."""
        return self.pixel_branch(pixel_values.to(self.pixel_branch.dtype))

    def prefill_text(self, prompt: Prompt) -> PrefixCache:
        """Prefill the text with which all prompts of a task begin; `reason` continues from it."""
        ids = torch.tensor([prompt.text], device=prompt.input_ids.device)
        return self._prefill(prompt.text, self.language_model.embed_tokens(ids))

    def prefill_references(self, prompt: Prompt, reference_tokens: torch.Tensor) -> PrefixCache:
        """Prefill everything before the image, one sequence for each instruction.

        Args:
            prompt: K instructions on each of F frames.
            reference_tokens: (F, K, T * num_latents, D).
        """
        start = prompt.input_ids[:, :, : len(prompt.start_ids)]
        embeddings = self._embed(start, {TEMPORAL_ID: reference_tokens})
        return self._prefill(prompt.start_ids, embeddings.flatten(0, 1))

    def _prefill(self, ids: tuple[int, ...], embeddings: torch.Tensor) -> PrefixCache:
        cache = self.language_model.remember(embeddings)
        states = tuple((layer.keys, layer.values) for layer in cache.layers)
        return PrefixCache(ids=ids, states=states)

    def reason(
        self,
        context: VisualContext,
        prompt: Prompt,
        *,
        prefix_cache: PrefixCache | None = None,
        image_prefix: ImagePrefix | None = None,
        output_layers: bool = False,
    ) -> Reasoning:
        """Run one prefill of the language model with a fixed, teacher-forced response.

        Args:
            context: Result of `perceive`.
            prompt: K instructions on each of F frames.
            prefix_cache: Result of `prefill_text` (one sequence) or `prefill_references` (one for
                each instruction) for prompts with the same beginning.
            image_prefix: Result of `read_prefix`, if it has been computed already.
            output_layers: Whether to return the final states of all tokens too and, if the prompts
                have a shared prefix, the states of every layer.

        Raises:
            ValueError: `prefix_cache` does not match the beginning of the prompts.
        """
        if prefix_cache is not None and (
            prefix_cache.ids != prompt.start_ids[: len(prefix_cache.ids)]
        ):
            raise ValueError('the prefilled text is not the beginning of these prompts')
        frames, instructions = prompt.input_ids.shape[:2]
        cache = None
        done = prompt.prefix_length
        if not done and prefix_cache is not None:
            cache = self._continue_from(prefix_cache, frames * instructions)
            done = len(prefix_cache.ids)
        prefix, suffix = self.assemble(context, prompt, start=done)
        if prompt.prefix_length:
            image_prefix = image_prefix or self.read_prefix(prefix)
            cache = self._filled_cache(image_prefix.states)
            cache.batch_repeat_interleave(instructions)
        head = image_prefix.layers if image_prefix else ()
        read_from = prompt.read_from - done
        rows = self.language_model.conclude(suffix.flatten(0, 1), cache, read_from=read_from)
        tail = [states.unflatten(0, (frames, instructions)) for states in rows]
        return Reasoning(
            mask_tokens=self._mask_tokens(tail[-1], prompt),
            pooled=_masked_mean(tail[-1], prompt.refer_mask[:, :, prompt.read_from :]),
            cells=head[-1] if head else None,
            states=tail[-1] if output_layers else None,
            layers=tuple(zip(head, tail, strict=True)) if output_layers and head else (),
        )

    def decode(
        self, reasoning: Reasoning, features: PixelFeatures, *, final_only: bool = False
    ) -> InstructSegOutput:
        """Fuse text and image, and decode a mask and a score for every mask token.

        Args:
            reasoning: Result of `reason`.
            features: Result of `encode_pixels` for the same frames.
            final_only: Whether to return only the last prediction; losses need the others.
        """
        dtype = self.seg_query.dtype
        queries = self.seg_query_projector(reasoning.mask_tokens.to(dtype))
        condition = self.text_fusion(reasoning.pooled.to(dtype), features.coarse)
        evidence = None
        pointer_logits = None
        if self.pointer is not None and reasoning.cells is not None:
            tokens, cells = reasoning.mask_tokens.to(dtype), reasoning.cells.to(dtype)
            pointer_logits = self.pointer.point(tokens, cells)
            content, evidence = self.pointer.read(pointer_logits, cells)
            queries = queries + content
        predictions = self.mask_decoder(
            queries, condition, features, evidence, final_only=final_only
        )
        return InstructSegOutput(predictions=predictions, pointer_logits=pointer_logits)

    def motion_references(
        self, tokens: torch.Tensor, references: torch.Tensor | None
    ) -> torch.Tensor:
        """Return the newest references, as many as the motion perceiver reads.

        The oldest one is repeated if there are fewer; without any, the key frame is its own
        reference. Arguments are those of `perceive`.
        """
        references = tokens[:, None] if references is None else references.to(tokens.dtype)
        newest = references[:, -self.config.reference_frames :]
        missing = self.config.reference_frames - newest.shape[1]
        return torch.cat([newest[:, :1].expand(-1, missing, -1, -1), newest], dim=1)

    def read_prefix(self, embeddings: torch.Tensor) -> ImagePrefix:
        """Run the language model over the beginning that all instructions on a frame share.

        Args:
            embeddings: (F, P, D), the first result of `assemble`.
        """
        cache = DynamicCache(config=self.language_model.config)
        causal = not self.config.bidirectional_image
        layers = self.language_model.prefill(embeddings, cache, causal=causal)
        states = tuple((layer.keys, layer.values) for layer in cache.layers)
        return ImagePrefix(layers=tuple(layers), states=states)

    def _continue_from(self, prefix: PrefixCache, rows: int) -> DynamicCache:
        shape = (rows, -1, -1, -1)
        return self._filled_cache(
            [(keys.expand(shape), values.expand(shape)) for keys, values in prefix.states]
        )

    def _filled_cache(self, states: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> DynamicCache:
        cache = DynamicCache(config=self.language_model.config)
        for index, (keys, values) in enumerate(states):
            cache.update(keys, values, index)
        return cache

    def assemble(
        self, context: VisualContext, prompt: Prompt, *, start: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Embed the prompt, with image, reference and mask tokens in their positions.

        Args:
            context: Result of `perceive`.
            prompt: K instructions on each of F frames.
            start: Position at which the rest begins, if that is after the prefix.

        Returns:
            (F, P, D) embeddings of the prefix, shared by all instructions on a frame, and
            (F, K, L - max(P, start), D) of the rest.
        """
        values = {SEG_ID: self.seg_query, IMAGE_ID: context.image_tokens[:, None]}
        if context.reference_tokens is not None:
            values[TEMPORAL_ID] = context.reference_tokens
        prefix = prompt.input_ids[:, :1, : prompt.prefix_length]
        rest = prompt.input_ids[:, :, max(prompt.prefix_length, start) :]
        return self._embed(prefix, values)[:, 0], self._embed(rest, values)

    def _embed(self, ids: torch.Tensor, values_of: Mapping[int, torch.Tensor]) -> torch.Tensor:
        embeddings = self.language_model.embed_tokens(ids.clamp(min=0))
        for placeholder, values in values_of.items():
            where = ids == placeholder
            if where.any():
                values = values.expand(*ids.shape[:2], -1, -1).to(embeddings.dtype)
                embeddings = embeddings.masked_scatter(where[..., None], values)
        return embeddings

    def _mask_tokens(self, states: torch.Tensor, prompt: Prompt) -> torch.Tensor:
        where = prompt.input_ids[:, :, prompt.read_from :] == SEG_ID
        return states[where].view(*states.shape[:2], self.config.num_queries, -1)


def _repeat_rows(values: torch.Tensor, count: int) -> torch.Tensor:
    """Repeat each frame's K rows: (F, K, ...) -> (F * count * K, ...)."""
    repeated = values[:, None].expand(-1, count, *values.shape[1:])
    return repeated.flatten(0, 2)


def _masked_mean(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    weights = mask[..., None].to(states.dtype)
    return (states * weights).sum(dim=2) / weights.sum(dim=2)
