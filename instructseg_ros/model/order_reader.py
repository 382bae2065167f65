"""Reads places in an order: "the second mug from the left", "the two biggest", "the middle one".

An instruction of this kind names a place ("second", "the two", "next") and an order ("from the
left", "least far"), in any sequence and with any words between them. So each name is replaced by a
mark, <2> or <left>, and the marks alone decide.
"""

from __future__ import annotations

import functools
import re
from typing import Final

from instructseg_ros.model.composition import Composition, InOrder
from instructseg_ros.model.phrase_patterns import (
    BETWEEN,
    COLOR,
    COUNTING,
    NEAREST_TO,
    NEIGHBORING,
    ORDINALS,
    PHRASE,
    all_of,
    any_of,
    describes_another,
    find_phrases,
    stem,
)

_CARDINALS: Final = {'two': 2, 'couple': 2, 'pair': 2, 'three': 3, 'four': 4, 'five': 5}
_OPPOSITE: Final = {'large': 'small', 'small': 'large', 'front': 'back', 'back': 'front'}
_STEMS: Final = {
    'large': 'big|large|great|huge|bulk|sizeable|sizable',
    'small': 'small|little|littl|tiny|tini|wee|teeny|teeni',
    'front': 'near|close',
    'back': 'far|fur|distant|remote',
}
_COUNT: Final = f'(?:{"|".join(_CARDINALS)}|[2-5])'
_ANY_WORD: Final = r"(?: [a-z0-9'-]+#?)"
_OTHERS: Final = '(?:(?:all )?(?:of )?(?:the )?(?:others?|rest|lot))'
_OF_THE_ROW: Final = rf'(?: of (?:the (?:table|row|picture|image|line)|{_OTHERS}))'
_MOST: Final = rf'(?:(?:most|least) )?(?:{"|".join(_STEMS.values())})(?:g?est|st|-est|thest)\b'


def _one_of(*patterns: str) -> re.Pattern[str]:
    return re.compile('|'.join(patterns))


# Patterns of what becomes a mark, in the sequence in which they are replaced.
_MIDDLE: Final = _one_of(
    r'\b(?:(?:sandwiched |right |bang )?(?:in|at) the )?(?:exact )?'
    r'(?:middle|center|centre|central|inner|median)(?![\w-])(?! sized?\b)'
    # Not "in the middle of the mug and the ball" or "of the plate".
    r'(?! (?:of|from|between) [^,.;:?!]*\band\b)'
    r'(?! (?:of|in) (?!the (?:three|row|others?|lot|two|table)\b)'
    rf'(?!(?:the|these|those|all|its|them|both){_ANY_WORD}*? [a-z-]*s#)(?:the|an?|my|this))',
    rf'\bone{_ANY_WORD}* (?:to|on) its left and one{_ANY_WORD}* (?:to|on) its right\b',
    r'\b(?:one|another|an? neighbou?r)(?: one)?(?: [a-z]+#)? on (?:each|either|both) sides?\b',
    r'\b(?:in )?(?:between|flanked by|sandwiched (?:between|by)|surrounded by) (?:the|its|two) '
    r'(?:(?:two )?(?:others?|outer|end|outside)(?: two| ones)?|two fellows)(?: [a-z]+s#)?'
    r'(?![\w# ]* and\b)',
    r'\bhalf-? ?way along\b',
    r'\bneither (?:first nor last|on the left nor on the right)\b',
)
# "The next biggest", "one up from the smallest": the second.
_RUNNER_UP: Final = _one_of(
    rf'\bnext(?: to)? (?={_MOST})',
    r'\bnext (?:in size|size|step|one up|yin)\b',
    r'\b(?:one|a) (?:(?:step|size|place|notch) )?(?:up|down) from\b',
    r'\brunner-up\b|\bsilver medal\b|\bafter it in size\b',
    rf'\bjust (?:below|above|under|over) (?:it\b|the (?={_MOST}))',
    r'\bafter the (?=(?:very )?(?:big|small))',
    rf'(?:bigger|larger|smaller|littler) than the (?={_MOST})',
    rf'(?P<order>{_MOST}) of (?:the )?(?:others|rest)',
)
_SIDE: Final = _one_of(
    r'\b(?:from|at|on|off|frae|with|to|in|by|of|starting|beginning) (?:the|your|my)'
    r'(?: very| far| extreme)? (left|right)(?![\w-])(?! of )(?:[ -]hand)?'
    rf'(?: side| end| edge| corner)*{_OF_THE_ROW}?',
    rf'\b(?:to|on) the (left|right){_OF_THE_ROW}',
    r'\b(?:from|by|frae|off|look|looking|going|reading|counting|starting|beginning|furthest|far'
    r'|farthest|most)(?: to the)? (left|right)(?![\w-])'
    r'(?! (?:of|now|away|there|here|in|off|after|then|next)\b)',
    r'\b(left|right)[ -]to[ -](?:left|right)\b',
    r'\b(left|right)[ -](?:hand )?(?:side|end|edge)|\b(left|right)most\b',
    r'\b(left|right)(?: one)? (?:first|being)\b|^(left|right) to start',
)
_ONLY_ONE_IS: Final = re.compile(
    rf'\b(?:only|just) one(?P<rest>{_ANY_WORD}*) '
    r'(?:is (?:bigger|larger|(?P<small>smaller|littler))|beats)\b'
)
_FROM_SIZE: Final = _one_of(
    r'\b(?:from )?(?P<small>small|little) to (?:large|big)\b|\bfrom (?:large|big) to small\b',
    r'\b(?:(?P<ascending>ascending)|descending) (?:in )?size\b',
)
_AWAY: Final = r'(?: away| off)?(?: (?:from|to) (?:me|us|you|the (?:camera|robot)))?'
_ALSO: Final = {
    'front': r'\b(?:foremost|frontmost)\b|\b(?:from|at|in) the front\b',
    'back': r'\b(?:from|at|in) the (?:back|rear)\b',
}
_SUPERLATIVES: Final = {
    order: _one_of(
        rf'\b(?P<measure>most|least) (?:{stems})\b{_AWAY}',
        rf'\b(?:{stems})(?:g?est|st|-est|er?most|thest)\b{_AWAY}',
        *filter(None, [_ALSO.get(order)]),
    )
    for order, stems in _STEMS.items()
}
_BY_SIZE: Final = re.compile(any_of('(?:for|in|by|of) size', 'size rank', 'size-?wise'))
# "The two mugs on the right", not "the leftmost of the three mugs" and not "with two handles".
_FIRST_N: Final = _one_of(
    r'(?<!of )(?<!from )(?<!among )(?<!between )(?<!with )'
    rf'(?P<before>\b(?:the|those|these|whichever|all|last) |> ?)(?:first )?(?P<count>{_COUNT})'
    r'(?![\w-])',
    r'(?<!number )(?<!no )(?<!place )(?<!position )(?<!rank )'
    rf'\b(?P<most>{_COUNT})(?= (?:of \w+ )?<)',
    rf'\b(?P<of_them>{_COUNT}) of (?:them|those|the|these)\b',
)
_NTH: Final = _one_of(
    rf'\b(?<!\ba )(?<!\bone )(?<!\bjust )(?P<nth>{"|".join(ORDINALS)})(?![\w-])'
    r'(?! (?:time|hand|floor|shelf|row|drawer|grade)\b)',
    r'\b(?P<digit>[1-5])(?:st|nd|rd|th)(?!\w)',
    rf'\b(?:number|position|rank|place|no|nr) (?:\. )?(?P<number>{_COUNT})(?!\w)',
)

# "Not the biggest, the one just below it" rules nothing out that could be taken.
_NOT_THE_ENDS: Final = re.compile(
    r"\b(?:not|no|isn't|leave|skip|ignore)(?: at)? (?:the )?(?:two )?"
    rf'(?:out(?:er|side)|ends?|left|right|{_MOST})\b'
    r'(?: (?:end|yins|ones?|side|where it is|[a-z]+#))*'
)
_RULES_OUT: Final = re.compile(
    any_of(
        'except|excluding|besides|without (?:the|an?|any)|minus|instead of|rather than',
        'apart from|aside from|other than|neither|nor|ignoring|forget',
        '(?:skip|leave)(?: out)?(?= the)',
        rf"(?:not|\w+n't|no|never)(?: (?:want|need|take|bring))? (?:the|an?|any|my|{COLOR})",
    )
)
_OF_TWO: Final = any_of(
    '(?:of|among|between|out of|from)(?: all)?(?: the| these| those)? (?:two|both|pair)', 'compar.*'
)


def read_order(words: str) -> Composition | None:
    """Split "the second mug from the left", "the two smallest mugs" and "the middle mug".

    Args:
        words: An instruction in lower case whose nouns are marked with "#".
    """
    words = re.sub(r'\b(next|second|third)(?:(?<=next)-to)?-(?!to-)(?=[a-z])', r'\1 ', words)
    words = re.sub('^(?:second|third) , ', '', words)
    marked = _marked(words)
    if _has_another_form(words, _unmarked(marked)):
        return None
    operation, candidates = _operation(marked), _candidates(marked)
    if operation is None or candidates is None:
        return None
    if operation.last > operation.first and not candidates.startswith('all the'):
        return None  # "the two tone mug on the right"
    joint = 'of' if '<middle>' in marked else 'and'
    others = re.findall(rf'\b{joint} ({PHRASE})', _unmarked(marked))
    if any(stem(other) != stem(candidates) for other in others):
        return None
    return Composition(parts=(candidates, None), operation=operation)


def _has_another_form(words: str, unmarked: str) -> bool:
    """Return whether an instruction compares two objects, rules some out or names a neighbor."""
    is_comparison = re.search(_OF_TWO, _MIDDLE.sub('', words))
    rules_out = _RULES_OUT.search(_MIDDLE.sub('', _NOT_THE_ENDS.sub('', words)))
    has_neighbor = NEAREST_TO.search(words) or re.search(f'{NEIGHBORING} {PHRASE}', unmarked)
    return bool(is_comparison or rules_out or has_neighbor)


def _marked(words: str) -> str:
    """Replace every name of an order or of a place by a mark."""
    words = _MIDDLE.sub('<middle>', words)
    words = _RUNNER_UP.sub(lambda found: f'<2> {found["order"] or ""}', words)
    words = _SIDE.sub(lambda found: f'<{next(filter(None, found.groups()))}>', words)
    words = _ONLY_ONE_IS.sub(
        lambda found: f'<2> <{"small" if found["small"] else "large"}>{found["rest"]}', words
    )
    words = _FROM_SIZE.sub(
        lambda found: '<small>' if found['small'] or found['ascending'] else '<large>', words
    )
    for order, pattern in _SUPERLATIVES.items():
        words = pattern.sub(functools.partial(_superlative_mark, order), words)
    if not re.search('<(?:large|small)>', words):
        words = _BY_SIZE.sub('<large>', words)
    words = _FIRST_N.sub(lambda found: f'{found["before"] or ""}<to {_number(found)}>', words)
    return _NTH.sub(lambda found: f'<{_number(found)}>', words)


def _superlative_mark(order: str, found: re.Match[str]) -> str:
    return f'<{_OPPOSITE[order] if found["measure"] == "least" else order}>'


def _number(found: re.Match[str]) -> int:
    text = next(text for name, text in found.groupdict().items() if text and name != 'before')
    return (ORDINALS | _CARDINALS).get(text) or int(text)


def _operation(marked: str) -> InOrder | None:
    """Return what the marks mean; None if they are incomplete or contradict each other."""
    orders = re.findall('<(left|right|front|back|large|small)>', marked)
    places = {int(place) for place in re.findall(r'<(\d)>', marked)}
    lasts = [int(last) for last in re.findall(r'<to (\d)>', marked)]
    if re.search(r'# with (?:(?:the|an?) <\d|an? [a-z]+#? (?:(?:on|in) )?<middle)', marked):
        return None  # "the mug with the second biggest handle"
    if re.search(r'> (?:and|or) (?:the )?<\d|<\d> (?:to|from) last', marked):
        return None  # "the first and the third", "the second to last"
    if len(places) > 1:
        places -= {1}  # "the left one is the first; take the second"
    if orders and len(places) == 1:
        [place] = places
        return InOrder(orders[0], first=place, last=place)
    if orders and lasts:
        return InOrder(orders[0], first=1, last=lasts[0])
    if '<middle>' in marked and not orders and not places and not re.search(BETWEEN, marked):
        return InOrder('left', first=2, last=2, of=3)
    return None


def _candidates(marked: str) -> str | None:
    """Return an instruction for the objects in order: those named closest to the place."""
    place = re.search(r'<(?:to )?\d>|<middle>', marked)
    position = len(_unmarked(marked[: place.start()])) if place else 0
    phrases = find_phrases(_unmarked(marked))
    if not phrases:
        return None
    nearest = min(phrases, key=lambda each: max(each.start() - position, position - each.end()))
    return None if describes_another(nearest) else all_of(nearest[0])


def _unmarked(marked: str) -> str:
    return re.sub(' +', ' ', COUNTING.sub('', re.sub('<[^>]*>', '', marked)))
