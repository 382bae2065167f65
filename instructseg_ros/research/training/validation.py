"""Measures a model, while it is trained, on samples that are not used for training."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from accelerate import Accelerator
from torch.nn import functional

from instructseg_ros.model.mask_decoder import best_mask
from instructseg_ros.model.processor import denormalize
from instructseg_ros.research.data.reading import read_json
from instructseg_ros.research.evaluation.metrics import intersection_over_union
from instructseg_ros.research.training.batches import Steps, batches
from instructseg_ros.research.training.examples import Batch
from instructseg_ros.research.training.trainer import LossOutput
from instructseg_ros.video.run_folder import write_json

FILE: Final = 'validation.json'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figures:
    """Results of a model on the validation samples.

    Args:
        step: Number of updates of the weights before the measurement.
        gIoU: Mean intersection over union, 0 to 1. An absent target counts 1 if the model finds
            nothing, else 0; a missed target counts 0.
        loss: Mean of the loss that training minimises.
        samples: Number of samples.
    """

    step: int
    gIoU: float  # noqa: N815 - the metric's name
    loss: float
    samples: int

    def better_than(self, other: Figures | None) -> bool:
        """Return whether these figures rank higher: by gIoU, then by loss (worst if not finite)."""
        return other is None or self._rank() > other._rank()

    def _rank(self) -> tuple[float, float]:
        return self.gIoU, -self.loss if math.isfinite(self.loss) else -math.inf

    def __str__(self) -> str:
        return (
            f'validation after step {self.step}: gIoU {self.gIoU:.3f}, loss {self.loss:.3f} '
            f'({self.samples} samples)'
        )


class Validation:
    """Measures a model on fixed samples; each process takes a share of them."""

    def __init__(self, steps: Steps, count: int, *, threshold: float, workers: int) -> None:
        """Prepare the measurement.

        Args:
            steps: Batches of one sample; every measurement uses the same ones.
            count: Number of batches of each process.
            threshold: Minimum score of a target that counts as found.
            workers: Number of processes that load images; 0: this process.
        """
        self._steps = steps
        self._count = count
        self._threshold = threshold
        self._workers = workers

    def measure(
        self,
        accelerator: Accelerator,
        module: torch.nn.Module,
        step: int,
        report: Callable[[str], None],
    ) -> Figures:
        """Measure a module, and return it to training mode.

        Args:
            report: Called with a description of each broken sample, which another sample replaces.
        """
        overlap, loss = 0.0, 0.0
        module.eval()
        with torch.no_grad():
            for batch in batches(self._steps, range(self._count), self._workers):
                for problem in batch.skipped:
                    report(problem)
                output = module(batch.to(accelerator.device))
                overlap += overlap_of(batch, output, self._threshold)
                loss += output.loss.item()
        module.train()
        sums = torch.tensor([overlap, loss, self._count], device=accelerator.device)
        overlap, loss, samples = accelerator.reduce(sums, 'sum').tolist()
        return Figures(
            step=step, gIoU=overlap / samples, loss=loss / samples, samples=round(samples)
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """The content of `validation.json`.

    Args:
        newest: The last measurement.
        best: The best one; the checkpoint of its step is kept.
    """

    newest: Figures
    best: Figures

    def write(self, file: Path) -> None:
        """Write the file atomically."""
        write_json(file, dataclasses.asdict(self))


def read_record(file: Path) -> Record | None:
    """Read the record of a training; None if there is none.

    Raises:
        ValueError: The file is damaged; the message says how to fix it.
    """
    if not file.is_file():
        return None
    values: Any = read_json(file)
    try:
        return Record(newest=Figures(**values['newest']), best=Figures(**values['best']))
    except (LookupError, TypeError) as error:
        raise ValueError(
            f'{file} is damaged ({error}): remove it to choose the best model anew'
        ) from error


def overlap_of(batch: Batch, output: LossOutput, threshold: float) -> float:
    """Compute the IoU of a batch of one sample, on the mask branch's canvas."""
    assert output.masks is not None and output.scores is not None
    [target] = batch.targets
    size = target.shape[-2:]

    def restore(logits: torch.Tensor) -> torch.Tensor:
        return functional.interpolate(logits[None], size, mode='bilinear')[0]

    masks, scores = output.masks[0].float(), output.scores[0].float()
    if not scores.isfinite().all():
        return 0.0
    logits, score = best_mask(masks, scores, restore)
    mask = (logits > 0) & (score >= threshold)
    truth = target.any(dim=0)
    return intersection_over_union(mask.cpu().numpy(), truth.cpu().numpy())


_TINT = torch.tensor([255.0, 60.0, 60.0])[:, None, None]


def panel(batch: Batch, output: LossOutput) -> torch.Tensor:
    """Draw a batch's first sample, (3, H, 3 W) uint8: image, target, and the best-scored mask."""
    assert batch.pixel_values is not None
    assert output.masks is not None and output.scores is not None
    image = denormalize(batch.pixel_values[0].cpu())
    target = batch.targets[0].any(dim=0).cpu()
    logits = output.masks[0, output.scores[0].argmax()].float().cpu()
    answer = functional.interpolate(logits[None, None], image.shape[-2:], mode='bilinear')[0, 0]
    parts = [image, _tinted(image, target), _tinted(image, answer > 0)]
    return torch.cat(parts, dim=-1).to(torch.uint8)


def _tinted(image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return torch.where(mask, 0.5 * image + 0.5 * _TINT, image)
