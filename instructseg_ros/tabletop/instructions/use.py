"""Instructions that describe objects by their use."""

from __future__ import annotations

from dataclasses import dataclass

from instructseg_ros.tabletop.instructions.category import Draft, InstructionCategory, labels
from instructseg_ros.tabletop.instructions.wording import Phrase, Wordings, Writer, grounded


@dataclass(frozen=True, kw_only=True)
class Use:
    """A use of objects and the words that describe it.

    Attributes:
        categories: Object categories that serve it.
        doubtful: Categories that might serve it; scenes with such objects get no instruction about
            this use.
        actions: Words after "something I can".
        properties: Words after "something".
    """

    categories: frozenset[str]
    doubtful: frozenset[str] = frozenset()
    actions: Wordings
    properties: Wordings


USES = {
    'drink': Use(
        categories=frozenset({'mug', 'bottle', 'can'}),
        actions=Wordings.parse("""
            drink from | drink water from | drink out of | have a drink from | drink some water from
            // drink something from
        """),
        properties=Wordings.parse('for drinking | to drink water with // for drinking water'),
    ),
    'pour tea': Use(
        categories=frozenset({'teapot'}),
        actions=Wordings.parse("""
            pour tea from | make tea with | serve tea from | make some tea with |
            serve some tea with
            // pour some tea from
        """),
        properties=Wordings.parse('for making tea | for tea time // for some tea'),
    ),
    'soup': Use(
        categories=frozenset({'bowl'}),
        doubtful=frozenset({'mug', 'teapot'}),
        actions=Wordings.parse("""
            eat soup from | put soup in | serve soup in | eat cereal from
            // serve cereal in | put some cereal in | have soup from
        """),
        properties=Wordings.parse('that can hold soup | for soup // that can hold my soup'),
    ),
    'cut': Use(
        categories=frozenset({'knife'}),
        actions=Wordings.parse("""
            cut with | cut bread with | slice bread with | cut a cake with | cut an apple with |
            slice some fruit with
            // slice a banana with
        """),
        properties=Wordings.parse('that is sharp | with a blade | for cutting // that can cut'),
    ),
    'eat': Use(
        categories=frozenset({'banana', 'apple'}),
        actions=Wordings.parse("""
            eat | eat now | have for lunch | have as a snack | eat for lunch // bite into
        """),
        properties=Wordings.parse("""
            that tastes good | that is a fruit | that grows on trees | for lunch
            // that is a snack | which is fruit
        """),
    ),
    'read': Use(
        categories=frozenset({'book'}),
        actions=Wordings.parse("""
            read | read in bed | learn from | read a story in | read now // read from
        """),
        properties=Wordings.parse('with pages | that has a story | for reading // that has pages'),
    ),
    'write': Use(
        categories=frozenset({'pen'}),
        actions=Wordings.parse("""
            write with | draw with | write a story with | sign my name with | draw a car with
            // write my name with
        """),
        properties=Wordings.parse("""
            that writes | for writing | with ink | that can draw // that can write
        """),
    ),
    'play': Use(
        categories=frozenset({'ball', 'car'}),
        actions=Wordings.parse("""
            play with | play a game with | give a child to play with | have fun with
            // have a game with
        """),
        properties=Wordings.parse('that is a toy | for a child | for playing // for fun'),
    ),
    'roll': Use(
        categories=frozenset({'ball', 'car'}),
        doubtful=frozenset({'can', 'bottle', 'apple', 'pen', 'mug'}),
        actions=Wordings.parse('roll | roll away | roll over the table | let roll // roll to you'),
        properties=Wordings.parse('that rolls | that can roll | that rolls well // for rolling'),
    ),
    'throw': Use(
        categories=frozenset({'ball'}),
        actions=Wordings.parse("""
            throw | kick | bounce | play catch with | throw and catch // bounce and catch
        """),
        properties=Wordings.parse('that bounces | that can bounce // that bounces well'),
    ),
    'drive': Use(
        categories=frozenset({'car'}),
        actions=Wordings.parse("""
            drive | drive around | drive away with | drive over the table // drive with
        """),
        properties=Wordings.parse("""
            with wheels | with four wheels | that drives // that has wheels
        """),
    ),
    'hit': Use(
        categories=frozenset({'hammer'}),
        actions=Wordings.parse("""
            hit a nail with | drive a nail with | build a house with | hit nails with |
            hit the nail with | build a table with
            // build with
        """),
        properties=Wordings.parse('that is a tool | for nails // for a nail | for some nails'),
    ),
    'stir': Use(
        categories=frozenset({'spoon'}),
        actions=Wordings.parse("""
            stir with | stir coffee with | eat soup with | stir my tea with | stir my soup with
            // eat cereal with
        """),
        properties=Wordings.parse("""
            for stirring | for eating soup with | for stirring soup // for stirring tea
        """),
    ),
    'serve': Use(
        categories=frozenset({'plate'}),
        doubtful=frozenset({'bowl'}),
        actions=Wordings.parse("""
            put food on | serve food on | serve dinner on | put a sandwich on | put my dinner on |
            put a cake on
            // serve a cake on
        """),
        properties=Wordings.parse('for a sandwich | for dinner // for my dinner'),
    ),
    'pack': Use(
        categories=frozenset({'box'}),
        actions=Wordings.parse("""
            pack a gift in | pack things in | send a gift in | store shoes in | send things in
            // pack shoes in
        """),
        properties=Wordings.parse('for packing | for a gift | for shoes // for packing things'),
    ),
}


ACTION_SENTENCES = Wordings.parse("""
    something I can {use} | something to {use} | I need something to {use} |
    I want something to {use} | what can I {use}? | what could I {use}? | what I would {use} |
    show me what I would {use} | what would you {use}? | please find something I can {use} |
    find something to {use} | everything I can {use} | is there something I can {use}? |
    bring me something to {use} | an object to {use} | show me all the things I can {use} |
    where is something to {use}? | what on the table can I {use}? | give me something I could {use}
    // which thing could I {use}? | what is there to {use}? | I am looking for something to {use} |
    is there a thing I could {use}? | can you find something to {use}? |
    what do you see that I can {use}? | a thing that I would {use}
""")
PROPERTY_SENTENCES = Wordings.parse("""
    something {use} | the thing {use} | show me something {use} | find something {use} |
    I need something {use} | is there something {use}? | bring me something {use} |
    an object {use} | please show me something {use} | where is something {use}? |
    do you see something {use}? | everything {use}
    // can you find something {use}? | what is there {use}? | is there a thing {use}? |
    I am looking for something {use} | which thing do you see {use}?
""")
SENTENCES = ACTION_SENTENCES + PROPERTY_SENTENCES
PROPERTY_SHARE = 0.3


def draft(writer: Writer, *, absent: bool) -> Draft | None:
    """Draft an instruction for all objects that serve a use; if `absent`, no object serves it."""
    categories = {obj.category for obj in writer.graph}
    options = [use for use in USES.values() if _is_plain(use, categories, absent)]
    if not options:
        return None
    use = writer.choice(options)
    serving = labels(obj for obj in writer.graph if obj.category in use.categories)
    return Draft(text=_text(use, serving, writer), targets=serving, candidates=serving)


def _is_plain(use: Use, categories: set[str], absent: bool) -> bool:
    return not use.doubtful & categories and bool(use.categories & categories) != absent


def _text(use: Use, serving: frozenset[int], writer: Writer) -> Phrase:
    is_property = writer.chance(PROPERTY_SHARE)
    words = writer.pick(use.properties if is_property else use.actions)
    key = grounded(words, dict.fromkeys(serving, 1.0), 'attribute')
    return writer.sentence(PROPERTY_SENTENCES if is_property else ACTION_SENTENCES, use=key)


USE = InstructionCategory(
    name='use',
    generator=draft,
    sentences=SENTENCES,
    wordings=(
        SENTENCES,
        *(words for use in USES.values() for words in (use.actions, use.properties)),
    ),
    share=0.13,
    share_at_rest=0.13,
    early_weight=1.0,
    late_weight=1.1,
    is_reasoning=True,
    is_lasting=True,
)
