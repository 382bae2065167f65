"""Trains the embedded model stage by stage; every stage resumes where it stopped."""

from __future__ import annotations

import dataclasses
import functools
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from instructseg_ros.model.embedded_model import (
    MASK_SIZE,
    SPECIAL_TOKENS,
    embedded_config,
    processor_for,
)
from instructseg_ros.model.model_files import (
    NOUN_WEIGHTS,
    NOUNS,
    find_model,
    model_hash,
    write_manifest,
)
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.research.training.trainer import (
    Trainer,
    claim_training,
    make_accelerator,
    saved_step,
)
from instructseg_ros.tabletop.calibration import calibrate_model
from instructseg_ros.tabletop.instructions import look_alikes, object_nouns, synonyms
from instructseg_ros.tabletop.training.encoder_stages import (
    MotionStage,
    TowerStage,
    cache_motion,
    cache_tokens,
)
from instructseg_ros.tabletop.training.initial_weights import (
    initialize_from_model,
    initialize_from_scratch,
)
from instructseg_ros.tabletop.training.joint_stages import FinetuneStage, JointStage
from instructseg_ros.tabletop.training.language_stage import LanguageStage
from instructseg_ros.tabletop.training.losses import Stage
from instructseg_ros.tabletop.training.pixel_stage import PixelStage, cache_pixels
from instructseg_ros.tabletop.training.scene_store import SceneStore, StoreShape, render_scenes
from instructseg_ros.tabletop.training.training_config import STAGES, StageConfig, TabletopRecipe
from instructseg_ros.tabletop.training.word_augmentation import write_instructions
from instructseg_ros.tabletop.training.word_vectors import (
    all_words,
    bake_vectors,
    join_vectors,
    word_vectors,
)
from instructseg_ros.video.run_folder import locked, make_folder

# The earlier stages that a stage needs; stages that are not listed need all earlier ones.
_NEEDS: Final = {'pixels': (), 'language': ('tower', 'motion')}
_CALIBRATION_SCENES = 150


class TabletopTraining:
    """One training in one folder: its scenes, its stages and its model.

    Attributes:
        processor: Processor of the model.
        model: The model; most stages train only parts of it.
    """

    def __init__(
        self,
        folder: Path,
        recipe: TabletopRecipe,
        *,
        processes: int,
        start: str | None = None,
        stages: Sequence[str] = (),
    ) -> None:
        """Initialise the model, and render those scenes that the folder still lacks.

        Args:
            processes: Number of renderers that run in parallel.
            start: Model to train further; None: a new one.
            stages: Stages to run; empty: all of the recipe.

        Raises:
            NotADirectoryError: The folder is a file.
            ValueError: A stage is unknown, the folder contains different scenes, or `start` differs
                from the embedded model in architecture or words.
        """
        self._stages = recipe.stages
        self._chosen = stages or self._stages
        if unknown := set(self._chosen) - set(self._stages):
            known = ', '.join(self._stages)
            raise ValueError(f'unknown stages {sorted(unknown)}: choose from {known}')
        make_folder(folder)
        self._accelerator = make_accelerator('bf16', cpu=True)
        self._folder = folder
        self._recipe = recipe
        self.processor, self.model = _fresh_model(recipe.first_scene)
        self._start = {'model': 'from scratch', 'weights': 'random'}
        self._start_folder: Path | None = None
        learned = None
        if start is not None:
            learned = initialize_from_model(start, self.processor, self.model)
            self._start_folder = found = find_model(start)
            self._start = {'model': str(found), 'weights': model_hash(found)}
        join_vectors(self.model.language_model.embed_tokens, learned)
        self._store = self._rendered(processes)

    def run(self) -> None:
        """Run the chosen stages, and load the checkpoints of earlier ones that are not chosen.

        From scratch, `tower` and `pixels` need only the scenes: two processes may train them in
        parallel. After the last stage, the score thresholds are calibrated and the model is saved.

        Raises:
            LockError: Another process trains a chosen stage.
            ValueError: A chosen stage needs an earlier one that is not finished, or the folder
                contains a stage of another recipe or start model.
        """
        last = max(self._stages.index(name) for name in self._chosen)
        for name in self._stages[: last + 1]:
            if name in self._chosen:
                self._train(name)
            elif saved_step(self._folder / name):
                self._trainer(name).finish()
        if last == len(self._stages) - 1 and self._accelerator.is_main_process:
            self._save()
        self._accelerator.end_training()  # without it, torch may abort the process at exit

    def _train(self, name: str) -> None:
        earlier = self._stages[: self._stages.index(name)]
        for need in set(_NEEDS.get(name, earlier)) & set(self._stages):
            if saved_step(self._folder / need) < self._recipe.stage(need).steps:
                raise ValueError(f'stage {name} needs stage {need}, which is not finished: run it')
        # One lock for each stage, so that other stages may be trained in parallel.
        with locked(self._folder / name, first=self._accelerator.is_main_process):
            trainer = self._trainer(name)
            trainer.run()
            trainer.finish()

    def _trainer(self, name: str) -> Trainer:
        """Create the trainer of a stage, which loads the newest checkpoint, if any."""
        config = self._recipe.stage(name)
        if self._accelerator.is_main_process:
            settings = dataclasses.asdict(self._recipe)
            common = {key: each for key, each in settings.items() if key not in STAGES}
            own = {key: each for key, each in settings[name].items() if key != 'steps'}
            claim_training(self._folder / name, {**self._start, **common, **own})
        seed = STAGES.index(name) + 1
        torch.manual_seed(seed)  # auxiliary heads start with random weights
        stage = self._stage(name)
        return Trainer(
            self._accelerator,
            stage,
            config,
            functools.partial(self._batches, stage, config, seed),
            self._folder / name,
            seed=seed,
            averaging=config.averaging,
        )

    def _batches(
        self, stage: Stage, config: StageConfig, seed: int, steps: range
    ) -> Iterator[tuple[Any, ...]]:
        """Yield this process's share of each step's scenes, which all processes draw alike."""
        rank, count = self._accelerator.process_index, self._accelerator.num_processes
        for step in steps:
            drawn = stage.draw(np.random.default_rng((seed, step)), config.batch)
            rng = np.random.default_rng((seed, step, rank))
            yield np.sort(drawn[rank::count]), rng, step / config.steps

    def _stage(self, name: str) -> Stage:
        model, store, recipe = self.model, self._store, self._recipe
        if name == 'tower':
            return self._tower.requires_grad_(True)
        if name == 'motion':
            return MotionStage(model, store, cache_tokens(model, store))
        if name == 'pixels':
            return PixelStage(model, store)
        language = self._language
        language.instructions = recipe.joint_instructions
        if name == 'language':
            language.instructions = recipe.language_instructions
            return language
        if name == 'joint':
            scenes = recipe.joint_scenes
            features = cache_pixels(model, store, scenes)
            return JointStage(model, language, store, features=features, scenes=scenes)
        stage = FinetuneStage(model, language, self._tower, store)
        stage.requires_grad_(name == 'finetune')
        for head in stage.heads():
            head.requires_grad_(True)
        return stage

    @functools.cached_property
    def _tower(self) -> TowerStage:
        """The tower stage; `heads` and `finetune` use its auxiliary heads too."""
        return TowerStage(self.model, self._store)

    @functools.cached_property
    def _language(self) -> LanguageStage:
        """The language stage; `joint`, `heads` and `finetune` use its auxiliary head too."""
        if not {'language', 'joint'} & set(self._stages):
            return LanguageStage(self.model, self._store)
        tokens = cache_tokens(self.model, self._store)
        motion = cache_motion(self.model, self._store, tokens)
        return LanguageStage(self.model, self._store, tokens[:, -1], motion)

    def _rendered(self, processes: int) -> SceneStore:
        """Open the scene store, and add the scenes and instructions that it lacks."""
        config = self.model.config
        shape = StoreShape(
            first_seed=self._recipe.first_scene,
            scenes=self._recipe.scenes,
            instructions=self._recipe.instructions,
            vision_size=config.vision_config.image_size,
            mask_size=MASK_SIZE,
            photographs=self._recipe.photographs,
        )
        store = SceneStore.create(self._folder / 'scenes', shape)
        if self._accelerator.is_main_process:
            render_scenes(store, stride=config.reference_stride, processes=processes)
            write_instructions(store, self.processor, seed=self._recipe.first_scene)
        self._accelerator.wait_for_everyone()
        return store

    def _save(self) -> None:
        """Calibrate the model, and write it."""
        bake_vectors(self.model.language_model.embed_tokens)
        segmenter = Segmenter(
            self.model, self.processor, name='trained', device=torch.device('cpu')
        )
        scenes = min(_CALIBRATION_SCENES, self._recipe.scenes // 4)
        for name, value in calibrate_model(segmenter, scenes=scenes).settings().items():
            setattr(self.model.config, name, value)
        self.model.save_pretrained(self._folder / 'model')
        self.processor.save_pretrained(self._folder / 'model')
        for name in (NOUN_WEIGHTS, NOUNS):  # this training does not change what photographs get
            if self._start_folder and (self._start_folder / name).is_file():
                shutil.copy(self._start_folder / name, self._folder / 'model' / name)
        write_manifest(self._folder / 'model')


def _fresh_model(seed: int) -> tuple[InstructSegProcessor, InstructSegModel]:
    torch.manual_seed(seed)
    words = all_words()
    config = embedded_config(len(SPECIAL_TOKENS) + len(words))
    model = InstructSegModel(config)
    initialize_from_scratch(model)
    processor = processor_for(
        config,
        words,
        synonyms(),
        look_alikes(),
        trained_words=len(word_vectors().trained),
        object_words=len(word_vectors().objects),
        nouns=object_nouns(),
    )
    return processor, model
