"""The model with its losses, and the choice of the weights that are trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import distributed, nn
from torch.nn import functional

from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.prompt_builder import IGNORED
from instructseg_ros.model.stage_outputs import InstructSegOutput, VisualContext
from instructseg_ros.research.training.criterion import Criterion, Draws, MaskLosses, RandomDraws
from instructseg_ros.research.training.examples import Batch
from instructseg_ros.research.training.recipe import LoraConfig, Recipe, RecipeError
from instructseg_ros.research.training.trainer import FrozenStatistics, LossOutput


class TrainingModel(FrozenStatistics):
    """A model and its losses as one module, for every type of batch.

    Attributes:
        model: The model to train.
        head: The language model's output layer, with (rows, D) weights and no bias; None if the
            model generates no text.
        criterion: Losses of masks and scores.
    """

    def __init__(
        self, model: InstructSegModel, criterion: Criterion, head: nn.Linear | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.head = head
        self.criterion = criterion

    def forward(self, batch: Batch, draws: Sequence[Draws] | None = None) -> LossOutput:
        """Compute the losses of a batch.

        The parts are `words` (the loss of text), and `score`, `mask` and `dice` of the final
        prediction; for earlier predictions, these names end in `_0`, `_1`, ...

        Args:
            draws: Random points of each prediction; None: drawn with the batch's seeds.
        """
        tokens = self.model.encode_frame(batch.vision_values)
        if batch.pixel_values is None:
            return self._converse(tokens, batch)
        references = self._references(batch)
        context = self.model.perceive(tokens, references, batch.prompt)
        reasoning = self.model.reason(context, batch.prompt, output_layers=True)
        features = self.model.encode_pixels(batch.pixel_values)
        output = self.model.decode(reasoning, features)
        losses = self._mask_losses(output, batch, draws)
        parts = _named(losses)
        loss = self.criterion.total(losses)
        assert reasoning.states is not None
        start = batch.prompt.read_from
        words = self._word_loss(reasoning.states[:, 0], batch.labels[:, start:])
        if words is not None:
            loss, parts['words'] = loss + words, words
        final = output.final
        return LossOutput(
            loss=loss,
            parts=parts,
            masks=final.mask_logits[:, 0].detach(),
            scores=final.score_logits[:, 0].detach(),
        )

    def _references(self, batch: Batch) -> torch.Tensor | None:
        values = batch.reference_values
        if values is None:
            return None
        tokens = self.model.encode_frame(values.flatten(0, 1))
        return tokens.unflatten(0, values.shape[:2])

    def _converse(self, tokens: torch.Tensor, batch: Batch) -> LossOutput:
        context = VisualContext(image_tokens=tokens, reference_tokens=None)
        start, rest = self.model.assemble(context, batch.prompt)
        embeddings = torch.cat([start, rest[:, 0]], dim=1)
        states = self.model.language_model.prefill(embeddings)[-1]
        words = self._word_loss(states, batch.labels)
        if words is None:
            raise ValueError('conversations need a model with an output layer for text')
        return LossOutput(loss=words, parts={'words': words})

    def _mask_losses(
        self, output: InstructSegOutput, batch: Batch, draws: Sequence[Draws] | None
    ) -> list[MaskLosses]:
        if draws is None:
            points = RandomDraws(batch.seeds)
            draws = [points] * len(output.predictions)
        count = sum(len(target) for target in batch.targets)
        num_masks = max(1.0, _mean_over_processes(count, batch.vision_values.device))
        return self.criterion(output.predictions, batch.targets, draws, num_masks)

    def _word_loss(self, states: torch.Tensor, labels: torch.Tensor) -> torch.Tensor | None:
        """Compute the mean cross entropy of labelled tokens over all processes.

        None without such tokens or without `head`.
        """
        if self.head is None:
            return None
        said = labels != IGNORED
        count = _mean_over_processes(int(said.sum()), labels.device)
        if not count:
            return None
        logits = self.head(states[said].to(self.head.weight.dtype)).float()
        return functional.cross_entropy(logits, labels[said], reduction='sum') / count


def _mean_over_processes(count: int, device: torch.device) -> float:
    if not distributed.is_initialized():
        return float(count)
    total = torch.tensor(float(count), device=device)
    distributed.all_reduce(total)
    return total.item() / distributed.get_world_size()


def _named(losses: Sequence[MaskLosses]) -> dict[str, torch.Tensor]:
    endings = [f'_{index}' for index in range(len(losses) - 1)] + ['']
    return {
        f'{name}{ending}': value
        for each, ending in zip(losses, endings, strict=True)
        for name, value in vars(each).items()
    }


def choose_weights(training_model: TrainingModel, recipe: Recipe) -> None:
    """Add a recipe's adapters, and freeze all except these and the parts that the recipe trains.

    Raises:
        RecipeError: The model has no such part.
    """
    for layer in training_model.model.language_model.layers:
        layer.resid_dropout.p = recipe.residual_dropout
    if recipe.lora.rank:
        _add_adapters(training_model.model.language_model, recipe.lora)
    names = dict.fromkeys(recipe.trained, False)
    for name, parameter in training_model.named_parameters():
        part = next((each for each in names if _belongs(name, each)), None)
        parameter.requires_grad_(part is not None or '.lora_' in name)
        if part is not None:
            names[part] = True
    missing = [name for name, found in names.items() if not found and name != 'head']
    if missing:
        parts = ', '.join(sorted({name for name, _ in training_model.model.named_children()}))
        raise RecipeError(f'trained: the model has no {missing[0]!r}; its parts are {parts}')


def merge_adapters(module: nn.Module) -> None:
    """Merge adapters into the weights that they adapt."""
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
