"""Embeddings of words outside the training instructions, from public word vectors.

A word that no training instruction teaches gets its embedding from its GloVe vector (Pennington et
al. 2014), by a linear map that is learned with the other words. The model can thus ignore words
that do not matter, take a new word for one with a similar use, and recognise that "umbrella" names
an object that it does not know. `scripts/write_word_vectors.py` writes the file.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from safetensors import safe_open
from torch import nn
from torch.nn.utils import parametrize

from instructseg_ros.model.embedded_model import SPECIAL_TOKENS
from instructseg_ros.tabletop.instructions import composed_words, vocabulary

_FILE: Final = Path(__file__).parent / 'word_vectors.safetensors'
_RIDGE = 30.0  # strength of the regularisation of the first map
_FORGOTTEN = 0.1  # share of trained words that a step embeds like untrained ones


@dataclass(frozen=True, kw_only=True)
class WordVectors:
    """Words with their vectors.

    Attributes:
        trained: The words of the training, without those that only paraphrases use and that name an
            object which is not in the catalogue: "boot" must stay the name of something unknown.
        others: Frequent words beside them.
        objects: Those of them that name an object which is not in the catalogue.
        vectors: Word -> (50,) float32, also for trained words.
    """

    trained: tuple[str, ...]
    others: tuple[str, ...]
    objects: frozenset[str]
    vectors: dict[str, np.ndarray]


@functools.cache
def word_vectors() -> WordVectors:
    """Read the words and vectors; words that became part of the vocabulary are no others."""
    with safe_open(_FILE, 'np') as file:
        text, table = file.metadata(), file.get_tensor('vectors').astype(np.float32)
    words = [*text['trained'].split(), *text['others'].split()]
    objects = frozenset(text['objects'].split()) - composed_words()
    trained = tuple(word for word in vocabulary() if word not in objects)
    learned = frozenset(trained)
    return WordVectors(
        trained=trained,
        others=tuple(word for word in words if word not in learned),
        objects=objects,
        vectors=dict(zip(words, table, strict=True)),
    )


def all_words() -> tuple[str, ...]:
    """Return the words of an embedded model: trained ones, other objects, and the others."""
    known = word_vectors()
    return (*known.trained, *sorted(known.others, key=lambda word: word not in known.objects))


class _VectorEmbedding(nn.Module):
    """Adds mapped word vectors to the embeddings of trained words; others have nothing else."""

    def __init__(self, width: int) -> None:
        super().__init__()
        known = word_vectors().vectors
        nothing = np.zeros_like(next(iter(known.values())))
        table = np.stack([known.get(word, nothing) for word in all_words()])
        table = np.pad(table, ((len(SPECIAL_TOKENS), 0), (0, 0)))
        trained = torch.arange(len(table)) < len(SPECIAL_TOKENS) + len(word_vectors().trained)
        for name, values in (
            ('vectors', torch.from_numpy(table)),
            ('trained', trained[:, None]),
            ('has_vector', torch.from_numpy(table.any(axis=1, keepdims=True))),
        ):
            self.register_buffer(name, values, persistent=False)
        self.map = nn.Linear(table.shape[1], width, bias=False)

    def forward(self, own: torch.Tensor) -> torch.Tensor:
        """Return the (V, D) embeddings, given what the words have besides their vectors."""
        kept = self.trained
        if self.training:
            kept = kept & ~(self.has_vector & (torch.rand(kept.shape) < _FORGOTTEN))
        return own * kept + self.map(self.vectors)

    @torch.no_grad()
    def split(self, weight: torch.Tensor, learned: torch.Tensor) -> torch.Tensor:
        """Fit the map to the embeddings of some words; return what it leaves, 0 for other words.

        Args:
            weight: (V, D) embeddings.
            learned: (V,) bool, the words whose embeddings were trained before.
        """
        mine = learned & self.has_vector[:, 0]
        x = self.vectors[mine]
        gram = x.T @ x + _RIDGE * torch.eye(x.shape[1])
        self.map.weight.copy_(torch.linalg.solve(gram, x.T @ weight[mine]).T)
        rest = weight - self.map(self.vectors)
        return rest * (self.trained & (learned[:, None] | ~self.has_vector))


def join_vectors(embedding: nn.Embedding, learned: torch.Tensor | None = None) -> None:
    """Make the embeddings of all words depend on their vectors, while they are trained.

    Args:
        embedding: The embeddings of `SPECIAL_TOKENS` and `all_words()`.
        learned: (V,) bool, the words whose embeddings were trained before; None: none.
    """
    vectors = _VectorEmbedding(embedding.embedding_dim)
    if learned is not None:
        embedding.weight.data.copy_(vectors.split(embedding.weight, learned))
    parametrize.register_parametrization(embedding, 'weight', vectors, unsafe=True)


def bake_vectors(embedding: nn.Embedding) -> None:
    """Replace the result of `join_vectors` by plain embeddings with the same values."""
    embedding.eval()
    parametrize.remove_parametrizations(embedding, 'weight')
