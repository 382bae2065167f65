"""An instruction for the engine, and validation of its text."""

from __future__ import annotations

import enum
import re
import unicodedata
import uuid
from dataclasses import dataclass, field
from typing import Final

from instructseg_ros.model.tasks import Task

MAX_QUOTE_LENGTH: Final = 40  # characters
MAX_ERROR_LENGTH: Final = 1000  # characters
ADDRESS: Final = re.compile(r' at 0x[0-9a-fA-F]+')


def quote(text: str) -> str:
    """Return a text in quotation marks, shortened, without control characters."""
    return f'"{_show(text, MAX_QUOTE_LENGTH)}"'


def describe_error(error: BaseException) -> str:
    """Return an error's message in one line, shortened, or its type if the message is empty.

    Addresses of objects are left out, so that equal errors have equal messages. Characters that
    logs and messages cannot hold, such as those of a file name that is not UTF-8, are replaced.
    """
    text = ' '.join(ADDRESS.sub('', str(error)).splitlines())
    return _show(text, MAX_ERROR_LENGTH) or type(error).__name__


def _show(text: str, length: int) -> str:
    shown = ''.join(letter if letter.isprintable() else '\ufffd' for letter in text[:length])
    return f'{shown}{"…" if len(text) > length else ""}'


MAX_TEXT_LENGTH = 512
MAX_NAME_LENGTH = 128
RESERVED = re.compile(r'<\|?\w+\|?>|\[SEG\]', re.IGNORECASE)
JOINERS = '\u200c\u200d'


class InstructionError(ValueError):
    """The instruction is refused; the message says why."""


class Until(enum.Enum):
    """Condition that ends an instruction, besides its lifetime and a cancellation."""

    ENDED = 'ended'  # nothing else
    FOUND = 'found'  # the first FOUND result
    ANSWERED = 'answered'  # its first result


def new_id() -> str:
    """Return a random id for an instruction."""
    return uuid.uuid4().hex[:12]


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """A validated instruction with its id and lifetime.

    Attributes:
        text: The instruction in natural language, as `clean_text` returns it.
        id: Id chosen by the sender, returned in every result.
        task: How to interpret the text.
        cameras: Names of its cameras; () for all of them.
        lifetime: Seconds for which it stays active; None: no limit.
        slot: Name of a slot, which holds one active instruction: a new one replaces the last; '':
            no slot.
        until: Condition that ends it.
        generated_id: Whether the node chose the id, because the command had none.
    """

    text: str
    id: str = field(default_factory=new_id)
    task: Task = Task.AUTO
    cameras: tuple[str, ...] = ()
    lifetime: float | None = None
    slot: str = ''
    until: Until = Until.ENDED
    generated_id: bool = False

    @property
    def on_demand(self) -> bool:
        """Return whether a client waits for its end; such instructions also run while paused."""
        return self.until is not Until.ENDED

    def ends(self, *, found: bool) -> bool:
        """Return whether a result, with or without a found target, is its last one."""
        return self.until is Until.ANSWERED or (found and self.until is Until.FOUND)

    def is_repeated_by(self, other: Instruction) -> bool:
        """Return whether another instruction repeats this one, ignoring cameras.

        A sender that chose another id expects results with that id, so its instruction is new.
        Without a slot, an instruction with a chosen id is not shared with other senders. Requests
        that wait for their end (`on_demand`) are never repeated, because each has its own end.
        """
        is_shared = other.generated_id and (self.generated_id or bool(self.slot))
        fits_id = other.id == self.id or is_shared
        return (
            fits_id
            and not self.on_demand
            and (
                (self.text, self.task, self.slot, self.until)
                == (other.text, other.task, other.slot, other.until)
            )
        )

    def __post_init__(self) -> None:
        for name, value in (('id', self.id), ('slot', self.slot)):
            if len(value) > MAX_NAME_LENGTH:
                raise InstructionError(
                    f'{name} has {len(value)} characters, the limit is {MAX_NAME_LENGTH}; '
                    f'choose a shorter one'
                )
        if self.lifetime is not None and not self.lifetime > 0.0:
            raise InstructionError(
                f'lifetime must be positive, got {self.lifetime} s; use 0 for no limit'
            )


def clean_text(text: str, *, max_length: int = MAX_TEXT_LENGTH) -> str:
    """Normalise the text of an instruction (NFC, single spaces) and refuse invalid ones.

    Raises:
        InstructionError: The text is empty, is too long, has no letter, or contains control
            characters or one of the model's own tokens.
    """
    if len(text) > max_length:
        raise InstructionError(
            f'the instruction has {len(text)} characters, the limit is {max_length}; shorten it'
        )
    cleaned = unicodedata.normalize('NFC', text).strip()
    _refuse_unprintable(cleaned)
    reserved = RESERVED.search(cleaned)
    if reserved:
        raise InstructionError(
            f'{quote(reserved.group())} is reserved for the model; leave it out of the instruction'
        )
    cleaned = ' '.join(cleaned.split())
    if not cleaned:
        raise InstructionError('the instruction is empty; say what to segment')
    if not any(character.isalpha() for character in cleaned):
        raise InstructionError('the instruction holds no word; say what to segment')
    return cleaned


def _refuse_unprintable(text: str) -> None:
    for position, character in enumerate(text):
        category = unicodedata.category(character)
        if category[0] == 'C' and character not in JOINERS:
            raise InstructionError(
                f'the instruction holds the control character U+{ord(character):04X} at '
                f'position {position}; use plain text'
            )
