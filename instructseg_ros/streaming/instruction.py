"""An instruction for the engine, and validation of its text."""

from __future__ import annotations

import enum
import re
import unicodedata
import uuid
from dataclasses import dataclass, field
from typing import Final

from instructseg_ros.model.tasks import Task

MOST: Final = 40  # characters of a quoted text
MOST_OF_ERROR: Final = 1000  # characters
ADDRESS: Final = re.compile(r' at 0x[0-9a-fA-F]+')


def quote(text: str) -> str:
    """Return a text in quotation marks, shortened, without what a terminal would obey."""
    return f'"{_show(text, MOST)}"'


def describe_error(error: BaseException) -> str:
    """Return what an error says in one line, shortened, or its type where it says nothing.

    Addresses of objects are left out: they mean nothing to people, and make each of many equal
    messages another one. Characters that no log or message takes, such as those of a file name
    that is not UTF-8, are replaced.
    """
    text = ' '.join(ADDRESS.sub('', str(error)).splitlines())
    return _show(text, MOST_OF_ERROR) or type(error).__name__


def _show(text: str, most: int) -> str:
    shown = ''.join(letter if letter.isprintable() else '\ufffd' for letter in text[:most])
    return f'{shown}{"…" if len(text) > most else ""}'


MAX_TEXT_LENGTH = 512
MAX_NAME_LENGTH = 128
RESERVED = re.compile(r'<\|?\w+\|?>|\[SEG\]', re.IGNORECASE)
JOINERS = '\u200c\u200d'


class InstructionError(ValueError):
    """The instruction cannot be followed; the message says why."""


class Until(enum.Enum):
    """What ends an instruction, besides its lifetime and whoever asked."""

    ENDED = 'ended'  # nothing else
    FOUND = 'found'  # the first answer that it was found
    ANSWERED = 'answered'  # its first answer


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """What to segment.

    Attributes:
        text: The instruction in natural language, as `clean_text` returns it.
        id: Chosen by whoever asks; comes back in every result.
        task: How to read the text.
        cameras: Names of the cameras it is for; () for all of them.
        lifetime: Seconds it stays live from when it is given; None for ever.
        slot: Holds one live instruction at a time: a new one in it replaces the last; '': it is
            in none.
        until: What ends it.
        generated_id: The node chose the id, because the command had none.
    """

    text: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    task: Task = Task.AUTO
    cameras: tuple[str, ...] = ()
    lifetime: float | None = None
    slot: str = ''
    until: Until = Until.ENDED
    generated_id: bool = False

    @property
    def on_demand(self) -> bool:
        """Whether somebody waits for its end: it is answered also while streaming is paused."""
        return self.until is not Until.ENDED

    def ends(self, *, found: bool) -> bool:
        """Tell whether an answer that it was found, or was not, is its last."""
        return self.until is Until.ANSWERED or (found and self.until is Until.FOUND)

    def is_repeated_by(self, other: Instruction) -> bool:
        """Return whether another instruction asks for the same again, cameras apart.

        A sender that chose another id waits for answers under that id: its instruction is new.
        Outside of slots it also keeps its instruction to itself. Requests that wait for their end
        (`on_demand`) are never repeated, each has its own end.
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
                f'lifetime must be positive, got {self.lifetime} s; leave it 0 for no limit'
            )


def clean_text(text: str, *, max_length: int = MAX_TEXT_LENGTH) -> str:
    """Normalise the text of an instruction (NFC, single spaces) and refuse what is not one.

    Raises:
        InstructionError: The text is empty, too long, without a letter, or holds control
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
