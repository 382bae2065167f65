"""The tasks of InstructSeg, and the prompt of each."""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from typing import Final


class NamedInt(enum.IntEnum):
    """An IntEnum that prints its name; plain IntEnum prints the number from Python 3.11 on."""

    def __str__(self) -> str:
        return self.name

    def __format__(self, spec: str) -> str:
        return format(int(self), spec) if spec else self.name


class Task(NamedInt):
    """Type of an instruction; the values equal those in the ROS messages."""

    AUTO = 0
    REFERRING = 1
    REASONING = 2


_QUESTION = re.compile(
    r'^(what|which|where|who|why|how|when|is|are|i|if|we|you'
    # "can" and "will" may be nouns unless a pronoun follows.
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

    "the red mug" and "bring me the red mug" refer; "what could I drink from?" and "bring me
    something I can drink from" need reasoning.
    """
    text = instruction.strip().strip(_QUOTES)
    if text.endswith('?') or _QUESTION.match(text):
        return Task.REASONING
    if _IMPLICIT_TARGET.search(text):
        return Task.REASONING
    is_phrase = len(text.split()) <= 4
    return Task.REFERRING if is_phrase or _REFERRING_PHRASE.search(text) else Task.REASONING


# Placeholders in prompts.
IMAGE: Final = '<image>'
TEMPORAL: Final = '<temporal>'
REFER: Final = '<refer>'
SEG: Final = '<seg>'
QUESTION: Final = '<question>'
_PLACEHOLDERS: Final = re.compile('(<image>|<temporal>|<refer>|<seg>)')

SEG_TOKEN: Final = '[SEG]'

# Ids in `input_ids` that embeddings replace; no vocabulary has them.
IMAGE_ID: Final = -200
SEG_ID: Final = -201
TEMPORAL_ID: Final = -205

# The texts are those of the authors' InstructSegDatasets.py and conversation.py, to the letter.
_SYSTEM: Final = (
    'A chat between a curious user and an artificial intelligence assistant. '
    "The assistant gives helpful, detailed, and polite answers to the user's questions. USER: "
)
ASSISTANT: Final = 'ASSISTANT:'  # the model's answer follows
_ANSWER: Final = f'{ASSISTANT} \nSure, the segmentation result is [SEG]<seg>'
_STILL: Final = (
    'This is an image <temporal>\n<image>\n, please doing {} Segmentation according to the '
    'following instruction:\n<refer> '
)
_VIDEO: Final = (
    'There are reference frames and key frame <temporal>\n<image>\n. Please doing {} Segmentation '
    'according to the following instruction.\nThis is all the instruction: <refer>\n '
)

RELEASED: Final[Mapping[str, str]] = {
    'image_referring': _SYSTEM + _STILL.format('Referring') + _ANSWER,
    'image_reasoning': _SYSTEM + _STILL.format('Reasoning') + _ANSWER,
    'video_referring': _SYSTEM + _VIDEO.format('Referring') + _ANSWER,
    'video_reasoning': _SYSTEM + _VIDEO.format('Reasoning') + _ANSWER,
}
# Conversations about an image: the first question, and each later one.
CHAT: Final = _SYSTEM + f'<image>\n<question> {ASSISTANT}'
CHAT_ON: Final = f'USER: <question> {ASSISTANT}'
# Asks for the reasons for a segmentation.
EXPLAIN: Final = (
    _SYSTEM + 'This is an image <temporal>\n<image>\n, please doing Reasoning Segmentation '
    'according to the following instruction and explain why:\n<refer> '
    'ASSISTANT: \nSure, the segmentation result is '
)
# The image comes first, so that all instructions on a frame share its states. Fixed text is left
# out: it means nothing to a model trained from scratch.
COMPACT: Final[Mapping[str, str]] = dict.fromkeys(RELEASED, '<image><refer><seg>')


def prompt_name(task: Task, *, video: bool) -> str:
    """Return the key of a task's prompt, for a still image or a frame with reference frames."""
    manner = 'reasoning' if task is Task.REASONING else 'referring'
    return f'{"video" if video else "image"}_{manner}'


def split_prompt(prompt: str) -> list[str]:
    """Split a prompt into texts and placeholders, in order, without empty texts."""
    return [piece for piece in _PLACEHOLDERS.split(prompt) if piece]
