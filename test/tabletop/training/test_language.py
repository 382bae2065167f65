from __future__ import annotations

import numpy as np
import pytest
import torch
from small_models import released_model

from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.tabletop.instructions import INSTRUCTION_CATEGORIES
from instructseg_ros.tabletop.training import language_stage
from instructseg_ros.tabletop.training.language_stage import (
    InstructionBatch,
    LanguageStage,
    read_instructions,
    word_prompt,
)
from instructseg_ros.tabletop.training.losses import centre_cells
from instructseg_ros.tabletop.training.scene_store import EXISTS, TARGETS, SceneStore
from instructseg_ros.tabletop.training.word_augmentation import AugmentationRates, WordAugmentation

INDICES = np.array([2, 5, 9])
NUMBERS = np.array([[0, 3], [5, 1], [2, 4]])
SEG = 2


def stage(model: InstructSegModel, store: SceneStore, instructions: int = 3) -> LanguageStage:
    generator = np.random.default_rng(0)
    shape = (store.shape.scenes, model.config.image_tokens, model.config.hidden_size)
    tokens, motion = generator.normal(size=(2, *shape)).astype(np.float16)
    made = LanguageStage(model, store, tokens, motion)
    made.instructions = instructions
    return made


def test_instructions_are_read_as_stored(store: SceneStore, taught_model: InstructSegModel) -> None:
    batch = read_instructions(store, INDICES, NUMBERS, taught_model, None)
    words = store.words[INDICES[:, None], NUMBERS]
    length = int((words > 0).sum(axis=-1).max())
    assert batch.groundings.shape == (3, 2, length, 14) and batch.groups.shape == (3, 2, length)
    for scene in range(3):
        for number in range(2):
            bits = int(store.roles[INDICES[scene], NUMBERS[scene, number], TARGETS])
            said = batch.roles[scene, number, TARGETS].tolist()
            assert said == [float(bits >> slot & 1) for slot in range(14)]
    expected = store.groundings[INDICES[:, None], NUMBERS][:, :, :length] / 255
    np.testing.assert_allclose(batch.groundings.numpy(), expected, atol=1e-6)
    assert batch.groundings.dtype == torch.float32
    assert batch.cells.tolist() == centre_cells(store.objects[INDICES], 4).tolist()


def test_augmented_instructions_are_worded_differently_and_mean_the_same(
    store: SceneStore, taught_model: InstructSegModel
) -> None:
    plain = read_instructions(store, INDICES, NUMBERS, taught_model, None)
    before = store.words[INDICES[:, None], NUMBERS].copy()
    changed = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        batch = read_instructions(store, INDICES, NUMBERS, taught_model, rng)
        changed += batch.prompt.input_ids.tolist() != plain.prompt.input_ids.tolist()
        kept = batch.roles[:, :, TARGETS].any(dim=-1)
        assert torch.equal(batch.roles[kept], plain.roles[kept])
        assert torch.equal(batch.cells, plain.cells)
        assert batch.groups.shape == batch.groundings.shape[:-1]
    assert changed > 15
    assert np.array_equal(store.words[INDICES[:, None], NUMBERS], before)


def test_mirrored_instructions_belong_to_the_mirror_image(
    store: SceneStore, taught_model: InstructSegModel
) -> None:
    plain = read_instructions(store, INDICES, NUMBERS, taught_model, None)
    mirrored = read_instructions(store, INDICES, NUMBERS, taught_model, None, mirrored=True)
    assert torch.equal(mirrored.roles, plain.roles) and torch.equal(
        mirrored.groundings, plain.groundings
    )
    there = torch.from_numpy(store.objects[INDICES, :, EXISTS] > 0)
    assert torch.equal(mirrored.cells[there] // 4, plain.cells[there] // 4)
    assert torch.equal(mirrored.cells[there] % 4, 3 - plain.cells[there] % 4)


def test_a_prompt_of_words_is_the_processors_prompt(
    taught_model: InstructSegModel, processor: InstructSegProcessor
) -> None:
    texts = [['the red mug', 'where is the ball'], ['the mug', 'all the blue balls on the table']]
    expected = processor.prompt(texts)
    rows = [[[*processor.tokenizer(text)['input_ids'], SEG] for text in frame] for frame in texts]
    length = max(len(row) for frame in rows for row in frame)
    words = torch.tensor([[row + [0] * (length - len(row)) for row in frame] for frame in rows])
    prompt = word_prompt(words, taught_model)
    assert torch.equal(prompt.input_ids, expected.input_ids)
    assert torch.equal(prompt.refer_mask, expected.refer_mask)
    assert prompt.prefix_length == expected.prefix_length


def test_values_of_things_land_on_their_cells() -> None:
    cells = torch.zeros(1, 14, dtype=torch.long)
    cells[0, :3] = torch.tensor([5, 2, 5])
    batch = InstructionBatch(
        prompt=None,  # type: ignore[arg-type]
        roles=torch.zeros(0),
        cells=cells,
        groundings=torch.zeros(0),
        groups=torch.zeros(0),
    )
    values = torch.zeros(1, 2, 14)
    values[0, 0, :3] = torch.tensor([0.25, 1.0, 0.75])
    at = batch.at_cells(values, 6)
    assert at.shape == (1, 2, 6)
    assert at[0, 0].tolist() == [0, 0, 1, 0, 0, 0.75]  # the larger one where two share a cell
    assert not at[0, 1].any()


def test_a_batch_has_different_instructions_of_a_scene(
    store: SceneStore, taught_model: InstructSegModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With a noun that becomes unknown an instruction would mean nothing.
    augmentation = WordAugmentation(AugmentationRates(unknown_noun=0))
    monkeypatch.setattr(language_stage, 'default_augmentation', lambda: augmentation)
    everything = stage(taught_model, store, instructions=6)
    batch = everything.draw_instructions(INDICES, np.random.default_rng(0), progress=1.0)
    for scene, index in enumerate(INDICES):
        drawn = sorted(batch.roles[scene, :, TARGETS].sum(dim=-1).tolist())
        bits = store.roles[index, :, TARGETS]
        assert drawn == sorted(float(bin(int(bit)).count('1')) for bit in bits)


def test_vocabulary_comes_before_comparisons(
    store: SceneStore, taught_model: InstructSegModel
) -> None:
    single = stage(taught_model, store, instructions=1)
    everyone = np.arange(store.shape.scenes)

    def share_of_comparisons(progress: float) -> float:
        drawn = []
        for seed in range(30):
            rng = np.random.default_rng(seed)
            batch = single.draw_instructions(everyone, rng, progress=progress)
            drawn.append(batch.roles[:, 0, 1].any(dim=-1).float().mean().item())
        return float(np.mean(drawn))

    # Only relations have anchors.
    assert 'relation' in INSTRUCTION_CATEGORIES
    assert share_of_comparisons(0.0) < share_of_comparisons(1.0)


def test_a_step_trains_language_model_and_pointer(
    store: SceneStore, taught_model: InstructSegModel
) -> None:
    taught = stage(taught_model, store)
    output = taught(INDICES, np.random.default_rng(0), progress=0.5)
    assert output.loss.isfinite()
    assert all(value.isfinite() for value in output.parts.values())
    output.loss.backward()
    untouched = {name for name, p in taught.named_parameters() if p.grad is None}
    # What reads the pointed cells belongs to the next stage.
    assert untouched == {
        f'pointer.{part}.{kind}' for part in ('content', 'evidence') for kind in ('weight', 'bias')
    }


def test_training_lowers_the_pointer_loss(
    store: SceneStore, taught_model: InstructSegModel
) -> None:
    taught = stage(taught_model, store)
    optimizer = torch.optim.Adam(taught.parameters(), lr=5e-3)
    losses = []
    for _ in range(12):
        loss = taught(INDICES, np.random.default_rng(1), progress=0.5).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_a_model_without_a_pointer_is_refused(store: SceneStore) -> None:
    nothing = np.zeros((12, 16, 40), np.float16)
    with pytest.raises(ValueError, match='pointer'):
        LanguageStage(released_model().model, store, nothing, nothing)
