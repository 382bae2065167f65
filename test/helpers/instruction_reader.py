"""Reads instructions back from their words alone, without the code that wrote them."""

from __future__ import annotations

import re

from instructseg_ros.tabletop.instructions import TabletopInstruction, wording
from instructseg_ros.tabletop.instructions.noun_phrase import pluralized
from instructseg_ros.tabletop.world.scene_graph import SceneGraph, SceneObject

NOT_A_CAN = re.compile(r'\b(can (you(?! have got)|i|see)|you can|that can|something can)\b')


def _forms() -> list[tuple[str, str, str]]:
    tables = {'category': wording.NOUNS, 'color': wording.COLORS, 'size': wording.SIZES}
    forms = [
        (text, attribute, value)
        for attribute, table in tables.items()
        for value, words in table.items()
        for text in words.trained
    ]
    forms += [
        (pluralized(text), 'category', category)
        for text, name, category in forms
        if name == 'category'
    ]
    return sorted(forms, key=lambda form: -len(form[0]))


FORMS = _forms()


def described(text: str) -> dict[str, str]:
    """The category, color and size that a text names, those it names only."""
    rest = NOT_A_CAN.sub(' ', text.lower())
    found: dict[str, str] = {}
    for words, attribute, value in FORMS:
        if re.search(rf'\b{words}\b', rest):
            rest = re.sub(rf'\b{words}\b', ' ', rest)
            assert found.setdefault(attribute, value) == value, f'{text!r} names two of a kind'
    return found


def all_named(text: str, attribute: str) -> set[str]:
    """All categories, colors or sizes that a text names."""
    rest, found = NOT_A_CAN.sub(' ', text.lower()), set()
    for words, name, value in FORMS:
        if re.search(rf'\b{words}\b', rest):
            rest = re.sub(rf'\b{words}\b', ' ', rest)
            if name == attribute:
                found.add(value)
    return found


def matching(text: str, graph: SceneGraph) -> list[SceneObject]:
    """The objects that are all that a text names."""
    wanted = described(text).items()
    return [one for one in graph if all(getattr(one, name) == value for name, value in wanted)]


def split_at(instruction: TabletopInstruction, group: str) -> tuple[str, str, str]:
    """The text before, within and behind the phrases of a group."""
    spans = [(one.start, one.end) for one in instruction.groundings if one.group == group]
    start, end = min(spans)[0], max(spans)[1]
    text = instruction.text
    return text[:start], text[start:end].lower(), text[end:]
