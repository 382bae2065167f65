"""Training recipes: YAML files in which every key is checked."""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml

from instructseg_ros.research.data.dataset import names
from instructseg_ros.research.training.criterion import CriterionConfig
from instructseg_ros.research.training.examples import ExampleConfig

_SHIPPED: Final = Path(__file__).parent / 'recipes'
T = TypeVar('T')


class RecipeError(ValueError):
    """An invalid recipe; the message names the key and says how to fix it."""


def require(config: object, names: str, smallest: int) -> None:
    """Check that numbers of a recipe are not too small.

    Args:
        names: Attributes of `config`, separated by spaces.

    Raises:
        RecipeError: A number is below `smallest`.
    """
    for name in names.split():
        if getattr(config, name) < smallest:
            raise RecipeError(f'{name} must be at least {smallest}, not {getattr(config, name)}')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """Optimisation with AdamW: a linear warm-up, then a cosine decay to 0.

    Args:
        steps: Number of updates of the weights.
        learning_rate: Peak learning rate, reached at the end of the warm-up.
        warmup: Steps of the warm-up; a value below 1 is a share of all steps.
        decay: Share of the steps, counted from the end, in which the rate decays; the warm-up is
            never part of them.
        weight_decay: Weight decay of AdamW.
        clip: Largest norm of the gradients; 0 disables clipping.
        beta2: Decay of AdamW's second moment.
    """

    steps: int
    learning_rate: float
    warmup: float = 0.03
    decay: float = 1.0
    weight_decay: float = 0.0
    clip: float = 0.0
    beta2: float = 0.999

    def __post_init__(self) -> None:
        require(self, 'steps', 1)
        require(self, 'warmup clip', 0)
        if not 0 < self.decay <= 1:
            raise RecipeError(f'decay must be above 0 and at most 1, not {self.decay}')

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        warmup = self.warmup if self.warmup >= 1 else self.warmup * self.steps
        rise = min(1.0, (step + 1) / max(1, math.ceil(warmup)))
        decaying = max(1.0, min(self.decay * self.steps, self.steps - warmup))
        left = min(1.0, (self.steps - step) / decaying)
        return self.learning_rate * rise * 0.5 * (1 - math.cos(math.pi * left))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """Data sets that form one source of batches.

    Args:
        sets: Names of the data sets; see `instructseg data`.
        share: How often a batch comes from this source, relative to the other sources.
        split: Split of each set.
        per_video: Draw a video, then one of its sentences with a target, so that every video is
            equally frequent; false: draw from all sentences.
    """

    sets: tuple[str, ...]
    share: int = 1
    split: str = 'train'
    per_video: bool = False

    def __post_init__(self) -> None:
        for name in self.sets:
            if name not in names():
                known = ', '.join(names())
                raise RecipeError(f'no data set is called {name!r}; choose from {known}')
        if self.share < 1 or not self.sets:
            raise RecipeError('a source needs at least one set and a share of at least 1')


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Low-rank adapters of the language model.

    Args:
        rank: Rank of the adapters; 0 disables them.
        alpha: Their output is scaled by alpha / rank.
        dropout: Dropout on their input.
        targets: Names of the adapted linear layers.
    """

    rank: int = 8
    alpha: int = 16
    dropout: float = 0.05
    targets: tuple[str, ...] = ('q_proj', 'v_proj')


_TRAINED: Final = (
    'language_model.embed_tokens head seg_query perceiver text_fusion pixel_branch.decoder '
    'mask_decoder'
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe(Schedule):
    """Training of a model on data sets; see `Schedule` for the optimisation.

    The defaults are the paper's, from the authors' scripts/seg/train.sh. Gradients are not clipped
    by default: the authors' DeepSpeed configuration, scripts/seg/zero1.json, does not clip either.

    Args:
        sources: Data to train on.
        trained: Parts of the model to train, by the start of their parameters' names; `head` is
            the language model's output layer. All other parts stay frozen.
        lora: Adapters, which are trained too.
        residual_dropout: Dropout in the language model's layers.
        batch: Samples of each process in one forward pass.
        accumulation: Forward passes for one update of the weights.
        precision: `no` or `bf16`, or `fp16` on a GPU.
        gradient_checkpointing: Recompute activations in the backward pass to save memory.
        seed: Seed of every random number.
        save_every, log_every, image_every: Steps between checkpoints, log entries and images.
        save_minutes: Longest time between checkpoints.
        validate_every: Steps between measurements on the `val` splits of the sources, which decide
            which model is kept as the best; 0 disables them.
        validation_samples: Maximum number of samples to measure on, from all `val` splits together.
        examples: Settings of the conversion of samples to examples.
        criterion: Settings of the losses.
    """

    sources: tuple[SourceConfig, ...]
    trained: tuple[str, ...] = tuple(_TRAINED.split())
    lora: LoraConfig = dataclasses.field(default_factory=LoraConfig)
    residual_dropout: float = 0.1
    steps: int = 100_000
    batch: int = 4
    accumulation: int = 1
    learning_rate: float = 4e-5
    precision: str = 'bf16'
    gradient_checkpointing: bool = True
    seed: int = 0
    save_every: int = 500
    log_every: int = 10
    image_every: int = 500
    save_minutes: float = 10.0
    validate_every: int = 0
    validation_samples: int = 100
    examples: ExampleConfig = dataclasses.field(default_factory=ExampleConfig)
    criterion: CriterionConfig = dataclasses.field(default_factory=CriterionConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sources:
            raise RecipeError('a recipe needs at least one source')
        if self.precision not in ('no', 'bf16', 'fp16'):
            raise RecipeError(f'precision must be no, bf16 or fp16, not {self.precision!r}')
        require(self, 'batch accumulation save_every log_every image_every validation_samples', 1)
        require(self, 'validate_every', 0)
        if not self.save_minutes > 0:
            raise RecipeError('save_minutes must be above 0')


def load_recipe(name: str, changes: Mapping[str, str] | None = None) -> Recipe:
    """Read a recipe for training on data sets; see `read_recipe`."""
    return read_recipe(Recipe, name, changes, shipped=_SHIPPED)


def read_recipe(
    cls: type[T], name: str, changes: Mapping[str, str] | None = None, *, shipped: Path
) -> T:
    """Read a recipe from a YAML file.

    Args:
        cls: Dataclass of the recipe; its fields are the known keys.
        name: Name of a recipe in `shipped`, or a YAML file.
        changes: Values that override those of the file, by dotted key, each as YAML.
        shipped: Folder of the recipes in the package.

    Raises:
        RecipeError: There is no such file, or it has an unknown key or a value of a wrong type.
    """
    file = Path(name) if name.endswith(('.yaml', '.yml')) else shipped / f'{name}.yaml'
    try:
        values = _parse(file.read_text(encoding='utf-8-sig'))
    except OSError:
        known = ', '.join(sorted(each.stem for each in shipped.glob('*.yaml')))
        raise RecipeError(f'{file} does not exist; recipes of the package are {known}') from None
    except (UnicodeError, yaml.YAMLError) as error:
        raise RecipeError(f'{file} is not YAML in UTF-8: {error}') from error
    if not isinstance(values, dict):
        raise RecipeError(f'{file}: a recipe must consist of keys with values')
    for key, text in (changes or {}).items():
        _change(values, key, text)
    return _build(cls, values, '')


def _change(values: dict[str, Any], key: str, text: str) -> None:
    *path, last = key.split('.')
    for part in path:
        values = values.setdefault(part, {})
        if not isinstance(values, dict):
            raise RecipeError(f'{key}: {part} is a single value and has no keys')
    try:
        values[last] = _parse(text)
    except yaml.YAMLError as error:
        raise RecipeError(f'{key}: {text!r} is not YAML: {error}') from error


def _parse(text: str) -> Any:
    """Parse YAML and leave its scalars as strings: each setting's type decides how to read them.

    YAML's own rules read `no` as a boolean, `1.10` as a number and `4e-5` as a string.
    """
    return yaml.load(text, yaml.BaseLoader)  # constructs strings, lists and mappings only


def _build(cls: type[T], values: Any, where: str) -> T:
    """Create a dataclass from the values of a YAML file."""
    if not isinstance(values, Mapping):
        wrong = f'keys with values, not {values}' if values else 'keys with values, but is empty'
        raise RecipeError(f'{where.rstrip(".") or "a recipe"} must be {wrong}')
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, 1)
            hint = f': did you mean {near[0]}?' if near else f'; its keys are {", ".join(hints)}'
            raise RecipeError(f'{where}{key} is not a key of a recipe{hint}')
    given = {key: _value(hints[key], value, f'{where}{key}') for key, value in values.items()}
    try:
        return cls(**given)
    except TypeError as error:
        raise RecipeError(f'{where.rstrip(".") or "the recipe"}: {error}') from error


def _value(expected: Any, value: Any, where: str) -> Any:
    if isinstance(expected, types.UnionType):  # an optional part
        expected = typing.get_args(expected)[0]
    if dataclasses.is_dataclass(expected):
        return _build(typing.cast('type[Any]', expected), value, f'{where}.')
    if typing.get_origin(expected) is tuple:
        item = typing.get_args(expected)[0]
        if not isinstance(value, list):
            raise RecipeError(f'{where} must be a list, not {value!r}')
        return tuple(_value(item, each, f'{where}[{i}]') for i, each in enumerate(value))
    if not isinstance(value, str):
        raise RecipeError(f'{where} must be one value, not {value!r}')
    return value if expected is str else _scalar(expected, value, where)


def _scalar(expected: type, text: str, where: str) -> Any:
    """Read a number or a boolean."""
    if expected is float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise RecipeError(f'{where} must be a number, not {text!r}')
        return number
    try:
        value = yaml.safe_load(text)
    except (ValueError, yaml.YAMLError):  # YAML reads 2026-13-01 as a date
        value = text
    if type(value) is not expected:
        raise RecipeError(f'{where} must be of type {expected.__name__}, not {value!r}')
    return value
