from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from small_scenes import taught

from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.tabletop.instructions import INSTRUCTION_CATEGORIES, vocabulary
from instructseg_ros.tabletop.training.scene_store import ANCHORS, TARGETS, SceneStore
from instructseg_ros.tabletop.training.word_augmentation import (
    MAX_ADDED,
    AugmentationRates,
    WordAugmentation,
    Words,
)
from instructseg_ros.tabletop.training.word_vectors import word_vectors

QUIET = AugmentationRates(
    hidden=0,
    replaced=0,
    dropped=0,
    blurred=0,
    extended=0,
    lengthened=0,
    specified=0,
    unknown_noun=0,
)
UNKNOWN, SEG = 1, 2


@pytest.fixture(scope='module')
def names(processor: InstructSegProcessor) -> dict[str, int]:
    names: dict[str, int] = processor.tokenizer.get_vocab()
    return names


def words_of(store: SceneStore, scene: int, number: int) -> Words:
    count = int((store.words[scene, number] > 0).sum())
    return Words(
        ids=store.words[scene, number, :count].astype(np.int64),
        groups=store.groups[scene, number, :count].astype(np.int64),
        groundings=np.array(store.groundings[scene, number, :count]),
    )


def augmented(
    store: SceneStore, rates: AugmentationRates, seed: int = 0
) -> list[tuple[int, Words, Words, np.ndarray, np.ndarray]]:
    """Kind, words before and after, and roles before and after of every instruction."""
    augmentation, rng = WordAugmentation(rates), np.random.default_rng(seed)
    rows = []
    for place in np.ndindex(store.categories.shape):
        before, after = words_of(store, *place), words_of(store, *place)
        kind, roles = int(store.categories[place]), np.array(store.roles[place])
        rows.append((kind, before, after, roles, augmentation.augment(after, roles, kind, rng)))
    return rows


def test_without_augmentation_instructions_stay(store: SceneStore) -> None:
    for _, before, after, roles, meant in augmented(store, QUIET):
        assert before.ids.tolist() == after.ids.tolist()
        assert np.array_equal(before.groundings, after.groundings) and np.array_equal(roles, meant)


def test_words_groups_and_groundings_stay_together(store: SceneStore) -> None:
    for _, before, after, _, _ in augmented(
        store, AugmentationRates(unknown_noun=0, blurred=0), seed=1
    ):
        assert len(after.ids) == len(after.groups) == len(after.groundings)
        assert len(after.ids) <= len(before.ids) + MAX_ADDED
        assert after.ids[-1] == SEG and (after.ids[:-1] != SEG).all() and (after.ids > 0).all()
        grounded, kept = before.groups > 0, after.groups > 0
        assert after.ids[kept].tolist() == before.ids[grounded].tolist()
        assert np.array_equal(after.groundings[kept], before.groundings[grounded])
        assert not after.groundings[~kept].any()


@pytest.mark.parametrize('share', ['hidden', 'replaced', 'dropped'])
def test_only_words_without_a_grounding_are_exchanged(store: SceneStore, share: str) -> None:
    changed = 0
    for _, before, after, roles, meant in augmented(
        store, dataclasses.replace(QUIET, **{share: 1})
    ):
        grounded, kept = before.groups > 0, after.groups > 0
        assert after.ids[kept].tolist() == before.ids[grounded].tolist()
        assert np.array_equal(roles, meant)
        changed += before.ids.tolist() != after.ids.tolist()
    assert changed > 10


def test_thing_is_never_hidden(store: SceneStore, names: dict[str, int]) -> None:
    for _, before, after, _, _ in augmented(store, dataclasses.replace(QUIET, hidden=1)):
        thing = before.ids == names['thing']
        assert (after.ids[thing] == names['thing']).all()


def test_phrases_are_not_split(store: SceneStore) -> None:
    rates = dataclasses.replace(QUIET, extended=1)
    for _, before, after, _, _ in augmented(store, rates):
        assert len(before.ids) < len(after.ids) <= len(before.ids) + 3
        assert before.inside().sum() == after.inside().sum()


def test_the_target_of_an_unknown_noun_is_absent(store: SceneStore) -> None:
    unknown_noun = 0
    for kind, before, after, roles, meant in augmented(
        store, dataclasses.replace(QUIET, unknown_noun=1)
    ):
        if np.array_equal(before.ids, after.ids):
            assert np.array_equal(roles, meant)
            continue
        unknown_noun += 1
        assert kind != list(INSTRUCTION_CATEGORIES).index('use')
        assert meant[TARGETS] == 0 and meant[ANCHORS] == roles[ANCHORS]
        unknown = (after.ids == UNKNOWN) | (after.ids >= len(word_vectors().trained) + 3)
        assert unknown.any() and not after.groundings[unknown].any() and after.groups[unknown].all()
    assert unknown_noun > 20


def test_a_noun_gets_one_more_word(store: SceneStore, names: dict[str, int]) -> None:
    known = {number: word for word, number in names.items()}
    colors = {names[color] for color in ('red', 'blue', 'white')}
    more = 0
    for _, before, after, _, _ in augmented(store, dataclasses.replace(QUIET, specified=1)):
        added = len(after.ids) - len(before.ids)
        assert added in (0, 1)
        more += added
        new = set(after.ids.tolist()) - set(before.ids.tolist())
        assert not new & colors, [known[number] for number in new]
    assert more > 20


def test_a_mirror_exchanges_left_and_right_and_nothing_else(names: dict[str, int]) -> None:
    mirrored = WordAugmentation().mirrored
    endings = ('', 'most', 'ward', 'wards')
    pairs = {(f'left{ending}', f'right{ending}') for ending in endings}
    for one, other in pairs:
        assert mirrored[names[one]] == names[other] and mirrored[names[other]] == names[one]
    sides = {names[word] for pair in pairs for word in pair}
    others = [number for number in names.values() if number not in sides]
    assert mirrored[others].tolist() == others
    known = {word for word in vocabulary() if names[word] not in sides} - {'alright'}
    assert not any('left' in word or 'right' in word for word in known)


def test_the_ids_are_those_of_the_embedded_models_tokenizer(names: dict[str, int]) -> None:
    assert len(WordAugmentation().mirrored) == len(names) == len(taught()[1].tokenizer)


def test_a_clause_that_does_not_matter_is_added_around_the_instruction(store: SceneStore) -> None:
    augmentation = WordAugmentation(dataclasses.replace(QUIET, lengthened=1))
    rng = np.random.default_rng(0)
    for place in np.ndindex(store.categories.shape):
        before, words = words_of(store, *place), words_of(store, *place)
        roles = np.array(store.roles[place])
        meant = augmentation.augment(words, roles, int(store.categories[place]), rng, long=True)
        assert np.array_equal(meant, roles)
        assert len(before.ids) < len(words.ids) <= 64 and words.ids[-1] == SEG
        text = before.ids[:-1].tolist()
        starts = range(len(words.ids) - len(text))
        assert any(words.ids[start : start + len(text)].tolist() == text for start in starts)


def test_words_that_change_the_meaning_are_never_hidden_replaced_or_dropped(
    store: SceneStore, names: dict[str, int]
) -> None:
    rates = dataclasses.replace(QUIET, hidden=0.4, replaced=0.3, dropped=0.3)
    meaningful = [names[word] for word in ('not', 'except', 'other', 'second', 'neither', 'or')]
    seen = 0
    for _, before, after, _, _ in augmented(store, rates):
        for word in meaningful:
            assert (after.ids == word).sum() >= (before.ids == word).sum()
            seen += int((before.ids == word).sum())
    assert seen
