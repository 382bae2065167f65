"""The tasks of InstructSeg and how an instruction chooses one of them."""

from __future__ import annotations

import re

from instructseg_ros.model.naming import NamedInt


class Task(NamedInt):
    """What an instruction asks for; the values are those of the ROS messages."""

    AUTO = 0
    REFERRING = 1
    REASONING = 2


_QUESTION = re.compile(
    r'^(what|which|where|who|why|how|when|is|are|i|if|we|you'
    # "can" and "will" are things too
    r'|(can|could|will|would|should|do|does)\s+(i|you|we|they|he|she|it|someone|anyone))\b',
    re.IGNORECASE,
)
_REFERRING_PHRASE = re.compile(
    r'\b(the|this|that|these|those|all|every|each|both|my|your)\s+\w', re.IGNORECASE
)
_QUOTES = '\'"`\u00ab\u00bb\u00b4\u2018\u2019\u201a\u201c\u201d\u201e'
_IMPLICIT_TARGET = re.compile(r'\b(something|anything|everything|whatever|what)\b', re.IGNORECASE)


def choose_task(instruction: str) -> Task:
    """Return REASONING for a question or a sentence without a referring phrase, else REFERRING.

    "the red mug" and "bring me the red mug" refer; "what could I drink from?" and
    "bring me something I can drink from" need reasoning.
    """
    text = instruction.strip().strip(_QUOTES)
    if text.endswith('?') or _QUESTION.match(text):
        return Task.REASONING
    if _IMPLICIT_TARGET.search(text):
        return Task.REASONING
    is_phrase = len(text.split()) <= 4
    return Task.REFERRING if is_phrase or _REFERRING_PHRASE.search(text) else Task.REASONING
