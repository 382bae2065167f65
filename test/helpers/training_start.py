"""What a training of a tiny model begins with."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from instructseg_ros.research.training.recipe import LoraConfig, Recipe, load_recipe
from instructseg_ros.research.training.smoke import make_sets, write_tiny_model


@dataclasses.dataclass(frozen=True)
class Start:
    """A recipe, the folder of a model and those of its data sets."""

    recipe: Recipe
    model: Path
    folders: dict[str, Path]


def make_start(folder: Path) -> Start:
    """Without dropout, whose draws differ from process to process."""
    recipe = dataclasses.replace(
        load_recipe('smoke'), lora=LoraConfig(dropout=0.0), residual_dropout=0.0
    )
    write_tiny_model(folder / 'model', ['the red circle', 'what has four corners?'])
    config = folder / 'model' / 'config.json'
    config.write_text(config.read_text().replace('"drop_path_rate": 0.1', '"drop_path_rate": 0.0'))
    return Start(recipe, folder / 'model', make_sets(recipe, folder / 'data'))
