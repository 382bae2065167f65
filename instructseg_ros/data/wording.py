"""How the sentences of a sample are put to the model (spec 1.2)."""

from __future__ import annotations

from collections.abc import Sequence


def joined(sentences: Sequence[str]) -> str:
    """All sentences of an object as one instruction, as the authors train and evaluate.

    `['man in red', 'left guy']` becomes `man in red. left guy.`
    """
    return ''.join(f' {sentence}.' for sentence in sentences).strip()
