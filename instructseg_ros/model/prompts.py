"""The prompts of InstructSeg, as data.

The released prompts are byte-exact (spec 1.1, 1.3): their grammar errors are what the model was
trained on. `<image>`, `<temporal>`, `<refer>` and `<seg>` are places for embeddings, not tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from instructseg_ros.model.tasks import Task

IMAGE: Final = '<image>'
TEMPORAL: Final = '<temporal>'
REFER: Final = '<refer>'
SEG: Final = '<seg>'
QUESTION: Final = '<question>'
SEG_TOKEN: Final = '[SEG]'

# Ids that stand for embeddings in `input_ids`; never in a vocabulary.
IMAGE_ID: Final = -200
SEG_ID: Final = -201
TEMPORAL_ID: Final = -205

_SYSTEM = (
    'A chat between a curious user and an artificial intelligence assistant. '
    "The assistant gives helpful, detailed, and polite answers to the user's questions. USER: "
)
# Whose turn it is to speak: what comes after the last of them is the model's.
ANSWERS: Final = 'ASSISTANT:'
_ANSWER = f'{ANSWERS} \nSure, the segmentation result is [SEG]<seg>'
_STILL = (
    'This is an image <temporal>\n<image>\n, please doing {} Segmentation according to the '
    'following instruction:\n<refer> '
)
_VIDEO = (
    'There are reference frames and key frame <temporal>\n<image>\n. Please doing {} Segmentation '
    'according to the following instruction.\nThis is all the instruction: <refer>\n '
)

RELEASED: Final[Mapping[str, str]] = {
    'image_referring': _SYSTEM + _STILL.format('Referring') + _ANSWER,
    'image_reasoning': _SYSTEM + _STILL.format('Reasoning') + _ANSWER,
    'video_referring': _SYSTEM + _VIDEO.format('Referring') + _ANSWER,
    'video_reasoning': _SYSTEM + _VIDEO.format('Reasoning') + _ANSWER,
}
# Conversations about an image (spec 7.6), and the reasons for a segmentation (spec 1.1): what the
# language model goes on from.
CHAT: Final = _SYSTEM + f'<image>\n<question> {ANSWERS}'
CHAT_ON: Final = f'USER: <question> {ANSWERS}'
EXPLAIN: Final = (
    _SYSTEM + 'This is an image <temporal>\n<image>\n, please doing Reasoning Segmentation '
    'according to the following instruction and explain why:\n<refer> '
    'ASSISTANT: \nSure, the segmentation result is '
)
# The image first, so that instructions on one frame share its states; nothing that says the same
# to every instruction: a model trained from nothing has no use for it.
COMPACT: Final[Mapping[str, str]] = dict.fromkeys(RELEASED, '<image><refer><seg>')

_PLACES = re.compile('(<image>|<temporal>|<refer>|<seg>)')


def prompt_name(task: Task, *, video: bool) -> str:
    """Key of the prompt of a task, for a still image or a frame with reference frames."""
    kind = 'reasoning' if task is Task.REASONING else 'referring'
    return f'{"video" if video else "image"}_{kind}'


def split_prompt(prompt: str) -> list[str]:
    """Cut a prompt into texts and places, in order, without empty texts."""
    return [piece for piece in _PLACES.split(prompt) if piece]
