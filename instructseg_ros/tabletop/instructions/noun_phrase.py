"""Noun phrases, and the objects that they fit."""

from __future__ import annotations

from dataclasses import dataclass, replace

from instructseg_ros.tabletop.instructions import wording
from instructseg_ros.tabletop.instructions.wording import (
    Phrase,
    Wordings,
    Writer,
    compose,
    grounded,
)
from instructseg_ros.tabletop.world.catalogue import COLORS, OBJECT_CATEGORIES
from instructseg_ros.tabletop.world.scene_graph import SceneGraph, SceneObject

OPPOSITE_SIZES = {'small': 'large', 'large': 'small'}
AFTER_NOUN_SHARE = 0.25
ATTEMPTS = 16


@dataclass(frozen=True)
class NounPhrase:
    """A category, color and size; None for those that the phrase does not mention."""

    category: str | None = None
    color: str | None = None
    size: str | None = None

    def fits(self, obj: SceneObject) -> bool:
        """Return whether the object has all attributes that the phrase mentions."""
        return (
            (self.category is None or self.category == obj.category)
            and (self.color is None or self.color == obj.color)
            and (self.size is None or self.size == obj.size)
        )

    def nearly_fits(self, obj: SceneObject) -> bool:
        """Return whether the phrase may describe the object: medium can mean any size."""
        if self.size is None or 'medium' in (self.size, obj.size):
            return replace(self, size=None).fits(obj)
        return self.fits(obj)

    def matches(self, graph: SceneGraph) -> list[SceneObject]:
        """Return the objects that the phrase fits."""
        return [obj for obj in graph if self.fits(obj)]


ANYTHING = NounPhrase()


def phrases_for(obj: SceneObject) -> list[NounPhrase]:
    """Return all noun phrases without a size that fit the object, the most general first."""
    return [
        ANYTHING,
        NounPhrase(category=obj.category),
        NounPhrase(color=obj.color),
        NounPhrase(category=obj.category, color=obj.color),
    ]


def sized_phrases_for(obj: SceneObject) -> list[NounPhrase]:
    """Return all sized noun phrases that fit the object; sizes are relative to the category."""
    return [
        NounPhrase(category=obj.category, size=obj.size),
        NounPhrase(category=obj.category, color=obj.color, size=obj.size),
    ]


def unique_phrase(obj: SceneObject, writer: Writer, *, sized: bool = False) -> NounPhrase | None:
    """Draw a noun phrase that fits only this object; None if another object looks the same."""
    options = phrases_for(obj)[1:] + (sized_phrases_for(obj) if sized else [])
    unique = [one for one in options if len(one.matches(writer.graph)) == 1]
    return writer.choice(unique) if unique else None


def absent_phrase(writer: Writer, *, sized: bool = False) -> NounPhrase | None:
    """Draw a noun phrase that fits no object, but would fit one if one attribute changed."""
    for _ in range(ATTEMPTS):
        obj = writer.choice(writer.graph)
        options = phrases_for(obj)[1:] + 2 * phrases_for(obj)[3:]
        options += sized_phrases_for(obj) if sized else []
        phrase = _one_attribute_off(writer.choice(options), writer)
        if not any(phrase.nearly_fits(other) for other in writer.graph):
            return phrase
    return None


def _one_attribute_off(phrase: NounPhrase, writer: Writer) -> NounPhrase:
    named = [name for name in ('category', 'color') if getattr(phrase, name)]
    if phrase.size in OPPOSITE_SIZES and writer.chance(0.5):
        return replace(phrase, size=OPPOSITE_SIZES[phrase.size])
    if writer.choice(named) == 'category':
        return replace(phrase, category=writer.choice(OBJECT_CATEGORIES))
    return replace(phrase, color=writer.choice(tuple(COLORS)))


def nominal(
    phrase: NounPhrase, writer: Writer, *, plural: bool = False, plain: bool = False
) -> Phrase:
    """Return a wording of a noun phrase, without article; if `plain`, the noun comes last."""
    slots = {'noun': _noun(phrase, writer, plural=plural)}
    slots['is'] = Phrase('are' if plural else 'is')
    if phrase.color is not None:
        slots['color'] = color_word(phrase.color, writer)
    if phrase.size is not None:
        alike = {one.label: 1.0 for one in writer.graph if one.size == phrase.size}
        slots['size'] = grounded(writer.pick(wording.SIZES[phrase.size]), alike, 'attribute')
    return compose(writer.pick(_order(phrase, writer, plain)), **slots)


def color_word(color: str, writer: Writer) -> Phrase:
    """Return a word for a color."""
    alike = {one.label: 1.0 for one in writer.graph if one.color == color}
    return grounded(writer.pick(wording.COLORS[color]), alike, 'attribute')


def singular_and_plural(phrase: NounPhrase, writer: Writer) -> dict[str, Phrase]:
    """Word a noun phrase, the noun last, for the slots `object` and `objects` (its plural)."""
    named = nominal(phrase, writer, plain=True)
    return {'object': named, 'objects': plural_of(named)}


def nouns(template: str, phrase: NounPhrase, writer: Writer) -> dict[str, Phrase]:
    """Word a noun phrase for the slots `object` and `objects` (plural) that a template has."""
    return {
        slot: nominal(phrase, writer, plural=plural, plain=True)
        for slot, plural in (('object', False), ('objects', True))
        if f'{{{slot}}}' in template
    }


def plural_of(named: Phrase) -> Phrase:
    """Return the plural of the wording of a noun phrase in which the noun comes last."""
    text = pluralized(named.text)
    groundings = (
        replace(one, end=len(text)) if one.end == len(named.text) else one
        for one in named.groundings
    )
    return Phrase(text, tuple(groundings))


def definite(phrase: NounPhrase, writer: Writer) -> Phrase:
    """Return a wording of a noun phrase with "the", for the anchor of a relation."""
    return compose('the {nominal}', nominal=nominal(phrase, writer, plain=True))


def indefinite(named: Phrase) -> Phrase:
    """Return the wording of a noun phrase with 'a' or 'an' before it."""
    return compose('an {nominal}' if named.text[0] in 'aeiou' else 'a {nominal}', nominal=named)


def _order(phrase: NounPhrase, writer: Writer, plain: bool) -> Wordings:
    named = [name for name in ('size', 'color') if getattr(phrase, name)]
    after = bool(named) and not plain and writer.chance(AFTER_NOUN_SHARE)
    return (wording.AFTER_NOUN if after else wording.BEFORE_NOUN)[' '.join(named)]


def _noun(phrase: NounPhrase, writer: Writer, *, plural: bool) -> Phrase:
    if phrase.category is None:
        return Phrase(writer.pick(wording.OBJECT_PLURALS if plural else wording.OBJECT_NOUNS))
    noun = writer.pick(noun_wordings(phrase.category))
    alike = {one.label: 1.0 for one in writer.graph if one.category == phrase.category}
    return grounded(pluralized(noun) if plural else noun, alike, 'attribute')


def noun_wordings(category: str) -> Wordings:
    """Return the nouns of a category of the catalogue, novel or not."""
    return wording.NOUNS.get(category) or wording.NOVEL_NOUNS[category]


def pluralized(noun: str) -> str:
    """Return the plural of a noun of one or more words."""
    head, _, last = noun.rpartition(' ')
    plural = wording.IRREGULAR_PLURALS.get(last) or _regular_plural(last)
    return f'{head} {plural}' if head else plural


def _regular_plural(noun: str) -> str:
    if noun.endswith('y') and noun[-2:-1] not in 'aeiou':
        return f'{noun[:-1]}ies'
    return f'{noun}es' if noun.endswith(('s', 'x', 'z', 'ch', 'sh')) else f'{noun}s'
