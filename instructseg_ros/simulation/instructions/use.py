"""Instructions that mean whatever serves a use."""

from __future__ import annotations

from instructseg_ros.simulation.instructions.draft import Draft, labels
from instructseg_ros.simulation.instructions.phrase import Phrase, grounded
from instructseg_ros.simulation.instructions.uses import USES, Use
from instructseg_ros.simulation.instructions.writer import Wordings, Writer

ACTION_SENTENCES = Wordings(
    (
        'something I can {use}', 'something to {use}', 'I need something to {use}',
        'I want something to {use}', 'what can I {use}?', 'what could I {use}?',
        'what I would {use}', 'show me what I would {use}', 'what would you {use}?',
        'please find something I can {use}', 'find something to {use}', 'everything I can {use}',
        'is there something I can {use}?', 'bring me something to {use}', 'an object to {use}',
        'show me all the things I can {use}', 'where is something to {use}?',
        'what on the table can I {use}?', 'give me something I could {use}',
    ),
    (
        'which thing could I {use}?', 'what is there to {use}?',
        'I am looking for something to {use}', 'is there a thing I could {use}?',
        'can you find something to {use}?', 'what do you see that I can {use}?',
        'a thing that I would {use}',
    ),
)  # fmt: skip
PROPERTY_SENTENCES = Wordings(
    (
        'something {use}', 'the thing {use}', 'show me something {use}', 'find something {use}',
        'I need something {use}', 'is there something {use}?', 'bring me something {use}',
        'an object {use}', 'please show me something {use}', 'where is something {use}?',
        'do you see something {use}?', 'everything {use}',
    ),
    (
        'can you find something {use}?', 'what is there {use}?', 'is there a thing {use}?',
        'I am looking for something {use}', 'which thing do you see {use}?',
    ),
)  # fmt: skip
SENTENCES = ACTION_SENTENCES + PROPERTY_SENTENCES
WORDINGS = (
    SENTENCES,
    *(words for use in USES.values() for words in (use.actions, use.properties)),
)
PROPERTY_SHARE = 0.3


def draft(writer: Writer, *, absent: bool) -> Draft | None:
    """Everything that serves a use that something (absent: nothing) in the scene serves."""
    kinds = {thing.kind for thing in writer.graph}
    options = [use for use in USES.values() if _is_plain(use, kinds, absent)]
    if not options:
        return None
    use = writer.choice(options)
    serving = labels(thing for thing in writer.graph if thing.kind in use.kinds)
    return Draft(text=_text(use, serving, writer), targets=serving, candidates=serving)


def _is_plain(use: Use, kinds: set[str], absent: bool) -> bool:
    return not use.doubtful & kinds and bool(use.kinds & kinds) != absent


def _text(use: Use, serving: frozenset[int], writer: Writer) -> Phrase:
    is_property = writer.chance(PROPERTY_SHARE)
    words = writer.pick(use.properties if is_property else use.actions)
    key = grounded(words, dict.fromkeys(serving, 1.0), 'attribute')
    return writer.sentence(PROPERTY_SENTENCES if is_property else ACTION_SENTENCES, use=key)
