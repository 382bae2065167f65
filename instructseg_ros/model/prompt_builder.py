"""Builds prompts token by token, and pads several of them into one batch."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch

from instructseg_ros.model.stage_outputs import Prompt
from instructseg_ros.model.tasks import IMAGE, REFER, SEG, TEMPORAL

IGNORED = -100  # a label that no loss counts


class PromptRow:
    """A prompt under construction.

    Attributes:
        ids: Token ids, and negative ids as placeholders of embeddings.
        refer: For each token, whether it belongs to the instruction.
        answer: For each token, whether the model has to generate it.
        prefix_length: Number of leading tokens that are the same for all instructions on a frame.
        start_length: Number of leading tokens before the image.
        refer_start, refer_stop: Range of the instruction; 0 if there is none.
    """

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.refer: list[bool] = []
        self.answer: list[bool] = []
        self.prefix_length = 0
        self.start_length = 0
        self.refer_start = 0
        self.refer_stop = 0
        self._shared = True

    def add(self, ids: Sequence[int], piece: str, *, generated: bool = False) -> None:
        """Append tokens.

        Args:
            ids: Ids of the tokens.
            piece: Text or placeholder that the ids stand for.
            generated: Whether the model has to generate them.
        """
        if piece == REFER:
            self.refer_start, self.refer_stop = len(self.ids), len(self.ids) + len(ids)
        if self.start_length == len(self.ids) and piece not in (IMAGE, REFER, SEG):
            self.start_length += len(ids)
        self.ids += ids
        self.refer += [piece == REFER] * len(ids)
        self.answer += [generated and token >= 0 for token in ids]
        self._shared = self._shared and piece not in (REFER, TEMPORAL)
        if self._shared and piece == IMAGE:
            self.prefix_length = len(self.ids)

    def labels(self, end: int, *, as_authors: bool = False) -> list[int]:
        """Return, for each token, the next token if the model has to generate it, else `IGNORED`.

        Args:
            end: Token that ends the text; it follows the tokens of the row.
            as_authors: Select the answers' tokens as the authors do, see `_as_authors`.
        """
        answer = _as_authors(self.answer) if as_authors else self.answer
        pairs = zip(self.ids, answer, strict=True)
        labels = [token if learned else IGNORED for token, learned in pairs]
        return [*labels[1:], end if any(self.answer) else IGNORED]


def _as_authors(answer: Sequence[bool]) -> list[bool]:
    """Return, for each token, whether the authors' code trains on it.

    `preprocess_llama2` in their InstructSegDatasets.py is off by one token: it also trains on the
    colon before the first answer, and not on the first token of any later answer.
    """
    pairs = zip([False, *answer], answer, strict=False)
    starts = [place for place, (before, now) in enumerate(pairs) if now and not before]
    shifted = list(answer)
    for start in starts[:1]:
        shifted[max(0, start - 1)] = True
    for start in starts[1:]:
        shifted[start] = False
    return shifted


def join_rows(rows: Sequence[PromptRow], instructions: int, multiple_of: int = 1) -> Prompt:
    """Pad rows to a common length.

    Args:
        rows: Rows of the first frame's instructions, then those of the next frame.
        instructions: Number of instructions of each frame.
        multiple_of: Round the common length, and the span of the instructions, up to a multiple
            of this.
    """
    length = _multiple(max(len(row.ids) for row in rows), multiple_of)
    read_from = min(row.refer_start for row in rows)
    span = _multiple(max(row.refer_stop for row in rows) - read_from, multiple_of)
    ids = torch.tensor([row.ids + [0] * (length - len(row.ids)) for row in rows])
    refer = torch.tensor([row.refer + [False] * (length - len(row.refer)) for row in rows])
    shape = (-1, instructions)
    return Prompt(
        input_ids=ids.unflatten(0, shape),
        refer_mask=refer.unflatten(0, shape),
        prefix_length=min(row.prefix_length for row in rows),
        read_from=read_from,
        refer_stop=min(length, read_from + span),
        start_ids=_common_start([row.ids[: row.start_length] for row in rows]),
    )


def _multiple(count: int, of: int) -> int:
    return -(-count // of) * of


def _common_start(rows: Sequence[Sequence[int]]) -> tuple[int, ...]:
    same = itertools.takewhile(lambda ids: len(set(ids)) == 1, zip(*rows, strict=False))
    return tuple(ids[0] for ids in same)
