"""Samples: an instruction or a question about an image or a video, with the true answer."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from instructseg_ros.model.tasks import Task
from instructseg_ros.research.data.targets import Target
from instructseg_ros.streaming.image_files import read_rgb, read_size


class SampleTask(str, enum.Enum):
    """Task of a sample.

    Each task has its own prompt, as in the authors' datasets/InstructSegDatasets.py.
    """

    IMAGE_REFERRING = 'image_referring'
    IMAGE_REASONING = 'image_reasoning'
    VIDEO_REFERRING = 'video_referring'
    VIDEO_REASONING = 'video_reasoning'
    CONVERSATION = 'conversation'

    @property
    def is_video(self) -> bool:
        """Return whether the model gets a frame together with reference frames of its video."""
        return self in (SampleTask.VIDEO_REFERRING, SampleTask.VIDEO_REASONING)

    @property
    def prompt(self) -> Task:
        """Return the task of the model that determines the prompt for the instructions."""
        reasoning = self in (SampleTask.IMAGE_REASONING, SampleTask.VIDEO_REASONING)
        return Task.REASONING if reasoning else Task.REFERRING


class ImageSource(Protocol):
    """An image that is decoded on demand and has a version to detect changes without decoding."""

    def load(self) -> Image.Image:
        """Decode the image as upright RGB.

        Raises:
            ValueError: The image is damaged; the message names it and says how to fix it.
            OSError: The image is missing.
        """
        ...

    def version(self) -> str:
        """Return a text that changes with the content, without decoding; '' for a missing image."""
        ...

    def __hash__(self) -> int: ...

    def __str__(self) -> str:
        """Return the name of the image for messages."""
        ...


@dataclasses.dataclass(frozen=True)
class ImageFile:
    """An image file."""

    path: Path

    def load(self) -> Image.Image:
        """Decode the image; see `ImageSource.load`."""
        return read_rgb(self.path)

    def size(self) -> tuple[int, int]:
        """Read the upright (height, width) from the header; see `load` for errors."""
        return read_size(self.path)

    def version(self) -> str:
        """Return size and modification time of the file; see `ImageSource.version`."""
        return file_version(self.path)

    def __str__(self) -> str:
        return str(self.path)


@dataclasses.dataclass(frozen=True)
class ImageBytes:
    """An image that is stored inside another file.

    Args:
        name: Name of the image in messages.
        content: JPEG, PNG or another format that Pillow reads.
    """

    name: str
    content: bytes = dataclasses.field(repr=False)

    def load(self) -> Image.Image:
        """Decode the image; see `ImageSource.load`."""
        return read_rgb(self.content, self.name)

    def version(self) -> str:
        """Return a hash of the content."""
        return hashlib.sha256(self.content).hexdigest()

    def __str__(self) -> str:
        return self.name


def file_version(file: Path) -> str:
    """Return size in bytes and modification time in ns of a file; '' if it is missing."""
    try:
        status = file.stat()
    except OSError:
        return ''
    return f'{status.st_size} {status.st_mtime_ns}'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Turn:
    """One question and its answer, which is '' if it is not published."""

    question: str
    answer: str = ''


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """An instruction on an image or a whole video, or a conversation about an image.

    Args:
        key: Name that is unique in a split; prediction files are named after it.
        task: The task.
        frames: The image, or the frames of the video in order.
        targets: The region that the instruction means in each frame; None if it is not
            published. Empty for conversations.
        instructions: Sentences with the same meaning, as the data set words them. Empty for
            conversations.
        joined: Whether all sentences form one instruction (see `joined`); otherwise each is one.
        verbatim: The model gets the sentences unchanged, as the benchmark requires; otherwise they
            are worded like an instruction to the node.
        explanation: Why the instruction means the target, if the data set explains it.
        turns: Questions and answers of a conversation.
        group: Group whose figures are also averaged separately, such as `referring`; '' for none.
        details: Further values that the benchmark's scorer or submission file needs.
        where: File and entry that the sample was read from, for messages.
    """

    key: str
    task: SampleTask
    frames: tuple[ImageSource, ...]
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
    """Join sentences about an object into one instruction, as the authors do to train and evaluate.

    `['man in red', 'left guy']` becomes `man in red. left guy.`
    """
    return ''.join(f' {sentence}.' for sentence in sentences).strip()
