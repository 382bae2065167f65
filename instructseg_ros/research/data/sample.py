"""A sample: a question about an image or a video, and its true answer."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from typing import Any

from instructseg_ros.research.data.images import Picture
from instructseg_ros.research.data.targets import Target


class Kind(str, enum.Enum):
    """What a sample asks for; each kind has a prompt of its own (spec 1.1)."""

    IMAGE_REFERRING = 'image_referring'
    IMAGE_REASONING = 'image_reasoning'
    VIDEO_REFERRING = 'video_referring'
    VIDEO_REASONING = 'video_reasoning'
    CONVERSATION = 'conversation'

    @property
    def is_video(self) -> bool:
        """Whether a frame is seen with reference frames of its video."""
        return self in (Kind.VIDEO_REFERRING, Kind.VIDEO_REASONING)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Turn:
    """A question and its answer; '' where the answer is not published."""

    question: str
    answer: str = ''


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """One instruction on an image or a whole video, or a conversation about an image.

    Args:
        key: unique in its data set and split; the name of its prediction.
        kind: what is asked for.
        frames: the picture, or those of the video in order.
        targets: for each frame what the instruction means in it; None where that is not
            published. Empty for conversations.
        instructions: sentences that mean the same thing, as the data set words them. Empty for
            conversations.
        joined: all of them are put to the model as one instruction, see `wording.joined`;
            otherwise one at a time.
        verbatim: the model gets them letter for letter, as a benchmark wants it; otherwise as the
            node words what a person says.
        explanation: why the target is meant, where the data set says so.
        turns: of a conversation.
        group: what its figures are averaged with beside all others, such as `referring`; '' where
            the data set has no groups.
        details: what a benchmark's own files say of it and its scorer or submission needs.
        where: the file and the entry in it that it was read from, for messages.
    """

    key: str
    kind: Kind
    frames: tuple[Picture, ...]
    targets: tuple[Target | None, ...] = ()
    instructions: tuple[str, ...] = ()
    joined: bool = False
    verbatim: bool = False
    explanation: str = ''
    turns: tuple[Turn, ...] = ()
    group: str = ''
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    where: str = dataclasses.field(default='', compare=False)


def joined(sentences: Sequence[str]) -> str:
    """All sentences of an object as one instruction, as the authors train and evaluate.

    `['man in red', 'left guy']` becomes `man in red. left guy.`
    """
    return ''.join(f' {sentence}.' for sentence in sentences).strip()
