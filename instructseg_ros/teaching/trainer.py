"""Trains the heads of taught nouns on composed pictures, on a CPU, within minutes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from instructseg_ros.model.noun_finder import NounNetwork, to_pixels
from instructseg_ros.model.processor import stretch_levels
from instructseg_ros.model.taught_network import AROUND, TaughtNetwork, TaughtNoun, View, view_of
from instructseg_ros.teaching.backgrounds import Background
from instructseg_ros.teaching.composer import MIN_PIXELS, Composer, Composite
from instructseg_ros.teaching.examples import Example

_SIZE: Final = (448, 336)  # (width, height) of a training picture of the pixel head
_RATE: Final = 2e-3
_BATCH: Final = 2
_CLIP: Final = 1.0
_VIEWED: Final = 2 / 3  # composed pictures whose objects train the view head, per step
_FEWEST_VIEWED: Final = 20
_MAX_VIEWS: Final = 8000  # mirrored ones included
_VIEW_PASSES: Final = 40
_VIEW_RATE: Final = 2e-3
_VIEW_BATCH: Final = 64
_VIEW_NOISE: Final = 0.2  # added to features, in standard deviations
_THRESHOLDS: Final = (0.45, 0.75)  # range of the view head's thresholds
_VALIDATED: Final = 24  # composed pictures that choose the best step
_VALIDATE_EVERY: Final = 50
HELD_OUT: Final = 6  # of so many examples, one is held out for validation

_T = TypeVar('_T')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a teaching is.

    Attributes:
        stage: `pictures`, `views`, `pixels`, `interrupted`, or `training` for a fine-tuning.
        done: Share of the stage that is done, 0 to 1.
        iou: Mean IoU of the pixel head on the held-out pictures so far; None before the first.
    """

    stage: str
    done: float
    iou: float | None = None


class HeadTrainer:
    """Trains the heads for some nouns.

    Args:
        backbone: The frozen network that the heads read.
        names: The taught nouns.
        examples: Examples of all of them.
        backgrounds: Pictures without them.
        steps: Steps of the pixel head; the view head trains in proportion.
        seed: Seed of everything that is random.
        checkpoint: File that keeps the pixel head, so that a killed training resumes; None: no
            file.
    """

    def __init__(
        self,
        backbone: NounNetwork,
        names: Sequence[str],
        examples: Sequence[Example],
        backgrounds: Sequence[Background],
        *,
        steps: int = 900,
        seed: int = 0,
        checkpoint: Path | None = None,
    ) -> None:
        torch.manual_seed(seed)
        self._rng = np.random.default_rng(seed)
        self._names = tuple(names)
        self._steps = steps
        self._checkpoint = checkpoint
        self._examples = examples
        nouns = [TaughtNoun(name=name) for name in names]
        self.network = TaughtNetwork(nouns, backbone.requires_grad_(False).eval())
        kept, held_out = split(examples, names)
        train, validation = hold_out(backgrounds)
        self._composer = Composer(kept, names, train, self._rng)
        # Other objects teach the view head more than empty backgrounds.
        full = [each for each in train if each.labels.any()]
        self._crowded = Composer(kept, names, full or train, self._rng)
        others = Composer(held_out, names, validation or train, np.random.default_rng(seed + 1))
        self._validation = [others.draw() for _ in range(_VALIDATED)]

    def run(self, report: Callable[[Progress], None]) -> TaughtNetwork:
        """Train both heads and fit their thresholds; an interruption keeps the best so far.

        Args:
            report: Receives the progress, several times a second.
        """
        self._train_views(report)
        try:
            self._train_pixels(report)
        except KeyboardInterrupt:
            report(Progress(stage='interrupted', done=1.0))
        self.network.nouns = tuple(self._calibrated(index) for index in range(len(self._names)))
        return self.network

    def _train_views(self, report: Callable[[Progress], None]) -> None:
        """Fit the view head, a regression on features that are computed once."""
        parts: list[torch.Tensor] = []
        names: list[int] = []
        count = max(_FEWEST_VIEWED, round(_VIEWED * self._steps))
        for number in range(count):
            pairs = [*_views(self._crowded.draw(), self._rng)]
            views = [view for view, _ in pairs]
            # Features at once: thousands of views would fill a small robot's memory.
            parts.append(self.network.view_features([*views, *map(_mirrored, views)]))
            names += 2 * [name for _, name in pairs]
            report(Progress(stage='views', done=0.9 * (number + 1) / count))
            if len(names) >= _MAX_VIEWS:
                break
        features = torch.cat(parts)
        head = self.network.views
        head.mean.copy_(features.mean(0))
        head.spread.copy_(features.std(0) + 1e-4)
        self._fit(features, torch.tensor(names))
        report(Progress(stage='views', done=1.0))

    def _fit(self, features: torch.Tensor, names: torch.Tensor) -> None:
        head = self.network.views
        counts = torch.bincount(names, minlength=head.name.out_features)
        rare = 1 / counts.clamp(min=1).float()
        optimizer = torch.optim.AdamW(head.parameters(), _VIEW_RATE, weight_decay=0.3)
        steps = _VIEW_PASSES * math.ceil(len(features) / _VIEW_BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _VIEW_RATE, total_steps=steps)
        for _ in range(_VIEW_PASSES):
            for rows in torch.randperm(len(features)).split(_VIEW_BATCH):
                noise = _VIEW_NOISE * head.spread * torch.randn_like(features[rows])
                loss = functional.cross_entropy(
                    head(features[rows] + noise),
                    names[rows],
                    weight=rare / rare.mean(),
                    label_smoothing=0.02,
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()

    def _train_pixels(self, report: Callable[[Progress], None]) -> None:
        """Train the pixel head; keep the weights with the best IoU on held-out pictures."""
        head = self.network.pixels
        start = self._resume()
        best, weights = -1.0, head.state_dict()  # the newest ones until the first measurement
        if start:
            best, weights = self._validate(), _copied(head)
        optimizer = torch.optim.AdamW(head.parameters(), _RATE, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=self._steps)
        optimizer.step()  # Does nothing without gradients; the schedule warns if it comes first.
        for _ in range(start):
            schedule.step()
        try:
            for step in range(start, self._steps):
                self._step(optimizer)
                schedule.step()
                if (step + 1) % _VALIDATE_EVERY == 0 or step + 1 == self._steps:
                    iou = self._validate()
                    if iou >= best:
                        best = iou
                        weights = _copied(head)
                    self._save(step + 1)
                shown = best if best >= 0 else None
                report(Progress(stage='pixels', done=(step + 1) / self._steps, iou=shown))
        finally:
            head.load_state_dict(weights)

    def _step(self, optimizer: torch.optim.Optimizer) -> None:
        batch = [_cropped(self._composer.draw(), self._rng) for _ in range(_BATCH)]
        logits = self.network.pixel_logits(to_pixels([image for image, _ in batch]))
        loss = _pixel_loss(logits, torch.from_numpy(np.stack([names for _, names in batch])))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.pixels.parameters(), _CLIP)
        optimizer.step()

    @torch.no_grad()
    def _validate(self) -> float:
        """Return the mean IoU of the pixel head over the nouns on the held-out pictures."""
        both = np.zeros((2, 1 + len(self._names)))
        for composite in self._validation:
            image = Image.fromarray(composite.image).resize(_SIZE, Image.Resampling.BILINEAR)
            names = Image.fromarray(composite.names).resize(
                tuple(side // 4 for side in _SIZE), Image.Resampling.NEAREST
            )
            logits = self.network.pixel_logits(to_pixels([np.asarray(stretch_levels(image))]))
            found, wanted = logits[0].argmax(0).numpy(), np.asarray(names)
            for name in range(both.shape[1]):
                both[0, name] += ((found == name) & (wanted == name)).sum()
                both[1, name] += ((found == name) | (wanted == name)).sum()
        return float((both[0, 1:] / np.maximum(both[1, 1:], 1)).mean())

    def _resume(self) -> int:
        """Load the pixel head of a killed training, if it fits; return the steps it had taken."""
        file = self._checkpoint
        if file is None or not file.is_file():
            return 0
        saved = load_file(file)
        step = int(saved.pop('step'))
        self.network.pixels.load_state_dict(saved)
        return min(step, self._steps)

    def _save(self, step: int) -> None:
        if self._checkpoint is not None:
            state = {**self.network.pixels.state_dict(), 'step': torch.tensor(step)}
            part = self._checkpoint.with_suffix('.part')
            save_file(state, part)
            part.replace(self._checkpoint)

    def _calibrated(self, index: int) -> TaughtNoun:
        """Return a noun with thresholds that few other objects of the held-out pictures reach."""
        noun = self.network.nouns[index]
        wrong = self._view_mistakes(index)
        view = float(np.clip(np.quantile(wrong, 0.995) if len(wrong) else 0, *_THRESHOLDS))
        containing = [each for each in self._examples if each.union(noun.name).any()]
        return dataclasses.replace(noun, view_threshold=view, examples=len(containing))

    @torch.no_grad()
    def _view_mistakes(self, index: int) -> np.ndarray:
        """Return the probabilities that objects of other names are called by a noun."""
        pairs = [
            pair for each in self._validation for pair in _views(each, np.random.default_rng(0))
        ]
        features = self.network.view_features([view for view, _ in pairs])
        found = self.network.views(features).softmax(1)[:, 1 + index].numpy()
        names = np.array([name for _, name in pairs])
        return np.asarray(found[names != 1 + index])


def _copied(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: each.clone() for name, each in module.state_dict().items()}


def split(examples: Sequence[Example], names: Sequence[str]) -> tuple[list[Example], list[Example]]:
    """Split examples into those to train with and those that choose the best step.

    Every sixth example of each name is held out; where there are fewer, all examples are both.
    """
    held_out: set[int] = set()
    for name in names:
        having = [i for i, each in enumerate(examples) if each.union(name).any()]
        held_out.update(having[HELD_OUT - 1 :: HELD_OUT])
    kept = [each for i, each in enumerate(examples) if i not in held_out]
    chosen = [examples[i] for i in sorted(held_out)]
    missing = set(names) - {one.name for each in chosen for one in each.objects}
    return (kept, chosen) if not missing else (list(examples), list(examples))


def hold_out(items: Sequence[_T]) -> tuple[list[_T], list[_T]]:
    """Split items into those to train with and every sixth one, to validate with."""
    held_out = list(items[HELD_OUT - 1 :: HELD_OUT])
    return [each for i, each in enumerate(items) if i % HELD_OUT != HELD_OUT - 1], held_out


def _views(composite: Composite, rng: np.random.Generator) -> Iterator[tuple[View, int]]:
    """Yield the view of each object that is visible enough, and its number among the names."""
    image = stretch_levels(Image.fromarray(composite.image))
    values, counts = np.unique(composite.objects, return_counts=True)
    for value, count in zip(values, counts, strict=True):
        if value and count >= MIN_PIXELS:
            mask = composite.objects == value
            name = int(np.bincount(composite.names[mask]).argmax())
            yield view_of(image, mask, AROUND * rng.uniform(0.85, 1.15)), name


def _mirrored(view: View) -> View:
    return View(image=view.image[:, ::-1].copy(), mask=view.mask[:, ::-1].copy())


def _cropped(composite: Composite, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Cut out a random part; return (336, 448, 3) pixels and the names (336, 448) of them."""
    height, width = composite.names.shape
    share = rng.uniform(0.6, 1.0)
    wide = int(min(width, height * _SIZE[0] / _SIZE[1]) * share)
    high = int(wide * _SIZE[1] / _SIZE[0])
    left, top = int(rng.integers(width - wide + 1)), int(rng.integers(height - high + 1))
    box = (left, top, left + wide, top + high)
    image = Image.fromarray(composite.image).resize(_SIZE, Image.Resampling.BILINEAR, box)
    names = Image.fromarray(composite.names).resize(_SIZE, Image.Resampling.NEAREST, box)
    return np.asarray(stretch_levels(image)), np.array(names)


def _pixel_loss(logits: torch.Tensor, names: torch.Tensor) -> torch.Tensor:
    """Return cross entropy plus the mean Dice loss of the taught nouns.

    Args:
        logits: (B, 1 + K, h, w).
        names: (B, 4 h, 4 w) uint8.
    """
    count = logits.shape[1]
    truth = functional.one_hot(names.long(), count).permute(0, 3, 1, 2).float()
    share = functional.avg_pool2d(truth, 4)
    entropy = -(share * logits.log_softmax(1)).sum(1).mean()
    found = logits.softmax(1)[:, 1:]
    both = (found * share[:, 1:]).sum((0, 2, 3))
    all_of = found.sum((0, 2, 3)) + share[:, 1:].sum((0, 2, 3))
    return entropy + (1 - (2 * both + 1) / (all_of + 1)).mean()
