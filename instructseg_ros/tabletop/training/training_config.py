"""What each stage of the tabletop training sees and how long it trains."""

from __future__ import annotations

import dataclasses
from typing import Final

from instructseg_ros.tabletop.benchmark import TRAINING_SEED
from instructseg_ros.tabletop.training.loop import Schedule


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """Numbers of one training run.

    Args:
        scenes, instructions: rendered scenes and instructions of each.
        seed: of the scenes; scene i is that of seed + i.
        joint_scenes: scenes whose pixel features are cached for the joint stage.
        language_instructions, joint_instructions: instructions of a scene in one step.
        heads, finetune: ask about half of each batch; the tower learns from all of it.
            For a model that is there already, `tower` comes between them.
    """

    scenes: int
    instructions: int
    seed: int
    joint_scenes: int
    language_instructions: int
    joint_instructions: int
    tower: Schedule
    motion: Schedule
    pixels: Schedule
    language: Schedule
    joint: Schedule
    heads: Schedule
    finetune: Schedule


FULL: Final = Recipe(
    scenes=28_000,
    instructions=32,
    seed=TRAINING_SEED,
    joint_scenes=9_000,
    language_instructions=10,
    joint_instructions=8,
    tower=Schedule(steps=2100, batch=48, learning_rate=2e-3),
    motion=Schedule(steps=900, batch=64, learning_rate=2e-3, weight_decay=0.02),
    pixels=Schedule(steps=2400, batch=16, learning_rate=1.5e-3),
    language=Schedule(steps=2600, batch=16, learning_rate=2e-3, clip=1.0, weight_decay=0.02),
    joint=Schedule(steps=1200, batch=12, learning_rate=1e-3, weight_decay=0.02),
    heads=Schedule(steps=250, batch=24, learning_rate=2e-3, warmup=20, decay=0.5, averaging=0.9),
    finetune=Schedule(steps=6000, batch=24, learning_rate=6e-4, warmup=200, weight_decay=0.02),
)
# For a model that a full finetune has made: shorter, at lower rates.
POLISH: Final = dataclasses.replace(
    FULL,
    scenes=40_000,
    tower=Schedule(steps=600, batch=48, learning_rate=1.2e-3),
    finetune=Schedule(steps=2400, batch=24, learning_rate=5e-4, decay=0.8, weight_decay=0.02),
)
SMOKE: Final = Recipe(
    scenes=16,
    instructions=8,
    seed=TRAINING_SEED,
    joint_scenes=16,
    language_instructions=4,
    joint_instructions=4,
    tower=Schedule(steps=3, batch=8, learning_rate=1e-3, warmup=1),
    motion=Schedule(steps=3, batch=8, learning_rate=1e-3, warmup=1),
    pixels=Schedule(steps=3, batch=4, learning_rate=1e-3, warmup=1),
    language=Schedule(steps=3, batch=4, learning_rate=1e-3, warmup=1),
    joint=Schedule(steps=3, batch=4, learning_rate=1e-3, warmup=1),
    heads=Schedule(steps=3, batch=4, learning_rate=1e-3, warmup=1),
    finetune=Schedule(steps=3, batch=4, learning_rate=1e-3, warmup=1),
)
RECIPES: Final = {'full': FULL, 'polish': POLISH, 'smoke': SMOKE}
