"""Instructions that rule objects out, by a color or category, or as "the other one".

The objects that are ruled out are the anchors: the model learns to find them, and to leave them.
"""

from __future__ import annotations

from dataclasses import dataclass

from instructseg_ros.tabletop.instructions import wording
from instructseg_ros.tabletop.instructions.category import Draft, InstructionCategory, labels
from instructseg_ros.tabletop.instructions.noun_phrase import (
    NounPhrase,
    color_word,
    indefinite,
    nouns,
    singular_and_plural,
)
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
    the {object} in some color that is not {no} | the {object} that has a color other than {no} |
    the {object} that ain't {no} | the {object} that's not {no} | the {object} with no {no} on it |
    the {object} that has got no {no} on it | the {object} which doesn't have the color {no} |
    the {object} that hasn't got the colour {no} | the {object} in a different color than {no} |
    the {object} with a different colour from the {no} one | some {object} that isn't {no} |
    the {object} of some other color than {no} | whichever {object} isn't {no} |
    whatever {object} is not {no} | the {object} besides the {no} one |
    the {object} apart from the {no} one | the other {object} aside from the {no} one |
    the {object} instead of the {no} one | the {object}, just not the {no} one |
    the other {object} rather than the {no} one | the other {object} in place of the {no} one |
    the other one of the pair of {objects}, not the {no} one |
    the {object} left over without the {no} one |
    the {object} that is left once the {no} one is gone |
    the {object} that remains when you leave out the {no} one |
    the remaining {object}, not the {no} one | the {object} whose color is not {no} |
    the {object} whose colour differs from {no} | the {object} that has any colour but {no} |
    the not {no} {object} | the {object}, anything but {no} | the {object} in anything but {no} |
    the {object} nobody would call {no} | the {object} you wouldn't call {no} |
    the {object} unlike the {no} one | the {object} which is different from the {no} one |
    no {no} {object} but the other one | the {object} that lacks the color {no} |
    the {object} that isn't the {no} one | the {object}, ignoring the {no} one |
    the {object} excluding the {no} one | the {object} which is not at all {no} |
    the one {object} that isn't painted {no} | the {object} which ain't the {no} one |
    the only {object} that is not {no} | the {object} left when we skip the {no} one |
    the {object} with some colour, no matter which, but not {no} |
    the companion to the {no} {object}, not the {no} one itself
    // the {object} which isn't {no} | the {object} which does not look {no} |
    the {object} that is anything but {no}
""")
NOT_THIS_ONE = Wordings.parse("""
    I do not want the {no} {object}, give me the other one |
    don't take the {no} one, I need the other {object} | not the {no} {object} but the other one |
    leave the {no} {object} and take the other one | not the {no} one but the other {object} |
    there is {a_no} {object}, show me the other one | not the {no} {object}, find the other one |
    bring me the other {object}, I don't want the {no} one |
    I see the {no} {object}, now the other | where is the other {object}? I can see the {no} one |
    not {a_no} {object}, please, the other one | I said not {no}, so bring the other {object} |
    skip the {no} {object} and grab the other | keep the {no} one, I'll have the other {object} |
    ignore the {no} {object} and show me the other one |
    forget the {no} {object}, which is the other? |
    forget about the {no} one and get the other {object} |
    leave the {no} {object} alone and pass me the other one |
    leave the {no} one where it is and pick the other {object} |
    anything but the {no} {object}, so the other one |
    never mind the {no} {object}, take the other |
    the {no} {object} is no good. I need the other one |
    the {no} {object} is wrong. find the other one |
    I don't like the {no} {object}. give me the other one |
    I hate the {no} one, hand me the other {object} |
    there are two {objects}. I want the one that is not {no} |
    here are some {objects}. take the one that isn't {no} |
    of these {objects} I want the one that ain't {no} | of the two {objects}, not the {no} one |
    two {objects}, one {no}. bring me the other one | see the {no} {object}? I want the other one |
    you know the {no} {object}? well, I need the other |
    the {object}. no, not the {no} one, the other |
    that {no} {object} is mine, yours is the other one |
    one {object} is {no}. where is the other one? |
    besides the {no} {object}, what other {object} is there? |
    apart from the {no} {object}, which {object} do you see? |
    if it is not {no}, bring me that {object} | bring me the {object} as long as it isn't {no} |
    instead of the {no} {object} give me the other one |
    rather than the {no} {object}, I'd take the other one |
    in place of the {no} {object} I'd like the other |
    don't touch the {no} {object}, lift the other one |
    dinnae gie me the {no} {object}, I want the other one |
    the {no} {object} may stay, hand me the other | which {object} is not {no}? |
    which of the {objects} isn't {no}? | what {object} is there that is not {no}? |
    which {object} has a color other than {no}? | is there another {object} than the {no} one? |
    the {no} {object} stays here, the other one goes |
    do not bring the {no} {object}, bring its companion |
    someone else has the {no} {object}, so I take the other one |
    could I have the other {object}? not the {no} one |
    please, not the {no} {object}. the other, please |
    I've already got the {no} {object}, now I need the other one |
    we use the {no} {object} already, so find us the other
    // I have no use for the {no} {object}, I want the other |
    leave out the {no} one, find the other {object}
""")
NOT_COLORS = Wordings.parse("""
    all the {objects} that are not {no} | the {objects} that aren't {no} |
    all {objects} except the {no} one | every {object} but the {no} one |
    all the other {objects}, not the {no} one | the rest of the {objects}, without the {no} one |
    all {objects} other than the {no} ones | each {object} that is not {no} |
    the {objects}, except for the {no} one | every {object} apart from the {no} one |
    all the {objects} that ain't {no} | all {objects} apart from the {no} one |
    all the {objects} besides the {no} one | every {object} aside from the {no} one |
    every {object} that isn't {no} | any {objects} that aren't {no} | the non {no} {objects} |
    the {objects} with any colour but {no} | the {objects} of other colors than {no} |
    the {objects} that don't have the color {no} | the {objects} which have no {no} on them |
    all the {objects} whose color isn't {no} | all {objects}, just not the {no} one |
    all {objects}, ignoring the {no} one | all {objects}, skipping the {no} one |
    all the {objects} excluding the {no} one | the {objects} left over without the {no} one |
    the {objects} that remain when the {no} one is gone | all {objects} minus the {no} one |
    the remaining {objects} after you leave out the {no} one |
    everything that is left of the {objects} without the {no} one |
    each {object} except for the {no} one | each {object} that has a different color than {no} |
    the other {objects} rather than the {no} one | the other {objects} instead of the {no} one |
    every last {object}, only not the {no} one |
    as many {objects} as there are, except the {no} one |
    all of the {objects} in a colour different from {no} | whichever {objects} are not {no} |
    the rest of the {objects}, leaving the {no} one alone |
    none of the {no} but all the other {objects} | all the not {no} {objects} |
    those {objects} that are not {no} | these {objects}, save for the {no} one
    // all {objects} but the {no} one | the remaining {objects}, not the {no} one |
    all the {objects} which are not {no}
""")
NEITHER = Wordings.parse("""
    the {object} that is neither {no} nor {nor} | the {object} that is not {no} and not {nor} |
    the {object} which isn't {no} or {nor} | neither the {no} nor the {nor} {object} but the other |
    not the {no} {object} and not the {nor} one, the other one |
    the {object} that ain't {no} or {nor} | the {object} that's neither {no} nor {nor} |
    the {object} that has neither the color {no} nor {nor} |
    the {object}, except the {no} and the {nor} one |
    the {object} other than the {no} and the {nor} one |
    any {object} but the {no} one and the {nor} one |
    the {object} besides the {no} one and the {nor} one |
    the {object} apart from the {no} and the {nor} one |
    the {object} that isn't {no} and isn't {nor} either |
    the remaining {object}, not the {no} one nor the {nor} one |
    the {object} left over without the {no} and {nor} ones |
    the last {object}, when the {no} and the {nor} one are gone |
    the {object} in some other color than {no} and {nor} |
    the {object} with a colour different from {no} and {nor} |
    the {object} in any colour but {no} or {nor} | no {no} one, no {nor} one, the other {object} |
    none of the {no} and {nor} {objects} but the other one |
    the other {object} instead of the {no} or the {nor} one |
    the other {object} rather than the {no} one or the {nor} one |
    the {object}, leaving out the {no} and the {nor} one |
    the {object} that doesn't look {no} or {nor} | whichever {object} is not {no} and not {nor} |
    the non {no} and non {nor} {object}
    // the {object} with neither {no} nor {nor} color | not the {no} or {nor} {object} but the other
""")
NOT_CATEGORY = Wordings.parse("""
    the {object} that is not {a_no} | the {object} that isn't {a_no} |
    the {object} other than the {no} | the {object}, but not the {no} |
    any {object} except the {no} | the {object} which is not the {no} |
    not the {no} but the other {object} | the {object} that ain't {a_no} |
    the {object} that's not {a_no} | whichever {object} isn't {a_no} |
    the {object} besides the {no} | the other {object} apart from the {no} |
    the other {object} aside from the {no} | the {object} which is no {no} |
    any {object} as long as it is not {a_no} | the {object}, just not the {no} |
    the other {object} rather than the {no} | the other {object} instead of the {no} |
    the {object} in place of the {no} | the {object} that nobody would call {a_no} |
    the {object} that is something else than {a_no} | the {object} that is different from the {no} |
    the {object} that is left without the {no} | the remaining {object}, without the {no} |
    the {object} that is anything except {a_no} | the other {object}, ignoring the {no} |
    the other {object}, forget the {no} | the other {object} and leave the {no} alone |
    the only {object} that is not {a_no} | the {object} excluding the {no} |
    the {object} unlike the {no} | the other {object}, skip the {no} |
    the {object}, anything but the {no}
    // the {object} which isn't {a_no} | the {object} and not the {no}
""")
WORDINGS = {
    'not color': NOT_COLOR,
    'rest': NOT_COLORS,
    'neither': NEITHER,
    'not category': NOT_CATEGORY,
}
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
        meaning: A key of `WORDINGS`; in 'rest', several objects are left.
    """

    phrase: NounPhrase
    values: tuple[str, ...]
    meaning: str

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
        wanted = left == 0 if absent else left >= 2 if exclusion.meaning == 'rest' else left == 1
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
            phrase=NounPhrase(color=obj.color), values=(obj.category,), meaning='not category'
        )
    phrase = NounPhrase(category=obj.category)
    if writer.chance(NEITHER_SHARE):
        others = sorted({one.color for one in phrase.matches(writer.graph)} - {obj.color})
        if not others:
            return None
        return Exclusion(
            phrase=phrase, values=(obj.color, writer.choice(others)), meaning='neither'
        )
    meaning = 'rest' if writer.chance(PLURAL_SHARE) else 'not color'
    return Exclusion(phrase=phrase, values=(obj.color,), meaning=meaning)


def _text(exclusion: Exclusion, writer: Writer) -> Phrase:
    return _paraphrase(exclusion, writer) or _composed(exclusion, writer)


def _paraphrase(exclusion: Exclusion, writer: Writer) -> Phrase | None:
    meaning = exclusion.meaning
    if meaning == 'not category':
        return None
    if meaning == 'not color' and writer.chance(NOT_THIS_ONE_SHARE):
        meaning = 'other'

    def slots() -> dict[str, Phrase]:
        colors = [color_word(color, writer) for color in exclusion.values]
        named = singular_and_plural(exclusion.phrase, writer)
        return {**named, 'color': colors[0], 'color2': colors[-1]}

    return writer.paraphrase(meaning, slots)


def _composed(exclusion: Exclusion, writer: Writer) -> Phrase:
    words = [_word(exclusion, value, writer) for value in exclusion.values]
    slots = {'no': words[0], 'nor': words[-1], 'a_no': indefinite(words[0])}
    if exclusion.meaning == 'not color' and writer.chance(NOT_THIS_ONE_SHARE):
        return writer.sentence(
            NOT_THIS_ONE, **singular_and_plural(exclusion.phrase, writer), **slots
        )
    template = writer.pick(WORDINGS[exclusion.meaning])
    it = compose(template, **nouns(template, exclusion.phrase, writer), **slots)
    return writer.request(it, PLURAL_REQUESTS if exclusion.meaning == 'rest' else SINGULAR_REQUESTS)


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
    late_weight=1.5,
    is_lasting=True,
)
