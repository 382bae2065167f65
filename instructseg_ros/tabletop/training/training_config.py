"""Recipes of the tabletop training: its scenes, and the schedule of every stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from instructseg_ros.research.training.recipe import RecipeError, Schedule, read_recipe, require
from instructseg_ros.tabletop.benchmark import TRAINING_SEED

# In the order in which they run; a recipe has some of them.
STAGES: Final = ('heads', 'tower', 'motion', 'pixels', 'language', 'joint', 'finetune')
_SHIPPED: Final = Path(__file__).parent / 'recipes'


@dataclasses.dataclass(frozen=True, kw_only=True)
class StageConfig(Schedule):
    """Optimisation of one stage.

    Args:
        batch: Number of scenes for one update, over all processes.
        averaging: Decay of the moving average of the weights; the stage ends with that average.
    """

    batch: int
    warmup: float = 100
    decay: float = 0.7
    weight_decay: float = 0.03
    clip: float = 2.0
    beta2: float = 0.98
    averaging: float = 0.998


@dataclasses.dataclass(frozen=True, kw_only=True)
class TabletopRecipe:
    """Scenes and stages of one training; a stage without a configuration does not run.

    Args:
        scenes: Number of rendered scenes.
        instructions: Number of instructions for each scene.
        first_scene: Seed of the first scene; the others count up from it.
        photographs: Folder of photographs that the tables of some scenes show; '': none.
        joint_scenes: Number of scenes whose pixel features are cached for the joint stage.
        language_instructions: Instructions per scene in one step of the language stage.
        joint_instructions: Instructions per scene in one step of the later stages.
        heads: Auxiliary heads of an existing model, which no saved model contains. As in
            `finetune`, only half of each batch gets instructions; the vision tower's own loss uses
            all of it.
        tower: Vision tower, on single frames.
        motion: Perceiver of the reference frames.
        pixels: Pixel branch and mask decoder.
        language: Language model and pointer.
        joint: Everything after the encoders.
        finetune: The whole model.
    """

    scenes: int
    instructions: int
    first_scene: int
    photographs: str = ''
    joint_scenes: int
    language_instructions: int
    joint_instructions: int
    heads: StageConfig | None = None
    tower: StageConfig | None = None
    motion: StageConfig | None = None
    pixels: StageConfig | None = None
    language: StageConfig | None = None
    joint: StageConfig | None = None
    finetune: StageConfig | None = None

    def __post_init__(self) -> None:
        require(self, 'instructions language_instructions joint_instructions', 1)
        if self.first_scene < TRAINING_SEED:
            raise RecipeError(
                f'first_scene must be at least {TRAINING_SEED}: lower seeds are for evaluation'
            )
        if not self.stages:
            raise RecipeError(f'a recipe needs at least one stage of {", ".join(STAGES)}')
        largest = max(self.stage(name).batch for name in self.stages)
        if not largest <= self.joint_scenes <= self.scenes:
            raise RecipeError(
                f'joint_scenes is {self.joint_scenes}: choose at least the largest batch, '
                f'{largest}, and at most scenes, {self.scenes}'
            )

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages of this recipe, in the order in which they run."""
        return tuple(name for name in STAGES if getattr(self, name) is not None)

    def stage(self, name: str) -> StageConfig:
        """Return the optimisation of one of `stages`."""
        config: StageConfig = getattr(self, name)
        return config


def load_tabletop_recipe(name: str, changes: Mapping[str, str] | None = None) -> TabletopRecipe:
    """Read a recipe for the tabletop, see `read_recipe`."""
    return read_recipe(TabletopRecipe, name, changes, shipped=_SHIPPED)
