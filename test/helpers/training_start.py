"""The start of a training of a tiny model."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from benchmark_samples import make_sample

from instructseg_ros.research.training.recipe import LoraConfig, Recipe, load_recipe
from instructseg_ros.research.training.smoke import write_tiny_model

# The sources of the paper's recipe, as `--set` takes them.
SOURCES = (
    'sources=[{sets: [refcoco, refcoco+, refcocog]}, {sets: [llava]}, '
    '{sets: [ref-youtube-vos, ref-davis17]}, {sets: [reasonseg]}, {sets: [revos], per_video: true}]'
)


@dataclasses.dataclass(frozen=True)
class Start:
    """A recipe, the folder of a model and those of its data sets."""

    recipe: Recipe
    model: Path
    folders: dict[str, Path]


def make_start(folder: Path) -> Start:
    """Without dropout, whose draws differ from process to process."""
    recipe = dataclasses.replace(
        load_recipe('smoke', dict([SOURCES.split('=', 1)])),
        lora=LoraConfig(dropout=0.0),
        residual_dropout=0.0,
    )
    write_tiny_model(folder / 'model', ['the red circle', 'what has four corners?'])
    config = folder / 'model' / 'config.json'
    config.write_text(config.read_text().replace('"drop_path_rate": 0.1', '"drop_path_rate": 0.0'))
    names = [name for source in recipe.sources for name in source.sets]
    folders = {name: make_sample(name, folder / 'data' / name) for name in names}
    return Start(recipe, folder / 'model', folders)
