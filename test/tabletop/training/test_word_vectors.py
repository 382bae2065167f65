from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from instructseg_ros.model.embedded_model import SPECIAL_TOKENS
from instructseg_ros.tabletop.instructions import synonyms, vocabulary
from instructseg_ros.tabletop.training.word_vectors import (
    all_words,
    bake_vectors,
    join_vectors,
    word_vectors,
)

FIRST_OTHER = len(SPECIAL_TOKENS) + len(word_vectors().trained)


@pytest.fixture
def embedding() -> nn.Embedding:
    torch.manual_seed(0)
    return nn.Embedding(len(SPECIAL_TOKENS) + len(all_words()), 8)


def row(word: str) -> int:
    return len(SPECIAL_TOKENS) + all_words().index(word)


def test_each_word_occurs_once_and_trained_words_come_first() -> None:
    words = all_words()
    assert len(words) == len({*words}) > 10_000
    assert words[: len(word_vectors().trained)] == word_vectors().trained
    assert not {*words[len(word_vectors().trained) :]} & synonyms().keys()


def test_words_for_other_objects_come_next_and_are_in_no_scene() -> None:
    objects = word_vectors().objects
    start = len(word_vectors().trained)
    assert {*all_words()[start : start + len(objects)]} == objects
    assert {'umbrella', 'scissors', 'sofa'} <= objects
    assert not objects & {'kettle', 'cup', 'fruit', 'vehicle', 'table'}


def test_nearly_all_trained_words_have_a_vector_but_those_of_dialects() -> None:
    known = word_vectors().vectors
    missing = [word for word in vocabulary() if word not in known and "'" not in word]
    assert len(missing) < 0.11 * len(word_vectors().trained), missing


def test_a_learned_embedding_stays_and_a_new_word_starts_from_its_vector(
    embedding: nn.Embedding,
) -> None:
    before = embedding.weight.detach().clone()
    learned = torch.zeros(len(before), dtype=torch.bool)
    learned[:FIRST_OTHER] = True
    learned[row('mug')] = False
    join_vectors(embedding, learned)
    embedding.eval()
    assert torch.allclose(embedding.weight[learned], before[learned], atol=1e-5)
    map_of = embedding.parametrizations['weight'][0].map
    vector = torch.from_numpy(word_vectors().vectors['mug'])
    assert torch.allclose(embedding.weight[row('mug')], map_of(vector), atol=1e-5)


def test_embeddings_of_other_words_follow_the_trained_ones(embedding: nn.Embedding) -> None:
    join_vectors(embedding)
    start = embedding.eval().weight.detach().clone()
    embedding.train()
    embedding(torch.tensor([row('mug'), row('red')])).sum().backward()
    with torch.no_grad():
        for parameter in embedding.parameters():
            parameter -= 0.1 * parameter.grad
    end = embedding.eval().weight
    assert not torch.equal(end[row('umbrella')], start[row('umbrella')])


def test_a_step_forgets_the_learned_part_of_some_words(embedding: nn.Embedding) -> None:
    join_vectors(embedding)
    whole = embedding.eval().weight.detach().clone()
    torch.manual_seed(0)
    changed = (embedding.train().weight != whole).any(dim=1)
    assert 0.02 < changed[:FIRST_OTHER].float().mean() < 0.25
    assert not changed[FIRST_OTHER:].any()


def test_baked_embeddings_are_plain_ones_with_the_same_values(embedding: nn.Embedding) -> None:
    join_vectors(embedding)
    values = embedding.eval().weight.detach().clone()
    bake_vectors(embedding)
    assert [*embedding.state_dict()] == ['weight']
    assert np.array_equal(embedding.weight.detach().numpy(), values.numpy())
