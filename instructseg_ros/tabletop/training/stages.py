"""Trains the embedded model stage by stage; every stage goes on where it stopped."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch

from instructseg_ros.model.embedded import MASK_SIZE, SPECIAL_TOKENS, embedded_config, processor_for
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.tabletop.benchmark import CALIBRATION_SEED, calibrate, run_scenes
from instructseg_ros.tabletop.instructions import vocabulary
from instructseg_ros.tabletop.instructions.synonyms import SYNONYMS
from instructseg_ros.tabletop.training import loop as parallel
from instructseg_ros.tabletop.training.encoders import MotionStage, TowerStage
from instructseg_ros.tabletop.training.initial_weights import start_from_model, start_from_nothing
from instructseg_ros.tabletop.training.joint import (
    FinetuneStage,
    JointStage,
    cache_motion,
    cache_pixels,
    cache_tokens,
)
from instructseg_ros.tabletop.training.language import LanguageStage
from instructseg_ros.tabletop.training.loop import Draw, Loop, Loss, saved_step
from instructseg_ros.tabletop.training.pixels import PixelStage
from instructseg_ros.tabletop.training.scene_store import SceneStore, StoreShape, render_scenes
from instructseg_ros.tabletop.training.training_config import Recipe
from instructseg_ros.tabletop.training.word_augmentation import write_instructions
from instructseg_ros.video.run_folder import locked

STAGES: Final = ('tower', 'motion', 'pixels', 'language', 'joint', 'finetune')
# Of a model that is there already: its heads, which no model keeps, the tower, then all of it.
LATER_STAGES: Final = ('heads', 'tower', 'finetune')
_NEEDS: Final = {
    'tower': (),
    'motion': ('tower',),
    'pixels': (),
    'language': ('tower', 'motion'),
    'joint': ('tower', 'motion', 'pixels', 'language'),
    'finetune': ('tower', 'motion', 'pixels', 'language', 'joint'),
}
_LATER_NEEDS: Final = {'heads': (), 'tower': ('heads',), 'finetune': ('heads', 'tower')}
_CALIBRATION_SCENES = 150


class TabletopTraining:
    """One training run in one folder: its scenes, its stages and its model.

    Args:
        processes: renderers side by side.
        start: a model to go on from, by `LATER_STAGES`; None: from nothing, by `STAGES`.
        stages: those to run; none: all.

    Raises:
        ValueError: there is no such stage, or `start` has another shape or other words than the
            embedded model.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        *,
        processes: int,
        start: str | None = None,
        stages: Sequence[str] = (),
    ) -> None:
        self.stages = STAGES if start is None else LATER_STAGES
        self.chosen = stages or self.stages
        if unknown := set(self.chosen) - set(self.stages):
            known = ', '.join(self.stages)
            raise ValueError(f'unknown stages {sorted(unknown)}: choose from {known}')
        # Stages run side by side, one core each: two threads of one process wait for each other.
        torch.set_num_threads(1)
        parallel.join()
        self.folder = folder
        self.recipe = recipe
        self.processes = processes
        self.processor, self.model = _fresh_model(recipe.seed)
        self._needs: Mapping[str, Sequence[str]] = _NEEDS if start is None else _LATER_NEEDS
        if start is not None:
            start_from_model(start, self.processor, self.model)
        self.store = self._rendered()
        self._teacher: LanguageStage | None = None
        self._tower_teacher: TowerStage | None = None

    def run(self) -> None:
        """Run the chosen stages; earlier ones that are finished are loaded.

        `tower` and `pixels` need only the scenes: two processes may train them at the same time.
        After the last stage the score threshold is calibrated and the model is saved.

        Raises:
            ValueError: a stage that another one needs is not finished.
        """
        last = self.chosen[-1]
        for name in self.stages[: self.stages.index(last) + 1]:
            if name in self.chosen:
                self._train(name)
            elif self._file(name).exists():
                self._loop(name)[0].finish()
        if last == self.stages[-1] and parallel.rank() == 0:
            self._save()
        parallel.leave()

    def _train(self, name: str) -> None:
        for need in self._needs[name]:
            if saved_step(self._file(need)) < getattr(self.recipe, need).steps:
                raise ValueError(f'stage {name} needs stage {need}, which is not finished: run it')
        lock = locked(self.folder, name=f'.{name}.lock')  # other stages may be trained meanwhile
        with lock if parallel.rank() == 0 else contextlib.nullcontext():
            loop, draw, loss = self._loop(name)
            loop.run(draw, loss)
        loop.finish()
        parallel.wait()  # for the file, which only the first process writes

    def _loop(self, name: str) -> tuple[Loop, Draw, Loss]:
        makers: dict[str, Callable[[], tuple[Loop, Draw, Loss]]] = {
            'tower': self._tower,
            'motion': self._motion,
            'pixels': self._pixels,
            'language': self._language,
            'joint': self._joint,
            'heads': self._heads,
            'finetune': self._finetune,
        }
        return makers[name]()

    def _tower(self) -> tuple[Loop, Draw, Loss]:
        stage = self._tower_stage().requires_grad_(True)
        loop = Loop(stage, self.recipe.tower, self._file('tower'), seed=1)
        return loop, self._draw(), stage.loss

    def _motion(self) -> tuple[Loop, Draw, Loss]:
        stage = MotionStage(self.model, self.store, cache_tokens(self.model, self.store))
        loop = Loop(stage, self.recipe.motion, self._file('motion'), seed=2)
        return loop, stage.draw, stage.loss

    def _pixels(self) -> tuple[Loop, Draw, Loss]:
        stage = PixelStage(self.model, self.store)
        loop = Loop(stage, self.recipe.pixels, self._file('pixels'), seed=3)
        return loop, self._draw(), stage.loss

    def _language(self) -> tuple[Loop, Draw, Loss]:
        stage = self._language_stage(self.recipe.language_instructions)
        loop = Loop(stage, self.recipe.language, self._file('language'), seed=4)

        def loss(
            indices: np.ndarray, rng: np.random.Generator
        ) -> tuple[torch.Tensor, dict[str, float]]:
            return stage.loss(indices, rng, progress=loop.step / loop.schedule.steps)

        return loop, self._draw(), loss

    def _joint(self) -> tuple[Loop, Draw, Loss]:
        language = self._language_stage(self.recipe.joint_instructions)
        features = cache_pixels(self.model, self.store, self.recipe.joint_scenes)
        stage = JointStage(self.model, language, features, self.store)
        loop = Loop(stage, self.recipe.joint, self._file('joint'), seed=5)
        return loop, self._draw(self.recipe.joint_scenes), stage.loss

    def _heads(self) -> tuple[Loop, Draw, Loss]:
        stage = self._finetune_stage().requires_grad_(False)
        for head in stage.heads():
            head.requires_grad_(True)
        loop = Loop(stage, self.recipe.heads, self._file('heads'), seed=7)
        return loop, self._draw(), stage.loss

    def _finetune(self) -> tuple[Loop, Draw, Loss]:
        stage = self._finetune_stage().requires_grad_(True)
        loop = Loop(stage, self.recipe.finetune, self._file('finetune'), seed=6)
        return loop, self._draw(), stage.loss

    def _tower_stage(self) -> TowerStage:
        """The one tower stage of this run: its teaching heads serve the last stage too."""
        if self._tower_teacher is None:
            self._tower_teacher = TowerStage(self.model, self.store)
        return self._tower_teacher

    def _finetune_stage(self) -> FinetuneStage:
        language = self._language_stage(self.recipe.joint_instructions)
        return FinetuneStage(self.model, language, self._tower_stage(), self.store)

    def _language_stage(self, instructions: int) -> LanguageStage:
        """The one language stage of this run: its teaching heads serve the later stages too."""
        if self._teacher is None and self.stages == LATER_STAGES:
            self._teacher = LanguageStage(self.model, self.store)
        elif self._teacher is None:
            tokens = cache_tokens(self.model, self.store)
            motion = cache_motion(self.model, self.store, tokens)
            self._teacher = LanguageStage(self.model, self.store, tokens[:, -1], motion)
        self._teacher.instructions = instructions
        return self._teacher

    def _rendered(self) -> SceneStore:
        config = self.model.config
        shape = StoreShape(
            first_seed=self.recipe.seed,
            scenes=self.recipe.scenes,
            instructions=self.recipe.instructions,
            vision_size=config.vision_config.image_size,
            mask_size=MASK_SIZE,
        )
        store = SceneStore.create(self.folder / 'scenes', shape)
        if parallel.rank() == 0:
            render_scenes(store, stride=config.reference_stride, processes=self.processes)
            write_instructions(store, self.processor, seed=self.recipe.seed)
        parallel.wait()
        return store

    def _save(self) -> None:
        segmenter = Segmenter(
            self.model, self.processor, name='trained', device=torch.device('cpu')
        )
        scenes = min(_CALIBRATION_SCENES, self.recipe.scenes // 4)
        seeds = range(CALIBRATION_SEED, CALIBRATION_SEED + scenes)
        thresholds = calibrate(run_scenes(segmenter, seeds))
        self.model.config.score_threshold = thresholds.found
        self.model.config.release_threshold = thresholds.release
        self.model.save_pretrained(self.folder / 'model')
        self.processor.save_pretrained(self.folder / 'model')

    def _draw(self, scenes: int | None = None) -> Draw:
        def draw(rng: np.random.Generator, batch: int) -> np.ndarray:
            return rng.choice(scenes or self.recipe.scenes, batch, replace=False)

        return draw

    def _file(self, stage: str) -> Path:
        return self.folder / f'{stage}.safetensors'


def _fresh_model(seed: int) -> tuple[InstructSegProcessor, InstructSegModel]:
    torch.manual_seed(seed)
    words = vocabulary()
    config = embedded_config(len(SPECIAL_TOKENS) + len(words))
    model = InstructSegModel(config)
    start_from_nothing(model)
    return processor_for(config, words, SYNONYMS), model
