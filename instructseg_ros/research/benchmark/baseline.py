"""The baseline: the model with unmodified layers, run by the authors' procedure."""

from __future__ import annotations

import copy
import dataclasses
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import torch
from torch import nn
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerPixelDecoder,
    Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention,
)
from transformers.models.swin.modeling_swin import SwinBackbone, SwinLayer

from instructseg_ros.model.configuration import InstructSegConfig
from instructseg_ros.model.deformable_attention import DeformableAttention
from instructseg_ros.model.mask_decoder import mask_quality
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.pixel_branch import PixelDecoder
from instructseg_ros.model.precision import Precision
from instructseg_ros.model.process_memory import keep_freed_memory, release_freed_memory
from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.model.stage_outputs import InstructSegOutput, Prompt
from instructseg_ros.model.swin import FastSwinBackbone, WindowLayer
from instructseg_ros.research.benchmark.measure import Cost, measure
from instructseg_ros.research.benchmark.random_model import (
    Inputs,
    configuration,
    random_inputs,
    random_model,
    restore,
)

# Maps our faster layers to the layers of transformers that they derive from.
_PLAIN = {
    DeformableAttention: Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention,
    FastSwinBackbone: SwinBackbone,
    PixelDecoder: Mask2FormerPixelDecoder,
    WindowLayer: SwinLayer,
}


def straightforward_configuration(config: InstructSegConfig) -> InstructSegConfig:
    """Restore Phi's original activation, the same function, but computed by several kernels."""
    config.text_config.hidden_act = 'gelu_new'
    return config


def make_straightforward(model: InstructSegModel) -> None:
    """Restore the original layers of the pixel branch and the unused last layer of SigLIP."""
    unread = copy.deepcopy(model.vision_tower.encoder.layers[-1])

    def run_unread(_: nn.Module, __: object, features: torch.Tensor) -> None:
        unread(features, None)

    model.vision_tower.register_forward_hook(run_unread)
    for module in model.modules():
        module.__class__ = _PLAIN.get(type(module), type(module))


def straightforward_pass(model: InstructSegModel, inputs: Inputs) -> torch.Tensor:
    """Segment a still image as the authors' evaluation does; return a (720, 1280) bool mask.

    The image is encoded twice: as the key frame and as its own reference. The last layer of the
    language model computes all states, the mask decoder computes masks after every layer, and all
    masks of the final prediction are resized to the image.
    """
    tokens = model.encode_frame(inputs.vision_values)
    references = model.encode_frame(inputs.vision_values)[:, None]
    output = _decode(model, tokens, references, inputs.prompt, inputs.pixel_values).final
    logits, _ = _best(restore(output.mask_logits[0, 0]), output.score_logits[0, 0])
    return logits > 0


@torch.inference_mode()
def straightforward_frame(
    model: InstructSegModel,
    processor: InstructSegProcessor,
    images: Sequence[np.ndarray],
    instruction: str,
) -> tuple[np.ndarray, float]:
    """Segment the target of one instruction on one video frame by the authors' procedure.

    Nothing is shared between frames or instructions.

    Args:
        model: A model that `make_straightforward` has changed.
        processor: Its processor.
        images: (H, W, 3) uint8 RGB reference frames, oldest first, and the key frame.
        instruction: The instruction.

    Returns:
        The (H, W) bool mask and its score.
    """
    device = model.device
    encoded = [
        model.encode_frame(processor.vision_values(image)[None].to(device)) for image in images
    ]
    *earlier, tokens = encoded
    references = torch.stack(earlier, dim=1) if earlier else None
    prompt = processor.prompt([[instruction]], reference_frames=len(earlier)).to(device)
    pixels = processor.pixel_values(images[-1])[None].to(device)
    output = _decode(model, tokens, references, prompt, pixels).final
    masks = output.mask_logits[0, 0]
    restored = processor.restore_masks(masks, *images[-1].shape[:2])
    logits, score = _best(restored, output.score_logits[0, 0])
    sharp = processor.sharpen_mask(logits, images[-1], masks.shape[-2:])
    return (sharp > 0).cpu().numpy(), score


def _decode(
    model: InstructSegModel,
    tokens: torch.Tensor,
    references: torch.Tensor | None,
    prompt: Prompt,
    pixels: torch.Tensor,
) -> InstructSegOutput:
    context = model.perceive(tokens, references, prompt)
    if not prompt.prefix_length:
        prompt = dataclasses.replace(prompt, read_from=0)  # runs the last layer for all tokens
    return model.decode(model.reason(context, prompt), model.encode_pixels(pixels))


def _best(masks: torch.Tensor, score_logits: torch.Tensor) -> tuple[torch.Tensor, float]:
    scores = score_logits.sigmoid() * mask_quality(masks)
    best = int(scores.argmax())
    return masks[best], float(scores[best])


def measure_naive(size: str, device: torch.device, *, frames: int, kept: bool) -> Cost:
    """Measure `straightforward_pass` in a new process.

    Args:
        size: One of `SIZES`.
        device: Where it runs.
        frames: Timed runs; the fastest counts.
        kept: Keep freed memory in the process, as our own processes do. By default, the C library
            maps new pages for every large tensor.

    Raises:
        RuntimeError: The process was killed, probably for lack of memory.
    """
    release_freed_memory()
    spawn = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(1, spawn) as process:
        work = process.submit(_measure_here, size, device, frames, kept, torch.get_num_threads())
        try:
            return work.result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                'the process of the straightforward pass was killed: at full size it needs 17 GB '
                'of memory; choose a smaller --size or leave out --naive'
            ) from error


@torch.inference_mode()
def _measure_here(size: str, device: torch.device, frames: int, kept: bool, threads: int) -> Cost:
    if kept:
        keep_freed_memory()
    torch.set_num_threads(threads)
    config = straightforward_configuration(configuration(size))
    model = random_model(config, Precision(), device)
    make_straightforward(model)
    inputs = random_inputs(config, device, references=0)
    _, cost = measure(lambda: straightforward_pass(model, inputs), device, runs=frames)
    return cost
