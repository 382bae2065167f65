"""Training recipes: YAML files whose every key is known."""

from __future__ import annotations

import dataclasses
import difflib
import math
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml

from instructseg_ros.research.data.registry import names
from instructseg_ros.research.training.criterion import CriterionConfig
from instructseg_ros.research.training.examples import ExampleConfig

_SHIPPED: Final = Path(__file__).parent / 'recipes'
T = TypeVar('T')


class RecipeError(ValueError):
    """A recipe is not one; the message names the key and the remedy."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """Data sets that are drawn from as one.

    Args:
        sets: names, see `instructseg data`.
        share: how often a batch comes from them, relative to the other sources.
        split: of each set.
        per_video: a video is drawn, then one of its sentences with a target, so that each video
            comes equally often; false: a sentence is.
    """

    sets: tuple[str, ...]
    share: int = 1
    split: str = 'train'
    per_video: bool = False

    def __post_init__(self) -> None:
        for name in self.sets:
            if name not in names():
                raise RecipeError(f'no data set is called {name!r}; there are {", ".join(names())}')
        if self.share < 1 or not self.sets:
            raise RecipeError('a source has at least one set, and a share from 1 on')


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Low-rank adapters of the language model.

    Args:
        rank: of the adapters; 0: none.
        alpha: their output is scaled by alpha / rank.
        dropout: of their input.
        targets: names of the linear layers.
    """

    rank: int = 8
    alpha: int = 16
    dropout: float = 0.05
    targets: tuple[str, ...] = ('q_proj', 'v_proj')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is trained; the defaults are the paper's (spec 6).

    Args:
        sources: what is learned from.
        trained: parts of the model that learn, by the start of their parameters' names; `head` is
            the language model's for text. All others rest.
        lora: adapters, which learn too.
        residual_dropout: in the language model's layers.
        steps: updates of the weights.
        batch: samples of each process in one pass.
        accumulation: passes of one update.
        learning_rate: the highest; it rises over `warmup` and falls along a cosine to 0.
        warmup: share of the steps.
        weight_decay: of AdamW.
        clip: greatest norm of the gradients; 0: they are not clipped, as by the authors, whose
            DeepSpeed configuration scripts/seg/zero1.json says nothing of it.
        precision: `no` or `bf16`, or `fp16` on a GPU.
        gradient_checkpointing: compute activations twice to keep fewer of them.
        seed: of everything that is drawn.
        save_every, log_every, picture_every: steps.
        save_minutes: time between checkpoints at most, so that slow steps lose minutes, not hours.
        validate_every: steps between measurements on the `val` splits of the sources, after which
            the best model is kept; 0: never.
        validation_samples: of all `val` splits together that are measured on at most.
        examples: how samples are made into examples.
        criterion: the losses.
    """

    sources: tuple[SourceConfig, ...]
    trained: tuple[str, ...] = (
        'language_model.embed_tokens',
        'head',
        'seg_query',
        'perceiver',
        'text_fusion',
        'pixel_branch.decoder',
        'mask_decoder',
    )
    lora: LoraConfig = dataclasses.field(default_factory=LoraConfig)
    residual_dropout: float = 0.1
    steps: int = 100_000
    batch: int = 4
    accumulation: int = 1
    learning_rate: float = 4e-5
    warmup: float = 0.03
    weight_decay: float = 0.0
    clip: float = 0.0
    precision: str = 'bf16'
    gradient_checkpointing: bool = True
    seed: int = 0
    save_every: int = 500
    log_every: int = 10
    picture_every: int = 500
    save_minutes: float = 10.0
    validate_every: int = 0
    validation_samples: int = 100
    examples: ExampleConfig = dataclasses.field(default_factory=ExampleConfig)
    criterion: CriterionConfig = dataclasses.field(default_factory=CriterionConfig)

    def __post_init__(self) -> None:
        if not self.sources:
            raise RecipeError('a recipe has at least one source')
        if self.precision not in ('no', 'bf16', 'fp16'):
            raise RecipeError(f'precision is no, bf16 or fp16, not {self.precision!r}')
        for name in (
            'steps',
            'batch',
            'accumulation',
            'save_every',
            'log_every',
            'picture_every',
            'validation_samples',
        ):
            if getattr(self, name) < 1:
                raise RecipeError(f'{name} is a whole number from 1 on')
        if self.validate_every < 0:
            raise RecipeError('validate_every is a whole number from 0 on; 0: never')
        if not self.save_minutes > 0:
            raise RecipeError('save_minutes is a number above 0')
        if self.clip < 0:
            raise RecipeError(f'clip is a number from 0 on, and 0 for none, not {self.clip}')


def load_recipe(name: str, changes: Mapping[str, str] | None = None) -> Recipe:
    """Read a recipe.

    Args:
        name: of one that comes with the package, or a YAML file.
        changes: values in place of the file's, by dotted key, each as YAML.

    Raises:
        RecipeError: there is none, or it has a key that no recipe has, or a value of a wrong kind.
    """
    file = Path(name) if name.endswith(('.yaml', '.yml')) else _SHIPPED / f'{name}.yaml'
    try:
        values = _parse(file.read_text(encoding='utf-8-sig'))
    except OSError:
        there = ', '.join(sorted(each.stem for each in _SHIPPED.glob('*.yaml')))
        raise RecipeError(f'{file} is not there; recipes of the package are {there}') from None
    except (UnicodeError, yaml.YAMLError) as error:
        raise RecipeError(f'{file} is not YAML in UTF-8: {error}') from error
    if not isinstance(values, dict):
        raise RecipeError(f'{file}: a recipe is keys with values')
    for key, text in (changes or {}).items():
        _change(values, key, text)
    return _build(Recipe, values, '')


def _change(values: dict[str, Any], key: str, text: str) -> None:
    *path, last = key.split('.')
    for part in path:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            raise RecipeError(f'{key}: {part} has no keys of its own')
    try:
        values[last] = _parse(text)
    except yaml.YAMLError as error:
        raise RecipeError(f'{key}: {text!r} is not YAML: {error}') from error


def _parse(text: str) -> Any:
    """YAML whose scalars stay texts: the type of a setting decides how its text is read.

    YAML by itself takes `no` for a truth value, `1.10` for a number and `4e-5` for a text.
    """
    return yaml.load(text, yaml.BaseLoader)  # constructs texts, lists and mappings only


def _build(cls: type[T], values: Any, where: str) -> T:
    """A dataclass from the values of a YAML file."""
    if not isinstance(values, Mapping):
        wrong = f'keys with values, not {values}' if values else 'empty: give it keys with values'
        raise RecipeError(f'{where.rstrip(".") or "a recipe"} is {wrong}')
    kinds = typing.get_type_hints(cls)
    for key in values:
        if key not in kinds:
            near = difflib.get_close_matches(str(key), kinds, 1)
            hint = f': did you mean {near[0]}?' if near else f'; there are {", ".join(kinds)}'
            raise RecipeError(f'{where}{key} is not a key of a recipe{hint}')
    given = {key: _value(kinds[key], value, f'{where}{key}') for key, value in values.items()}
    try:
        return cls(**given)
    except TypeError as error:
        raise RecipeError(f'{where.rstrip(".") or "the recipe"}: {error}') from error


def _value(kind: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _build(typing.cast('type[Any]', kind), value, f'{where}.')
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        if not isinstance(value, list):
            raise RecipeError(f'{where} is a list, not {value!r}')
        return tuple(_value(item, each, f'{where}[{i}]') for i, each in enumerate(value))
    if not isinstance(value, str):
        raise RecipeError(f'{where} is one value, not {value!r}')
    return value if kind is str else _scalar(kind, value, where)


def _scalar(kind: type, text: str, where: str) -> Any:
    """A number or a truth value."""
    if kind is float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise RecipeError(f'{where} is a number, not {text!r}')
        return number
    try:
        value = yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):  # YAML takes 2026-13-01 for a date
        value = text
    if type(value) is not kind:
        raise RecipeError(f'{where} is of type {kind.__name__}, not {value!r}')
    return value
