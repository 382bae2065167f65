"""Instructions that rule objects out, by a color or category, or as "the other one".

The objects that are ruled out are the anchors: the model learns to find them, and to leave them.
"""

from __future__ import annotations

from dataclasses import dataclass

from instructseg_ros.tabletop.instructions import wording
from instructseg_ros.tabletop.instructions.category import Draft, InstructionCategory, labels
from instructseg_ros.tabletop.instructions.noun_phrase import NounPhrase, indefinite, nominal, nouns
from instructseg_ros.tabletop.instructions.wording import (
    PLURAL_REQUESTS,
    SINGULAR_REQUESTS,
    Phrase,
    Wordings,
    Writer,
    compose,
    grounded,
)
from instructseg_ros.tabletop.world.scene_graph import SceneGraph, SceneObject

# {object}: the noun phrase without the attribute; {no}: the color or category that is ruled out.
NOT_COLOR = Wordings.parse("""
    the {object} that is not {no} | the {object} that isn't {no} | the {object} which is not {no} |
    the non {no} {object} | the {object} that does not look {no} | any {object} but the {no} one |
    any {object} except the {no} one | the {object} other than the {no} one |
    the {object}, but not the {no} one | the other {object}, not the {no} one |
    the {object} without the color {no} | the {object} of any color except {no} |
    the {object} in some color that is not {no} |
    the {object} that has a color other than {no}
    // the {object} which isn't {no} | the {object} which does not look {no} |
    the {object} that is anything but {no}
""")
NOT_THIS_ONE = Wordings.parse("""
    I do not want the {no} {object}, give me the other one |
    don't take the {no} one, I need the other {object} | not the {no} {object} but the other one |
    leave the {no} {object} and take the other one | not the {no} one but the other {object} |
    there is {a_no} {object}, show me the other one | not the {no} {object}, find the other one |
    bring me the other {object}, I don't want the {no} one |
    I see the {no} {object}, now the other | where is the other {object}? I can see the {no} one
    // I have no use for the {no} {object}, I want the other |
    leave out the {no} one, find the other {object}
""")
NOT_COLORS = Wordings.parse("""
    all the {objects} that are not {no} | the {objects} that aren't {no} |
    all {objects} except the {no} one | every {object} but the {no} one |
    all the other {objects}, not the {no} one | the rest of the {objects}, without the {no} one |
    all {objects} other than the {no} ones | each {object} that is not {no} |
    the {objects}, except for the {no} one | every {object} apart from the {no} one
    // all {objects} but the {no} one | the remaining {objects}, not the {no} one |
    all the {objects} which are not {no}
""")
NEITHER = Wordings.parse("""
    the {object} that is neither {no} nor {nor} | the {object} that is not {no} and not {nor} |
    the {object} which isn't {no} or {nor} | neither the {no} nor the {nor} {object} but the other |
    not the {no} {object} and not the {nor} one, the other one
    // the {object} with neither {no} nor {nor} color | not the {no} or {nor} {object} but the other
""")
NOT_CATEGORY = Wordings.parse("""
    the {object} that is not {a_no} | the {object} that isn't {a_no} |
    the {object} other than the {no} | the {object}, but not the {no} |
    any {object} except the {no} | the {object} which is not the {no} |
    not the {no} but the other {object}
    // the {object} which isn't {a_no} | the {object} and not the {no}
""")
ATTEMPTS = 24
CATEGORY_SHARE = 0.2
NEITHER_SHARE = 0.15
PLURAL_SHARE = 0.3
NOT_THIS_ONE_SHARE = 0.3


@dataclass(frozen=True, kw_only=True)
class Exclusion:
    """A noun phrase, and colors or categories that it excludes; each is that of one object.

    Attributes:
        phrase: The noun phrase without the exclusion.
        values: The colors or, if the phrase has a color, the categories.
        wordings: How it is said.
        plural: Whether several objects are left.
    """

    phrase: NounPhrase
    values: tuple[str, ...]
    wordings: Wordings
    plural: bool = False

    def excluded(self, graph: SceneGraph) -> list[SceneObject]:
        """Return the objects that fit the phrase and are excluded."""
        return [obj for obj in self.phrase.matches(graph) if self.value_of(obj) in self.values]

    def value_of(self, obj: SceneObject) -> str:
        """Return the color or category that decides about an object."""
        return obj.color if self.phrase.color is None else obj.category


def draft(writer: Writer, *, absent: bool) -> Draft | None:
    """Draft an instruction for what an exclusion leaves; if `absent`, it leaves nothing."""
    for _ in range(ATTEMPTS):
        exclusion = _exclusion(writer)
        if exclusion is None:
            continue
        fitting, excluded = exclusion.phrase.matches(writer.graph), exclusion.excluded(writer.graph)
        left = len(fitting) - len(excluded)
        wanted = left == 0 if absent else left >= 2 if exclusion.plural else left == 1
        if wanted and len(excluded) == len(exclusion.values):
            return Draft(
                text=_text(exclusion, writer),
                targets=labels(fitting) - labels(excluded),
                anchors=labels(excluded),
                candidates=labels(fitting),
            )
    return None


def _exclusion(writer: Writer) -> Exclusion | None:
    obj = writer.choice(writer.graph)
    if writer.chance(CATEGORY_SHARE):
        return Exclusion(
            phrase=NounPhrase(color=obj.color), values=(obj.category,), wordings=NOT_CATEGORY
        )
    phrase = NounPhrase(category=obj.category)
    if writer.chance(NEITHER_SHARE):
        others = sorted({one.color for one in phrase.matches(writer.graph)} - {obj.color})
        if not others:
            return None
        return Exclusion(phrase=phrase, values=(obj.color, writer.choice(others)), wordings=NEITHER)
    plural = writer.chance(PLURAL_SHARE)
    return Exclusion(
        phrase=phrase,
        values=(obj.color,),
        wordings=NOT_COLORS if plural else NOT_COLOR,
        plural=plural,
    )


def _text(exclusion: Exclusion, writer: Writer) -> Phrase:
    words = [_word(exclusion, value, writer) for value in exclusion.values]
    slots = {'no': words[0], 'nor': words[-1], 'a_no': indefinite(words[0])}
    if exclusion.wordings is NOT_COLOR and writer.chance(NOT_THIS_ONE_SHARE):
        named = nominal(exclusion.phrase, writer, plain=True)
        return writer.sentence(NOT_THIS_ONE, object=named, **slots)
    template = writer.pick(exclusion.wordings)
    it = compose(template, **nouns(template, exclusion.phrase, writer), **slots)
    return writer.request(it, PLURAL_REQUESTS if exclusion.plural else SINGULAR_REQUESTS)


def _word(exclusion: Exclusion, value: str, writer: Writer) -> Phrase:
    names = wording.COLORS if exclusion.phrase.color is None else wording.NOUNS
    objects = NounPhrase(**{'color' if names is wording.COLORS else 'category': value})
    alike = dict.fromkeys(labels(objects.matches(writer.graph)), 1.0)
    return grounded(writer.pick(names[value]), alike, 'attribute')


NEGATION = InstructionCategory(
    name='negation',
    generator=draft,
    sentences=SINGULAR_REQUESTS,
    wordings=(
        *(SINGULAR_REQUESTS, PLURAL_REQUESTS, NOT_COLOR, NOT_THIS_ONE),
        *(NOT_COLORS, NEITHER, NOT_CATEGORY),
    ),
    share=0.16,
    share_at_rest=0.16,
    early_weight=0.6,
    late_weight=1.6,
    is_shipped=False,
    is_lasting=True,
)
