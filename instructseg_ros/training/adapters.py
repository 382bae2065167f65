"""Which weights learn: low-rank adapters and chosen parts, while the others rest (spec 6)."""

from __future__ import annotations

from torch import nn

from instructseg_ros.training.learner import Learner
from instructseg_ros.training.recipe import LoraConfig, Recipe, RecipeError


def choose_weights(learner: Learner, recipe: Recipe) -> None:
    """Add the recipe's adapters, and let them and the parts that it names learn.

    Raises:
        RecipeError: the model has no part of a name.
    """
    for layer in learner.model.language_model.layers:
        layer.resid_dropout.p = recipe.residual_dropout
    if recipe.lora.rank:
        _add_adapters(learner.model.language_model, recipe.lora)
    names = dict.fromkeys(recipe.trained, False)
    for name, parameter in learner.named_parameters():
        part = next((each for each in names if _belongs(name, each)), None)
        parameter.requires_grad_(part is not None or '.lora_' in name)
        if part is not None:
            names[part] = True
    missing = [name for name, found in names.items() if not found and name != 'head']
    if missing:
        parts = ', '.join(sorted({name for name, _ in learner.model.named_children()}))
        raise RecipeError(f'trained: the model has no {missing[0]!r}; its parts are {parts}')


def merge_adapters(module: nn.Module) -> None:
    """Put what adapters learned into the weights that they adapt, and remove them."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, BaseTunerLayer):
                child.merge()
                setattr(parent, name, child.get_base_layer())


def _add_adapters(language_model: nn.Module, config: LoraConfig) -> None:
    import peft

    adapters = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=list(config.targets),
        bias='none',
    )
    try:
        peft.inject_adapter_in_model(adapters, language_model)
    except ValueError as error:
        raise RecipeError(f'lora.targets: {error}') from error


def _belongs(name: str, part: str) -> bool:
    inner = name.removeprefix('model.')
    return inner == part or inner.startswith((f'{part}.', f'{part}_'))
