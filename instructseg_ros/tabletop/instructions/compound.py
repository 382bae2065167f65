"""Instructions for two targets, joined by "and", or for the one of two that is there."""

from __future__ import annotations

from instructseg_ros.tabletop.instructions.category import Draft, InstructionCategory, labels
from instructseg_ros.tabletop.instructions.noun_phrase import (
    NounPhrase,
    absent_phrase,
    definite,
    nominal,
    unique_phrase,
)
from instructseg_ros.tabletop.instructions.wording import (
    PLURAL_REQUESTS,
    SINGULAR_REQUESTS,
    Phrase,
    Wordings,
    Writer,
    compose,
)

BOTH = Wordings.parse("""
    {first} and {second} | {first} and {second} | both {first} and {second} |
    {first} and also {second} | {first} together with {second} | {first}, and {second} |
    {first} as well as {second} | {first} plus {second} | {first} with {second}, both of them |
    two things, {first} and {second} | {first} and {second}, both | {first}, {second} |
    {first}, also {second} | {first} and {second} together | {first} and {second} at once |
    {first}, and besides that {second} | {first} in addition to {second} |
    not only {first} but also {second} | not just {first} but {second} as well |
    {first} and {second} as well | {first} accompanied by {second} | {first} and likewise {second} |
    {first} and, while you are at it, {second} | {first}, then {second} |
    first {first} and after that {second} | {first} and {second}, I need both |
    {first}, and don't forget {second} | {first}, and oh, {second} too |
    {first} and {second}, not only one of them | {first} as well as {second}, please |
    {first} and even {second} | the following, {first} and {second} |
    {first} and {second} all together | {first}, but {second} also |
    at the same time {first} and {second} | {first} and of course {second} |
    {first}, and {second} with it | {first} alongside {second}
    // {first} along with {second} | {first} and then {second} | {first} and {second} too
""")
EITHER = Wordings.parse("""
    {first} or {second} | either {first} or {second} | {first} or else {second} |
    {first} or, if there is none, {second} | {first}, or otherwise {second} |
    {first} or {second}, whichever you find | one of {first} and {second} |
    {first}, failing that {second} | {first} or maybe {second} | {first} or perhaps {second} |
    {first} or {second}, whichever is there | {first} or {second}, I don't mind which |
    {first} or {second}, only one of them is there | {first} or {second}, either is fine |
    {first}, or {second} if you don't see it | {first} or, failing that, {second} |
    either one, {first} or {second} | whichever is there, {first} or {second} |
    one of the two, {first} or {second} | {first}, unless it is missing, then {second} |
    {first} or {second}, it doesn't matter which | {first} or possibly {second} |
    {first} or alternatively {second} | {first} or in its place {second} |
    {first} if it is there, else {second} | {first} or {second}, what you see first |
    {first}, or if you haven't got it, {second} | maybe {first}, maybe {second} |
    {first} or even {second} | just one of them, {first} or {second} |
    {first} if there is one, otherwise {second}
    // {first} or instead {second} | {first}, if not then {second}
""")
ALL_OF = Wordings.parse("""
    all the {objects} | all {objects} | the {objects} | all of the {objects} |
    every single one of the {objects} | each of the {objects} | all these {objects} |
    all those {objects} | the whole lot of {objects} | all the {objects} there are |
    the {objects}, all of them | each one of the {objects} | all the {objects} you see
    // every one of the {objects}
""")
JOINTS = {'both': (BOTH, PLURAL_REQUESTS), 'either': (EITHER, SINGULAR_REQUESTS)}
EITHER_SHARE = 0.3
ALL_OF_SHARE = 0.2
ATTEMPTS = 16


def draft(writer: Writer, *, absent: bool) -> Draft | None:
    """Draft an instruction for two targets or for the one of two that is there, if any."""
    if absent:
        return _alternatives(writer, absent_phrase(writer), absent_phrase(writer))
    if writer.chance(EITHER_SHARE):
        there = unique_phrase(writer.choice(writer.graph), writer)
        return _alternatives(writer, *writer.shuffled([there, absent_phrase(writer)]))
    for _ in range(ATTEMPTS):
        first, second = _part(writer), _part(writer)
        if first and second and not first[1] & second[1]:
            targets = first[1] | second[1]
            text = _joined('both', first[0], second[0], writer)
            return Draft(text=text, targets=targets, candidates=targets)
    return None


def _joined(meaning: str, first: Phrase, second: Phrase, writer: Writer) -> Phrase:
    slots = {'first': first, 'second': second}
    sentence = writer.paraphrase(meaning, lambda: slots)
    if sentence is not None:
        return sentence
    wordings, requests = JOINTS[meaning]
    return writer.request(compose(writer.pick(wordings), **slots), requests)


def _part(writer: Writer) -> tuple[Phrase, frozenset[int]] | None:
    """Word a phrase for one object or for all of a category; return it with their labels."""
    obj = writer.choice(writer.graph)
    alike = NounPhrase(category=obj.category)
    several = labels(alike.matches(writer.graph))
    if len(several) > 1 and writer.chance(ALL_OF_SHARE):
        named = nominal(alike, writer, plural=True, plain=True)
        return compose(writer.pick(ALL_OF), objects=named), several
    phrase = unique_phrase(obj, writer)
    return (definite(phrase, writer), labels([obj])) if phrase else None


def _alternatives(
    writer: Writer, first: NounPhrase | None, second: NounPhrase | None
) -> Draft | None:
    if first is None or second is None or first == second:
        return None
    targets = labels([*first.matches(writer.graph), *second.matches(writer.graph)])
    text = _joined('either', definite(first, writer), definite(second, writer), writer)
    return Draft(text=text, targets=targets, candidates=targets)


COMPOUND = InstructionCategory(
    name='compound',
    generator=draft,
    sentences=SINGULAR_REQUESTS,
    wordings=(SINGULAR_REQUESTS, PLURAL_REQUESTS, BOTH, EITHER, ALL_OF),
    share=0.1,
    share_at_rest=0.1,
    early_weight=0.6,
    late_weight=0.7,
    is_lasting=True,
)
