"""Smoke test of training: trains a tiny model on synthetic data; all losses must fall."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
import yaml
from safetensors.torch import save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from instructseg_ros.model.checkpoints import quiet
from instructseg_ros.model.configuration import InstructSegConfig
from instructseg_ros.model.model_files import HEAD, HEAD_FILE
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.processor import InstructSegProcessor, ProcessorConfig
from instructseg_ros.model.tasks import CHAT, EXPLAIN, RELEASED, SEG_TOKEN
from instructseg_ros.research.data.dataset import data_set
from instructseg_ros.research.data.sample import Sample
from instructseg_ros.research.training.recipe import Recipe
from instructseg_ros.research.training.train import build_training_model, read_source, train

_END: Final = '<|endoftext|>'
_CANVAS: Final = (128, 128)
_CONFIG: Final = """
num_latents: 8
perceiver_layers: 2
perceiver_heads: 2
perceiver_head_dim: 16
fusion_width: 32
fusion_layers: 2
fusion_heads: 2
fusion_head_dim: 16
vision_config: {hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2,
  num_attention_heads: 2, image_size: 84, patch_size: 14, vision_use_head: false}
text_config: {hidden_size: 64, intermediate_size: 128, num_hidden_layers: 2,
  num_attention_heads: 4, partial_rotary_factor: 0.4, max_position_embeddings: 1024,
  pad_token_id: null}
mask_config: {feature_size: 64, mask_feature_size: 32, hidden_dim: 64, encoder_layers: 1,
  encoder_feedforward_dim: 64, decoder_layers: 4, dim_feedforward: 128, num_attention_heads: 4,
  num_queries: 4, backbone_config: {model_type: swin, image_size: 128, embed_dim: 16,
  depths: [1, 1, 2, 1], num_heads: [1, 2, 2, 4], window_size: 4, drop_path_rate: 0.1,
  out_features: [stage1, stage2, stage3, stage4]}}
"""


def write_tiny_model(folder: Path, texts: Iterable[str], *, seed: int = 0) -> None:
    """Write a model with random weights, its output layer for text, and its processor.

    Args:
        texts: Texts that the tokenizer is trained on.
    """
    tokenizer = _tokenizer([*texts, *RELEASED.values(), CHAT, EXPLAIN])
    sizes: dict[str, Any] = yaml.safe_load(_CONFIG)
    sizes['text_config']['vocab_size'] = len(tokenizer)
    config = InstructSegConfig(**sizes)
    torch.manual_seed(seed)
    model = InstructSegModel(config)
    # The authors start at zero, which would make all mask tokens of an untrained model equal.
    torch.nn.init.normal_(model.seg_query, std=0.02)
    with quiet():
        model.save_pretrained(folder)
    inputs = ProcessorConfig.from_model(config, mask_size=_CANVAS, prompts=RELEASED)
    InstructSegProcessor(tokenizer, inputs).save_pretrained(folder)
    head = torch.randn(len(tokenizer), config.text_config.hidden_size) * 0.02
    save_file({HEAD: head}, folder / HEAD_FILE)


def _tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer, like that of Phi."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=[_END, SEG_TOKEN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=_END, bos_token=_END, unk_token=_END, pad_token=_END
    )


Curves = dict[str, list[tuple[int, float]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """Result of a smoke test.

    Args:
        falls: For each loss, its mean over the first batch of each source, and its mean over the
            last third of its steps.
        changed: For each trained part and for the adapters, whether all weight tensors changed.
        frozen_unchanged: Whether every other weight is bit for bit the same.
    """

    falls: Mapping[str, tuple[float, float]]
    changed: Mapping[str, bool]
    frozen_unchanged: bool

    @property
    def passed(self) -> bool:
        """Return whether all losses fell, and exactly the trained weights changed."""
        falling = all(last < first for first, last in self.falls.values())
        return falling and all(self.changed.values()) and self.frozen_unchanged

    def __str__(self) -> str:
        lines = [f'{name:40} {a:8.3f} -> {b:8.3f}' for name, (a, b) in self.falls.items()]
        for name, changed in self.changed.items():
            lines.append(f'{name:40} {"trained" if changed else "NOT TRAINED"}')
        lines.append(f'{"frozen weights":40} {"same" if self.frozen_unchanged else "CHANGED"}')
        return '\n'.join(lines)


def smoke(recipe: Recipe, output: Path) -> Report:
    """Train a tiny model by a recipe, on a synthetic version of each of its data sets.

    Args:
        output: Folder for data sets, model and checkpoints; an interrupted training resumes.

    Raises:
        ValueError: The output already has a finished training.
    """
    if (output / 'model').exists():
        raise ValueError(f'{output} has a finished training: remove it or name another --output')
    folders = make_sets(recipe, output / 'data')
    start = output / 'start'
    samples = [read_source(source, folders).samples for source in recipe.sources]
    write_tiny_model(start, [text for each in chain(*samples) for text in _texts(each)])
    train(recipe, start, folders, output)
    changed, frozen_unchanged = _compare(recipe, start, output / 'model')
    falls = _falls(read_curves(output))
    return Report(falls=falls, changed=changed, frozen_unchanged=frozen_unchanged)


def make_sets(recipe: Recipe, folder: Path) -> dict[str, Path]:
    """Write a synthetic version of each data set of a recipe, and return their folders.

    Raises:
        ValueError: A data set has no synthetic form.
    """
    names = [name for source in recipe.sources for name in source.sets]
    folders = {name: folder / name for name in names}
    for name, place in folders.items():
        make_sample = data_set(name).make_sample
        if make_sample is None:
            raise ValueError(f'there is no synthetic {name}: use the recipe "smoke"')
        make_sample(place, 0)
    return folders


def read_curves(output: Path) -> Curves:
    """Read the log of a training: (step, value) pairs by name."""
    events = EventAccumulator(str(output / 'logs'), {'scalars': 0})
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()['scalars']
    }


def _falls(curves: Curves) -> dict[str, tuple[float, float]]:
    """Return start and end of each source's total loss, and of each loss part over all sources."""
    parts: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for tag, curve in curves.items():
        source, _, part = tag.rpartition('/')
        if source == 'validation':
            continue
        if source and part == 'loss':
            parts[f'{source} loss'] = curve
        elif source:
            parts[part] += curve
    sources = sum(name.endswith(' loss') for name in parts)
    return {name: _ends(sorted(curve), sources) for name, curve in sorted(parts.items())}


def _ends(curve: list[tuple[int, float]], sources: int) -> tuple[float, float]:
    values = [value for _, value in curve]
    first = [value for step, value in curve if step < sources]
    return float(np.mean(first)), float(np.mean(values[-max(1, len(values) // 3) :]))


def _compare(recipe: Recipe, start: Path, end: Path) -> tuple[dict[str, bool], bool]:
    """Return whether each trained part changed, and whether all other weights are the same."""
    plain = dataclasses.replace(recipe, lora=dataclasses.replace(recipe.lora, rank=0))
    before, after = build_training_model(plain, start), build_training_model(plain, end)
    changed: dict[str, bool] = defaultdict(lambda: True)
    frozen_unchanged = True
    for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True):
        part = next((each for each in recipe.trained if f'.{each}' in f'.{name}'), None)
        if part is None and any(f'.{target}.weight' in name for target in recipe.lora.targets):
            part = 'adapters' if 'language_model' in name else None
        if part is None:
            frozen_unchanged &= torch.equal(old, new)
        else:
            changed[part] &= not torch.equal(old, new)
    return dict(changed), frozen_unchanged


def _texts(sample: Sample) -> Iterator[str]:
    yield from sample.instructions
    yield sample.explanation
    for turn in sample.turns:
        yield from (turn.question, turn.answer)
