"""Implements `instructseg benchmark model`: time, operations and memory of every stage."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from instructseg_ros.model.mask_decoder import best_mask
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.precision import Precision, pack_linear_layers
from instructseg_ros.research.benchmark.baseline import measure_naive
from instructseg_ros.research.benchmark.measure import (
    Cost,
    PeakMemory,
    device_name,
    gemm_gflops,
    measure,
)
from instructseg_ros.research.benchmark.random_model import (
    Inputs,
    configuration,
    random_inputs,
    random_model,
    restore,
)

Figures = dict[str, Any]
Costs = dict[str, Cost]
Result = TypeVar('Result')


@torch.inference_mode()
def benchmark_model(
    size: str, precision: Precision, device: torch.device, *, frames: int, naive: bool
) -> Figures:
    """Measure a model with random weights on a still image and on a key frame with references.

    Args:
        size: One of `SIZES`.
        precision: Number formats of the model.
        device: Where it runs.
        frames: Timed runs of each stage; the fastest counts.
        naive: Also measure the straightforward float32 pass, after the model has been freed: once
            with default memory management and once keeping freed memory as this process does.

    Returns:
        The content of the JSON file; `share_of_gemm` is relative to `gemm_gflops`, the rate of a
        large matrix product in the language model's format.
    """
    before = gemm_gflops(precision.language, device)
    config = configuration(size)
    memory = PeakMemory(device)
    model = random_model(config, precision, device)
    parameters = model.num_parameters()  # counted now: packed layers have none
    pack_linear_layers(model)
    built = memory.read()
    still, video = StageClock(device, runs=frames), StageClock(device, runs=frames)
    run_stages(model, random_inputs(config, device, references=0), still)
    references = config.reference_frames
    run_stages(model, random_inputs(config, device, references=references), video)
    rate = max(before, gemm_gflops(precision.language, device))
    figures: Figures = {
        'dtype': _name(precision.dtype),
        'language_dtype': 'int8' if precision.int8 else _name(precision.language),
        'device': device_name(device),
        'threads': torch.get_num_threads(),
        'parameters': parameters,
        'gemm_gflops': round(rate, 1),
        **_passes(still.costs, video.costs, rate),
        'naive_fp32_image_seconds': None,
        'naive_fp32_image_seconds_with_kept_memory': None,
        'peak_memory_gb': _peak(built, *still.costs.values(), *video.costs.values()),
    }
    if naive:
        del model
        gc.collect()
        figures |= _naive(size, device, frames)
    return figures


def table(figures: Figures) -> str:
    """Format the figures as a table."""
    lines = [f'{"":14} {"stage":18} {"s":>8} {"GFLOP":>8} {"of GEMM":>8} {"peak GB":>8}']
    for title, stages in (('image', figures['stages']), ('video', figures['video_stages'])):
        for name, cost in stages.items():
            lines.append(
                f'{title:14} {name:18} {cost["seconds"]:8.3f} {cost["gflop"]:8.0f} '
                f'{cost["share_of_gemm"]:8.0%} {cost["peak_memory_gb"]:8.2f}'
            )
    for name in (
        'image_seconds',
        'video_seconds',
        'video_seconds_with_kept_references',
        'naive_fp32_image_seconds',
        'naive_fp32_image_seconds_with_kept_memory',
        'gemm_gflops',
        'peak_memory_gb',
    ):
        if figures[name] is not None:
            lines.append(f'{name}: {figures[name]}')
    return '\n'.join(lines)


def _naive(size: str, device: torch.device, frames: int) -> Figures:
    cost = measure_naive(size, device, frames=frames, kept=False)
    kept = measure_naive(size, device, frames=frames, kept=True)
    return {
        'naive_fp32_image_seconds': round(cost.seconds, 3),
        'naive_fp32_image_seconds_with_kept_memory': round(kept.seconds, 3),
        'naive_fp32_gemm_gflops': round(gemm_gflops(torch.float32, device), 1),
        'naive_fp32_peak_memory_gb': round(cost.memory_gb, 2),
    }


def _passes(still: Costs, video: Costs, rate: float) -> Figures:
    return {
        'stages': {name: _stage(cost, rate) for name, cost in still.items()},
        'video_stages': {name: _stage(cost, rate) for name, cost in video.items()},
        'image_seconds': _total(still),
        'video_seconds': _total(video),
        'video_seconds_with_kept_references': _total(video, without='encode_references'),
    }


def _stage(cost: Cost, rate: float) -> dict[str, float]:
    return {
        'seconds': round(cost.seconds, 4),
        'gflop': round(cost.gflop, 2),
        'share_of_gemm': round(cost.gflop / cost.seconds / rate, 4),
        'peak_memory_gb': round(cost.memory_gb, 2),
    }


def _peak(built: float, *costs: Cost) -> float:
    return round(max(built, *(cost.memory_gb for cost in costs)), 2)


def _total(costs: Costs, without: str = '') -> float:
    return round(sum(cost.seconds for name, cost in costs.items() if name != without), 3)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix('torch.')


class StageClock:
    """Runs stages on a device and keeps the cost of each."""

    def __init__(self, device: torch.device, *, runs: int) -> None:
        self._device = device
        self._runs = runs
        self.costs: dict[str, Cost] = {}

    def __call__(self, name: str, work: Callable[[], Result]) -> Result:
        """Measure one stage and return its result."""
        result, self.costs[name] = measure(work, self._device, runs=self._runs)
        return result


def run_stages(model: InstructSegModel, inputs: Inputs, clock: StageClock) -> None:
    """Run all stages in the same order as `Segmenter`."""
    prompt, earlier = inputs.prompt, inputs.reference_values
    tokens = clock('encode_frame', lambda: model.encode_frame(inputs.vision_values))
    references = None
    if earlier is not None:
        kept = clock('encode_references', lambda: model.encode_frame(earlier[0]))
        references = kept[None]
    context = clock('perceive', lambda: model.perceive(tokens, references, prompt))
    prefix = model.prefill_text(prompt)  # once for all frames
    reasoning = clock('reason', lambda: model.reason(context, prompt, prefix_cache=prefix))
    features = clock('encode_pixels', lambda: model.encode_pixels(inputs.pixel_values))
    output = clock('decode', lambda: model.decode(reasoning, features, final_only=True))
    masks = output.final.mask_logits[0, 0]
    # Random weights score all mask tokens alike. With these scores about thirty of a hundred masks
    # are resized; how many a trained model resizes is not known.
    scores = torch.linspace(4, -8, len(masks), device=masks.device)
    clock('choose_mask', lambda: best_mask(masks, scores, restore))
