"""Reads places relative to other objects: "the star in the bowl", "the mug left of the star".

The language model reads such sentences with the nouns that it knows. Nouns that were taught
afterwards are unknown to it, so that these sentences are split into candidates and anchors.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from instructseg_ros.model.composition import Composition, InOrder, Without
from instructseg_ros.model.phrase_patterns import (
    COLOR,
    COUNTING,
    DETERMINER,
    NEXT_TO,
    NOUN,
    PHRASE,
    REQUEST,
    WORD,
    all_of,
    any_of,
    stem,
)
from instructseg_ros.model.relations import Related

_MORE: Final = '(?:further|farther|more)'
_ME: Final = '(?:(?:to|from) (?:me|us|you|the (?:camera|robot)) )?'


def _side(side: str) -> str:
    """Return a pattern for "to the left of", "on its left side", "further left than"."""
    return any_of(
        rf'(?:(?:to|on|at|in|towards?) (?:the )?)?(?:far )?{side}(?:[ -]hand)?(?: side)? of',
        rf'to the {side} from|{_MORE} (?:over )?(?:to the )?{side} than|{side}wards? (?:of|from)',
    )


# The first wording that matches at a word counts.
_WORDINGS: Final = {
    'between': any_of(
        r'(?:half ?way |mid ?way )?(?:in )?between|flanked by|amid|betwixt',
        r'(?:in|at) the (?:space|gap|middle|cent(?:er|re)) between',
        r'(?:at|in) the (?:middle|cent(?:er|re)) of(?=[^,.;:?!]* and )',
        'sandwiched (?:between|by)',
    ),
    'left': _side('left'),
    'right': _side('right'),
    'front': any_of(
        '(?:in|at|to|on) (?:the )?(?:front|near)(?: side)? of|before|ahead of|on this side of',
        f'(?:nearer|closer|more close) {_ME}than|{_MORE} (?:forward|in front|to the front) than',
        f'less (?:far away|distant|remote) {_ME}than',
    ),
    'behind': any_of(
        'behind|beyond|(?:in|at|to|on) (?:the )?(?:back|rear|far)(?: side)? of|past',
        f'{_MORE} (?:(?:away|back|off|distant|remote) )?{_ME}than|less (?:near|close) {_ME}than',
        'deeper in the (?:picture|image) than',
    ),
    'on': any_of(
        '(?:on|at) (?:the )?top of|on|onto|upon|atop|(?:carried|supported) by|off(?: of)?'
    ),
    'above': any_of('above|over(?! (?:to|by|on)\\b)'),
    'below': any_of('below|under|underneath|beneath'),
    'far': any_of('(?:far|farthest|furthest|most distant|away)(?: away)? from'),
    'in': any_of(
        '(?:on|at) the (?:inside|bottom) of|inside(?: of)?|within|into|in|enclosed by|out of',
        'from(?: inside)?',
    ),
}
# How a part names the relation.
_PLAIN: Final = {
    **{'between': 'between', 'left': 'to the left of', 'right': 'to the right of'},
    **{'front': 'in front of', 'behind': 'behind', 'on': 'on', 'above': 'above'},
    **{'below': 'below', 'in': 'in', 'far': 'far from'},
}
# Relation of the first object if the second is in this relation to it.
_REVERSED: Final = {
    **{'left': 'right', 'right': 'left', 'front': 'behind', 'behind': 'front'},
    **{'in': 'holding', 'on': 'holding', 'above': 'below', 'below': 'above'},
}
_RELATION: Final = '(?:' + '|'.join(f'(?P<{name}>{each})' for name, each in _WORDINGS.items()) + ')'
_UNNAMED: Final = re.sub(r'\?P<\w+>', '?:', _RELATION)

# Between an object and its place: "the star, the one that is lying right in the bowl".
_LINK: Final = any_of(
    "that|which|who|that's|which's|there's|is|are|was|were|be|being|must|happens? to|would|should",
    'lies?|lays|stands?|sits?|rests?|lying|standing|sitting|resting|placed|located|put|kept|stored',
    'set|laid|stood|found|seen|visible|perched|contained|held|hidden|hiding|stuck|dropped|down|up',
    'there|right|just|directly|immediately|somewhere|currently|now|deep|over|off|away|flat|slightly',
    "i|you|we|can|you'll|we'll|see|find|do|have|got|will|the(?: ones?)?|i mean|ones?|those|it|they",
    'squeezed|centred|centered|only',
)
_LINKS: Final = rf'(?: ?,| [.;:](?= i mean\b)| {_LINK})*'
_NOT: Final = any_of(
    "not|isn't|aren't|ain't|never|except(?: for)?|but|besides|excluding|other than|apart from"
)
_ANYTHING: Final = any_of(
    "what's|whatever's",
    '(?:what|whatever|which)(?= is| are| do| can| have| stands?| lies| sits| you| i)',
    'something|anything|everything|(?:the|that)(?: ones?)?|those',
)
# "The star that is red in the bowl"
_COLORED: Final = (
    rf'(?P<determiner>(?:{DETERMINER} )?)(?P<noun>{NOUN}) (?:(?:that|which) is|in|painted) '
    rf'(?P<color>{COLOR})(?={_LINKS} {_UNNAMED} )'
)
_COLORED_ONE: Final = re.compile(rf'({COLOR}) one(s?)\b')
# More about the anchor: "the star in the bowl next to the mug", "... in the bowl on the left".
_TAIL: Final = (
    rf'(?: (?:{any_of("that is", "which is", "lying", "standing")} )?'
    rf'(?:(?:{_UNNAMED}|{NEXT_TO}(?: to)?) {PHRASE}'
    rf'|{any_of("(?:on|to) the (?:far )?(?:left|right)(?: side)?")}(?! of)))?'
)
_ONE_ANCHOR: Final = rf'(?P<anchor>{PHRASE})'
_TWO_ANCHORS: Final = (
    rf'(?P<first>{PHRASE}|(?:the|an?) {COLOR})(?: on one side)?(?: ,)? and '
    rf'(?P<second>{PHRASE}|(?:the|an?) other(?: one)?)'
)
_PLACE: Final = re.compile(rf'{_RELATION} (?:(?:both|either|two) )?{_ONE_ANCHOR}(?P<tail>{_TAIL})')
_BETWEEN: Final = re.compile(rf'(?P<between>{_WORDINGS["between"]}) (?:both )?{_TWO_ANCHORS}')
_AFTER_PLACE: Final = re.compile(
    rf'(?: ?[,.;:]| {any_of("and", "then", "also", "an?")}(?! [a-z-]+#))*{_LINKS} '
    rf'(?:{any_of("look at", "need", "want", "is", "are")} )?{REQUEST}(?P<target>{PHRASE})'
)
_GOAL: Final = re.compile(
    any_of('put|place|move|set|lay|stand|drop|slide|throw|pour|insert|stack|push|hang')
    + rf' {PHRASE}(?: (?:down|back|over))? (?:into|onto|{_UNNAMED})'
)
_TAKEN_FROM: Final = re.compile(any_of('off', 'out of', 'from') + '.*')

# "The bowl with the star in it", "the mug that has a star on its left".
_END: Final = r'(?= ?(?:[,.;:?!]|$))'
_OF_IT: Final = (
    rf'(?:{_RELATION} (?:it|them)\b|(?:(?:on|to) )?its (?P<its>left|right)\b'
    rf'|(?:on top|inside){_END})'
)
_WITH: Final = re.compile(
    rf'(?P<target>{PHRASE}|{_ANYTHING}){_LINKS} (?:with|has|having|have|bearing)(?: got)? '
    rf'(?P<anchor>{PHRASE}){_LINKS} {_OF_IT}'
)
_CONTAINS: Final = re.compile(
    rf'(?P<target>{PHRASE}|{_ANYTHING}){_LINKS} '
    rf'{any_of("contain(?:s|ing)?|hold(?:s|ing)?|carr(?:y|ies|ying)|support(?:s|ing)?|full of")} '
    rf'(?P<anchor>{PHRASE})'
)
# "The bowl that the star is in", "the bowl in which the star lies", "what is the star on?"
_STRANDED: Final = re.compile(
    rf'(?P<target>{PHRASE}|what(?:ever)?)(?: (?:that|which|is|are|does|do))* '
    rf'(?P<anchor>{PHRASE}){_LINKS} {_RELATION}{_END}'
)
_IN_WHICH: Final = re.compile(
    rf'(?P<target>{PHRASE}) (?:(?:{_RELATION} which)|(?P<where>where)) (?P<anchor>{PHRASE}) {_LINK}'
)
_ORDERS: Final = {
    'large': any_of('biggest|largest|bigger|larger'),
    'small': any_of('smallest|smaller|littlest|tiniest'),
    'left': any_of('leftmost'),
    'right': any_of('rightmost'),
    'front': any_of('nearest|closest|foremost|frontmost'),
    'back': any_of('farthest|furthest|rearmost'),
}
_FARTHEST: Final = re.compile(any_of('farthest|furthest|most distant') + ' ')
_MEANS_ALL: Final = re.compile(any_of('all|every|each|both'))
# "One of the stars in the bowl", "which of the stars is in the bowl?"
_MEANS_ONE: Final = re.compile(
    rf'^{any_of("one|any|either")} of|# .*{any_of("is|lies|sits|stands|rests", "the(?: one)?")}'
)
_MAX_NOUNS: Final = 12  # of an instruction
_MAX_NOUN: Final = 4  # words of a taught noun


def read_relation(words: str, is_taught: Callable[[str], bool]) -> Composition | None:
    """Split "the star in the bowl" if one of its nouns was taught.

    Args:
        words: An instruction in lower case whose nouns are marked with "#".
        is_taught: See `CompositionReader`.
    """
    if not _may_relate(words, is_taught):
        return None
    words = _with_nouns(words)
    for read in (_reversed, _placed):
        found = read(words, is_taught)
        if found is not None:
            return None if found.is_negated else found.composition()
    return None


def read_excluded_relation(words: str, is_taught: Callable[[str], bool]) -> Composition | None:
    """Split "the star that is not in the bowl" if one of its nouns was taught.

    Args:
        words: See `read_relation`.
        is_taught: See `read_relation`.
    """
    if not re.search(_NOT, words) or not _may_relate(words, is_taught):
        return None
    found = _placed(_with_nouns(words), is_taught)
    return found.exclusion() if found is not None and found.is_negated else None


def _may_relate(words: str, is_taught: Callable[[str], bool]) -> bool:
    return words.count('#') <= _MAX_NOUNS and _any_taught((words,), is_taught)


def _with_nouns(words: str) -> str:
    """Put colors before nouns, and name what "the red one" is: the last object, or any."""

    def named(found: re.Match[str]) -> str:
        noun = re.search('[a-z0-9-]+#', words[: found.start()])
        return f'{found[1]} {noun[0] if noun else "object" + found[2] + "#"}'

    words = re.sub(_COLORED, r'\g<determiner>\g<color> \g<noun>', words)
    return _COLORED_ONE.sub(named, words)


class _Relation:
    """A target, a relation, and the anchors, as they are named in an instruction.

    Args:
        target: Noun phrase; '' for any object.
        relation: One of `RELATIONS`.
        anchors: One noun phrase or two.
        link: Words between the target and its place.
    """

    def __init__(
        self, target: str, relation: str, anchors: tuple[str, ...], link: str = ''
    ) -> None:
        self._order, phrase = _order(target)
        self._candidates = _all_of(phrase) if phrase else 'every object'
        self._several = not _MEANS_ONE.search(f'{target}{link}') and (
            self._candidates.startswith('all the ') or bool(_MEANS_ALL.match(target))
        )
        self._relation, self._anchors = relation, anchors
        self.is_negated = bool(re.search(_NOT, link))

    def composition(self) -> Composition:
        """Return the parts, and the operation that combines their answers."""
        if self._order:
            return Composition(parts=(self._all(), self._all()), operation=InOrder(self._order))
        parts = (self._candidates, *self._anchors)
        return Composition(parts=parts, operation=Related(self._relation, several=self._several))

    def exclusion(self) -> Composition:
        """Return the same for an instruction that rules this relation out."""
        parts = (self._candidates, self._candidates, self._all())
        return Composition(parts=parts, operation=Without())

    def _all(self) -> str:
        place = _PLAIN.get(self._relation, 'with')
        anchors = ' and '.join(self._anchors)
        rest = ' in it' if self._relation == 'holding' else ''
        return f'{self._candidates} {place} {anchors}{rest}'


def _all_of(phrase: str) -> str:
    return all_of(COUNTING.sub('', re.sub(r'^both (?=\w)', 'the ', phrase)))


def _order(target: str) -> tuple[str, str]:
    """Return the order that a superlative names, or '', and the noun phrase without it."""
    for order, pattern in _ORDERS.items():
        rest, count = re.subn(f'{pattern} ', '', target)
        if count:
            return order, rest
    return '', target


def _reversed(words: str, is_taught: Callable[[str], bool]) -> _Relation | None:
    """Read "the bowl with the star in it" and "the bowl that the star is in"."""
    for pattern in (_WITH, _CONTAINS, _IN_WHICH, _STRANDED):
        found = pattern.search(words)
        if found is None or not _any_taught((found['target'], found['anchor']), is_taught):
            continue
        groups = found.groupdict()
        name = _name(found) or groups.get('its')
        relation = _REVERSED.get(name or 'in')
        if relation is not None:
            target = found['target'] if '#' in found['target'] else ''
            return _Relation(target, relation, (found['anchor'],))
    return None


def _placed(words: str, is_taught: Callable[[str], bool]) -> _Relation | None:
    """Read "the star in the bowl" and "in the bowl there is a star"."""
    start = 0
    while found := _next_place(words, start):
        start = found.start() + 1
        relation, anchors = _name(found), _anchors(found)
        before = words[: found.start()].strip()
        if found[0].startswith('from') and (far := _FARTHEST.search(before)):
            before, relation = before.replace(far[0], ''), 'far'
        target, link = _target_before(before, is_taught)
        if target is None and '#' not in before:
            behind = _AFTER_PLACE.match(words, _end(found))
            target = behind['target'] if behind else None
        if target is None or relation is None or not _any_taught((target, *anchors), is_taught):
            continue
        if _is_goal(words, found) or _is_choice(target, relation, anchors):
            return None
        return _Relation(target, relation, anchors, link)
    return None


def _next_place(words: str, start: int) -> re.Match[str] | None:
    places = [each for each in (_BETWEEN.search(words, start), _PLACE.search(words, start)) if each]
    return min(places, key=lambda each: each.start(), default=None)


def _end(place: re.Match[str]) -> int:
    """Return where the anchors of a place end, without what is told about them."""
    return place.end('anchor' if 'anchor' in place.re.groupindex else 'second')


def _name(found: re.Match[str]) -> str | None:
    """Return the relation that a match names."""
    groups = found.groupdict()
    return next((name for name in _WORDINGS if groups.get(name)), None)


def _anchors(found: re.Match[str]) -> tuple[str, ...]:
    groups = found.groupdict()
    if 'anchor' in groups:
        anchor = groups['anchor']
        if groups.get('between'):
            return (_all_of(anchor),)
        return (anchor + groups['tail'],)
    first, second = groups['first'], groups['second']
    if '#' not in first:
        first = f'{first} {second.split()[-1]}'
    if '#' not in second:
        return (all_of(first),)  # "between one star and the other"
    return first, second


def _target_before(before: str, is_taught: Callable[[str], bool]) -> tuple[str | None, str]:
    """Return the noun phrase at the end of some words, and what links it to its place.

    The noun phrase is '' for any object, and None if the words end otherwise.
    """
    phrases = [*re.finditer(PHRASE, before)]
    link = before[phrases[-1].end() :] if phrases else ''
    if phrases and re.fullmatch(f'{_LINKS}(?: {_NOT}{_LINKS})?', link):
        return _whole_noun(before, phrases[-1], is_taught), link
    is_anything = re.search(rf'{_ANYTHING}{_LINKS}$', before)
    return ('' if is_anything and not phrases else None), ''


def _whole_noun(words: str, phrase: re.Match[str], is_taught: Callable[[str], bool]) -> str:
    """Return a noun phrase with the words before it that belong to a taught noun."""
    earlier = re.search(rf'(?:{WORD} ){{1,2}}$', words[: phrase.start()])
    for count in range(len(earlier[0].split()) if earlier else 0, 0, -1):
        assert earlier is not None
        whole = ' '.join([*earlier[0].split()[-count:], phrase[0]])
        if is_taught(whole.replace('#', '')):
            return whole
    return phrase[0]


def _any_taught(phrases: tuple[str, ...], is_taught: Callable[[str], bool]) -> bool:
    """Return whether a noun of some noun phrases was taught."""
    for phrase in phrases:
        words = phrase.split()
        for end, word in enumerate(words, 1):
            starts = range(max(0, end - _MAX_NOUN), end) if word.endswith('#') else ()
            if any(is_taught(' '.join(words[start:end]).replace('#', '')) for start in starts):
                return True
    return False


def _is_goal(words: str, place: re.Match[str]) -> bool:
    """Return whether the place is where an object shall be put."""
    goal = _GOAL.search(words)
    return bool(goal and goal.end() > place.start() and not _TAKEN_FROM.match(place[0]))


def _is_choice(target: str, relation: str, anchors: tuple[str, ...]) -> bool:
    """Return whether a side chooses among the anchors: "the one on the left of the two stars"."""
    anchor = anchors[0]
    among = re.search(any_of('two|three|four|both|others?|rest'), anchor)
    return relation in ('left', 'right', 'front', 'behind') and bool(
        among and (not target or stem(target) == stem(anchor))
    )
