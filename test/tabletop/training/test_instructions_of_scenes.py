from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from instruction_scenes import random_scenes
from small_scenes import filled_store

from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.tabletop.instructions import INSTRUCTION_CATEGORIES
from instructseg_ros.tabletop.training.scene_store import (
    ANCHORS,
    CANDIDATES,
    EXISTS,
    TARGETS,
    SceneStore,
)
from instructseg_ros.tabletop.training.word_augmentation import (
    GROUPS,
    draw_instruction,
    write_instructions,
)

SEG, UNKNOWN = 2, 1
FIXED = len(GROUPS) + 1  # the group of words that must not be exchanged


def test_every_scene_gets_all_its_instructions(store: SceneStore) -> None:
    words = store.words[:].astype(int)
    lengths = (words > 0).sum(axis=-1)
    assert (lengths >= 2).all()
    last = np.take_along_axis(words, lengths[..., None] - 1, axis=-1)
    assert (last == SEG).all()
    assert (np.diff((words > 0).astype(int), axis=-1) <= 0).all()  # padded on the right


def test_no_word_of_training_is_unknown_but_rare_ones_of_paraphrases(store: SceneStore) -> None:
    unknown = store.words[:] == UNKNOWN
    assert (store.groups[:][unknown] == FIXED).all()
    assert unknown.sum() < 0.02 * (store.words[:] > UNKNOWN).sum()


def test_roles_name_things_of_the_scene(store: SceneStore) -> None:
    count = store.objects[:, :, EXISTS].sum(axis=1).astype(int)
    assert (store.roles[:] < 2 ** count[:, None, None]).all()
    targets, candidates = store.roles[..., TARGETS], store.roles[..., CANDIDATES]
    narrowed = np.isin(
        store.categories[:],
        [list(INSTRUCTION_CATEGORIES).index(kind) for kind in ('superlative', 'relation')],
    )
    assert (targets[narrowed] & ~candidates[narrowed] == 0).all()
    anchored = np.isin(
        store.categories[:],
        [
            list(INSTRUCTION_CATEGORIES).index(kind)
            for kind in ('relation', 'proximity', 'negation')
        ],
    )
    assert (store.roles[..., ANCHORS][~anchored] == 0).all()


def test_words_that_point_belong_to_a_group(store: SceneStore) -> None:
    pointing = store.groundings[:].any(axis=-1)
    assert pointing.any()
    assert (store.groups[:][pointing] > 0).all()
    assert store.groups[:].max() <= FIXED
    assert not pointing[store.groups[:] == FIXED].any()
    beyond = store.words[:] == 0
    assert not pointing[beyond].any() and not store.groups[:][beyond].any()


def test_words_point_only_at_things_that_are_there(store: SceneStore) -> None:
    missing = store.objects[:, :, EXISTS] == 0
    assert not store.groundings[:].any(axis=(1, 2))[missing].any()


def test_instructions_are_written_once(tmp_path: Path, processor: InstructSegProcessor) -> None:
    store = filled_store(tmp_path)
    write_instructions(store, processor, seed=3)
    before = store.words[:].copy()
    store.words[0] = 7
    write_instructions(store, processor, seed=4)
    assert (store.words[0] == 7).all()
    assert np.array_equal(store.words[1:], before[1:])


def test_the_seed_decides_about_the_instructions(
    tmp_path: Path, store: SceneStore, processor: InstructSegProcessor
) -> None:
    same, other = filled_store(tmp_path / 'same'), filled_store(tmp_path / 'other')
    write_instructions(same, processor, seed=3)
    write_instructions(other, processor, seed=4)
    assert np.array_equal(same.words, store.words)
    assert not np.array_equal(other.words, store.words)


def test_about_one_target_in_five_is_absent() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_instruction(graph, rng) for graph in random_scenes(100) for _ in range(3)]
    absent = [not instruction.targets for instruction in drawn]
    assert 0.12 < np.mean(absent) < 0.28
    assert {instruction.category for instruction in drawn} == set(INSTRUCTION_CATEGORIES)


def test_no_wording_is_held_out() -> None:
    rng = np.random.default_rng(0)
    graph = random_scenes(1)[0]
    assert not any(draw_instruction(graph, rng).held_out for _ in range(20))


def test_an_empty_scene_gives_no_instruction() -> None:
    with pytest.raises(ValueError, match='no category has an instruction'):
        draw_instruction((), np.random.default_rng(0))
