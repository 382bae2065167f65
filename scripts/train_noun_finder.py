"""Trains the weights of `NounNetwork` on photographs with masks, and writes nouns.safetensors.

Usage: python scripts/train_noun_finder.py WEIGHTS MASKS SCENES MODEL

WEIGHTS  The authors' EfficientNet-Lite0, efficientnet-lite0-57934424.pth.
MASKS    Folder with index.json: a list of {"file": NAME, "complete": true, "objects": [{"value": V,
         "noun": NOUN}]}, NAME.jpg, and NAME.png with the value of each object, 0 for the background
         and 255 for pixels that do not count. "complete" says that every object is labelled whose
         noun occurs in the complete entries. Photographs without objects need no NAME.png.
SCENES   Folder `scenes` of a tabletop training: its images are no photographs.
MODEL    Folder with nouns.json, in which the weights are stored in half precision.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional
from tqdm import trange

from instructseg_ros.model.model_files import NOUN_WEIGHTS, NOUNS
from instructseg_ros.model.noun_finder import NounFinder, NounNetwork
from instructseg_ros.model.noun_query import NounReader
from instructseg_ros.model.pixel_branch import resize
from instructseg_ros.model.processor import denormalize, normalize
from instructseg_ros.research.training.criterion import dice_loss
from instructseg_ros.tabletop.training.scene_store import SceneStore

SIZE: Final = (336, 448)
CELLS: Final = (11, 14)
STEPS, BATCH, RATE = 2300, 8, 2e-3
MIN_SHARE = 0.01  # of a picture that an object fills
VISIBLE = 0.02  # share from which an object counts as visible
REAL_SHARE = 0.7  # of the evidence that comes from the classifier
IGNORED = 255
RIVALS = 10  # absent nouns for each photograph that calibrates the scores
MAX_MISTAKEN = 0.002  # share of renderings that may be taken for photographs
MAX_ABSENT = 0.01  # share of absent nouns that may count as found
KIND_IMAGES = 2000  # images of each kind that decide what a photograph is


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """A photograph (3, H, W) with the truth (H, W): 1 object, 0 background, 2 unknown."""

    image: torch.Tensor
    truth: torch.Tensor
    noun: str


class Examples:
    """Photographs with masks; all objects with one noun are one target."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.rows: list[tuple[str, dict[str, list[int]]]] = []
        self.complete: list[tuple[str, dict[str, list[int]]]] = []
        for entry in json.loads((folder / 'index.json').read_text()):
            nouns: dict[str, list[int]] = defaultdict(list)
            for one in entry['objects']:
                nouns[one['noun'] or f'?{one["value"]}'].append(one['value'])
            self.rows.append((entry['file'], dict(nouns)))
            if entry.get('complete'):
                self.complete.append(self.rows[-1])

    def draw(self, rng: np.random.Generator) -> Example:
        """Draw a random part of a photograph with one large enough target."""
        while True:
            file, nouns = self.rows[int(rng.integers(len(self.rows)))]
            if not nouns:
                continue
            values = np.asarray(Image.open(self._folder / f'{file}.png'))
            large = [n for n in nouns if np.isin(values, nouns[n]).mean() > MIN_SHARE]
            if large:
                noun = large[int(rng.integers(len(large)))]
                truth = np.where(values == IGNORED, 2, np.isin(values, nouns[noun]))
                return _augmented(self.photograph(file), truth.astype(np.uint8), noun, rng)

    def share(self, file: str, values: list[int]) -> float:
        """Return the share of a photograph that the objects with these values fill."""
        return float(np.isin(np.asarray(Image.open(self._folder / f'{file}.png')), values).mean())

    def photograph(self, file: str) -> Image.Image:
        """Read a photograph."""
        return Image.open(self._folder / f'{file}.jpg').convert('RGB')


def _augmented(
    image: Image.Image, truth: np.ndarray, noun: str, rng: np.random.Generator
) -> Example:
    """Cut out a part that keeps half of the target, mirror it, and change its light."""
    box = (0, 0, *image.size)
    for _ in range(8):
        width, height = (int(side * rng.uniform(0.5, 1)) for side in image.size)
        left = int(rng.integers(image.width - width + 1))
        top = int(rng.integers(image.height - height + 1))
        part = truth[top : top + height, left : left + width]
        if (part == 1).sum() > 0.5 * (truth == 1).sum():
            box = (left, top, left + width, top + height)
            break
    size = SIZE[::-1]
    pixels = np.asarray(image.resize(size, Image.Resampling.BILINEAR, box), np.float32)
    labels = np.asarray(Image.fromarray(truth).resize(size, Image.Resampling.NEAREST, box))
    if rng.random() < 0.5:
        pixels, labels = pixels[:, ::-1], labels[:, ::-1]
    light = rng.uniform(0.7, 1.3) * rng.uniform(0.92, 1.08, 3)
    noise = rng.normal(0, rng.uniform(0, 8), pixels.shape)
    pixels = np.clip(pixels * light + noise, 0, 255).astype(np.float32)
    return Example(
        image=torch.from_numpy(pixels).permute(2, 0, 1),
        truth=torch.from_numpy(labels.copy()),
        noun=noun,
    )


def load_classifier(weights: Path) -> NounNetwork:
    """Return a network with the authors' classifier: batch norms become part of convolutions."""
    network = NounNetwork()
    state = torch.load(weights, weights_only=True, map_location='cpu')
    names = [*state]
    # The authors' tensors are in the order of execution, as ours are.
    convolutions = [*network.backbone.modules(), network.hidden]
    targets = [each for each in convolutions if isinstance(each, nn.Conv2d)]
    sources = [name for name in names if 'conv' in name and name.endswith('.weight')]
    for target, source in zip(targets, sources, strict=True):
        norm = names[names.index(source) + 1].removesuffix('.weight')
        _fold(target, state[source], {k: state[f'{norm}.{k}'] for k in NORM})
    _accept_normalized(network.backbone.stem)
    network.classifier.weight.data = state['_fc.weight'][:, :, None, None]
    network.classifier.bias.data = state['_fc.bias']
    for frozen in (network.backbone, network.hidden, network.classifier, network.photograph):
        frozen.requires_grad_(False)
    return network.to(memory_format=torch.channels_last)


NORM: Final = ('weight', 'bias', 'running_mean', 'running_var')
EPSILON = 1e-3  # of the authors' batch norms


@torch.no_grad()
def _fold(target: nn.Conv2d, weight: torch.Tensor, norm: dict[str, torch.Tensor]) -> None:
    gain = norm['weight'] / torch.sqrt(norm['running_var'] + EPSILON)
    target.weight.copy_(weight * gain[:, None, None, None])
    target.bias.copy_(norm['bias'] - norm['running_mean'] * gain)


@torch.no_grad()
def _accept_normalized(stem: nn.Conv2d) -> None:
    """Make the first convolution expect `normalize`d pixels instead of (pixels - 127) / 128."""
    zero = (denormalize(torch.zeros(3, 1, 1)) - 127) / 128
    scale = (denormalize(torch.ones(3, 1, 1)) - denormalize(torch.zeros(3, 1, 1))) / 128
    stem.bias += (stem.weight * zero).sum((1, 2, 3))
    stem.weight *= scale


def train_head(network: NounNetwork, reader: NounReader, examples: Examples) -> None:
    """Train the head that turns evidence into a mask."""
    rng = np.random.default_rng(0)
    trained = [each for each in network.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    for _ in (progress := trange(STEPS, desc='masks')):
        batch = [examples.draw(rng) for _ in range(BATCH)]
        loss = _loss(network, reader, batch, rng)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        progress.set_postfix(loss=f'{float(loss.detach()):.3f}', refresh=False)


def _loss(
    network: NounNetwork, reader: NounReader, batch: Sequence[Example], rng: np.random.Generator
) -> torch.Tensor:
    pixels = normalize(torch.stack([each.image for each in batch]))
    with torch.no_grad():
        maps = network.backbone(pixels.contiguous(memory_format=torch.channels_last))
        seen = network.classes(network.cells(maps))
    size = maps[0].shape[-2:]
    evidence = [
        _evidence(reader, one, classes, rng) for one, classes in zip(batch, seen, strict=True)
    ]
    with torch.autocast('cpu', torch.bfloat16):
        features = network.features(maps)
        logits = network.segment(features, torch.cat([resize(e, size) for e in evidence])).float()
    truth = torch.stack([each.truth for each in batch])[:, None]
    wanted = functional.avg_pool2d((truth == 1).float(), 4)
    counted = (functional.avg_pool2d((truth == 2).float(), 4) < 0.5).float()
    entropy = functional.binary_cross_entropy_with_logits(logits, wanted, reduction='none')
    known = torch.where(counted > 0, logits, -20.0).flatten(2)
    return (entropy * counted).mean() + dice_loss(known, (wanted * counted).flatten(2)).mean()


def _evidence(
    reader: NounReader, one: Example, classes: torch.Tensor, rng: np.random.Generator
) -> torch.Tensor:
    """Return (1, 1, h, w) evidence: the classifier's, or parts of the true mask."""
    query = reader.read(one.noun)
    if query is not None and rng.random() < REAL_SHARE:
        found = classes[list(query.classes)].sum(0)[None, None]
        if found.max() > 0.12:
            return found
    share = functional.adaptive_avg_pool2d((one.truth == 1).float()[None, None], CELLS)
    parts = torch.from_numpy(rng.random((1, 1, 4, 5)) < 0.55).float()
    seen = 0.15 + resize(parts, CELLS)
    return share * seen * float(rng.uniform(0.5, 1)) + torch.rand(share.shape) * 0.06


def fit_kind(network: NounNetwork, examples: Examples, scenes: SceneStore) -> None:
    """Fit the layer that tells photographs from renderings, by logistic regression."""
    rng = np.random.default_rng(1)
    finder = NounFinder(network, NounReader({}), torch.device('cpu'))
    chosen = rng.choice(len(examples.rows), KIND_IMAGES, replace=False)
    photographs = [finder.summary(examples.photograph(examples.rows[i][0])) for i in chosen]
    drawn = rng.choice(scenes.shape.scenes, KIND_IMAGES, replace=False)
    rendered = [finder.summary(Image.fromarray(scenes.image[i])) for i in drawn]
    weight, bias = logistic(torch.cat([*rendered, *photographs]), KIND_IMAGES, decay=1e-3)
    # Real tables look most like rendered ones, so the bias allows for some errors on those.
    bias -= torch.quantile(torch.cat(rendered) @ weight + bias, 1 - MAX_MISTAKEN)
    network.photograph.weight.data, network.photograph.bias.data = weight[None], bias[None]


def calibrate(network: NounNetwork, reader: NounReader, examples: Examples) -> None:
    """Choose the score that counts as found, and fit how much other scores say.

    One in a hundred absent nouns may reach the threshold. The factor of the log-odds is fitted to
    nouns that are there and to the most plausible of the absent nouns.
    """
    present, rivals, absent = [], [], []
    for own, others in _judged(network, reader, examples):
        present.append(own)
        rivals.append(max(others))
        absent += others
    log_odds = torch.tensor([*rivals, *present]).logit(eps=1e-4)[:, None]
    factor, _ = logistic(log_odds, len(rivals), decay=0.0)
    threshold = float(np.quantile(absent, 1 - MAX_ABSENT))
    network.calibration.copy_(torch.tensor([float(factor), threshold]))


def _judged(
    network: NounNetwork, reader: NounReader, examples: Examples
) -> Iterator[tuple[float, list[float]]]:
    """Yield the score of a noun that is in a photograph, and those of some that are not."""
    rng = np.random.default_rng(2)
    finder = NounFinder(network, reader, torch.device('cpu'))
    names = sorted({noun for _, nouns in examples.complete for noun in nouns if reader.read(noun)})
    for file, nouns in examples.complete:
        there = [n for n in nouns if n in names and examples.share(file, nouns[n]) > VISIBLE][:1]
        absent = [noun for noun in rng.choice(names, RIVALS) if noun not in nouns]
        if there and absent:
            queries = [reader.read(noun) for noun in (*there, *absent)]
            own, *others = finder.scores(examples.photograph(file), queries)
            yield own, others


def logistic(x: torch.Tensor, negatives: int, *, decay: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Fit (D,) weights and a bias to rows x (N, D), of which the first ones are negative."""
    truth = torch.ones(len(x))
    truth[:negatives] = 0
    mean, spread = x.mean(0), x.std(0) + 0.05
    weight = torch.zeros(x.shape[1], requires_grad=True)
    bias = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.Adam([weight, bias], lr=0.01)
    for _ in range(800):
        logits = (x - mean) / spread @ weight + bias
        loss = functional.binary_cross_entropy_with_logits(logits, truth)
        loss = loss + decay * (weight**2).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scaled = (weight / spread).detach()
    return scaled, (bias - (scaled * mean).sum()).detach()


def main(weights: str, masks: str, scenes: str, model: str) -> None:
    """Train everything, and write the weights."""
    network, examples = load_classifier(Path(weights)), Examples(Path(masks))
    reader = NounReader(json.loads((Path(model) / NOUNS).read_text()))
    train_head(network, reader, examples)
    fit_kind(network, examples, SceneStore.open(Path(scenes)))
    calibrate(network, reader, examples)
    state = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    save_file(state, Path(model) / NOUN_WEIGHTS)


if __name__ == '__main__':
    main(*sys.argv[1:])
