"""Splits instructions into simpler ones: "the mug and the bottle", "the second mug from the left".

The embedded language model learns such sentences badly and simple ones well. Nouns that the model
knows are marked with "#"; a noun phrase is such a noun with the words before it that can belong to
it. Everything else here is the grammar of what connects noun phrases.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from typing import Final

from instructseg_ros.model.composition import AllOf, InOrder, Nearest, OneOf, Operation, Without


@dataclasses.dataclass(frozen=True, kw_only=True)
class Composition:
    """Simpler instructions, and how their answers become one.

    Attributes:
        parts: The simpler instructions; None is the whole instruction, which is not split again.
        operation: Combines the answers to the parts.
    """

    parts: tuple[str | None, ...]
    operation: Operation


class CompositionReader:
    """Splits instructions.

    Args:
        is_noun: Whether a word in lower case names an object that the model knows.
    """

    def __init__(self, is_noun: Callable[[str], bool]) -> None:
        self._is_noun = is_noun

    def read(self, text: str) -> Composition | None:
        """Split an instruction; None if it is a simple one, or in no form that is known here."""
        words = re.findall(r"[a-z0-9'-]+|[,.;:?!]", _normalized(text))
        words = [f'{word}#' if self._is_object(word) else word for word in words]
        marked = _VERB_CAN.sub('can', ' '.join(words))
        marked = _OR_IF.sub('or', _IF_NOT.sub(r'\g<first> or \g<second>', marked))
        marked = _NOT_ONLY.sub(r'\1 and ', _EMPTY.sub('', marked)).strip(_MARKS)
        for read in (_negation, _two_targets, _order, _neighbor):
            composition = read(marked)
            if composition is not None:
                plain = (part and _written(part) for part in composition.parts)
                return dataclasses.replace(composition, parts=tuple(plain))
        return None

    def _is_object(self, word: str) -> bool:
        return word in _THINGS or (self._is_noun(word) and not re.fullmatch(_NEVER, word))


def _normalized(text: str) -> str:
    plain = text.lower().replace('\u2019', "'").replace('non-', 'non ')
    plain = re.sub(rf'\(({_COLOR})\)', r', the \1 one,', plain)
    plain = re.sub(r' [+&] ', ' and ', re.sub(r' ?[()],?', ' , ', plain))
    plain = _ITS_NEIGHBOR.sub(r'the thing next to \1', plain)
    return re.sub(r'\b(?:that|which) is the thing next to\b', 'next to', plain)


# "The mug's neighbor"
_ITS_NEIGHBOR: Final = re.compile(
    r'\b((?:the|an?|my|your|our) (?:(?!that\b|is\b|which\b)[a-z]+ ){0,2}[a-z]+)'
    r"'s neighbou?rs?\b"
)


def _written(marked: str) -> str:
    return re.sub(' (?=[,.;:?!])', '', marked.replace('#', '').strip(_MARKS))


def _any(*choices: str) -> str:
    """Return a pattern for any of some patterns, as whole words."""
    return rf"\b(?:{'|'.join(choices)})(?![\w'-])"


_MOST: Final = 12  # nouns of an instruction for several targets
_MARKS: Final = ' ,.;:?!'
_THINGS: Final = frozenset(['thing', 'things', 'object', 'objects', 'item', 'items'])
_COLOR: Final = _any(
    'red|crimson|scarlet|orange|yellow|golden|green|blue|navy|purple|violet|pink|brown|black',
    'gr[ae]y|white',
)
_PLACE: Final = 'table|row|line|picture|image|view|scene|desk|side|end|edge|place|camera|light|shop'
_NEVER: Final = (
    rf'(?:{_COLOR}|{_PLACE}|left|right|front|back|head|piece|stuff|shape|good|'
    'work|pick|rule|point|drink|drop|spot)'
)
_VERB_CAN: Final = re.compile(r'(?<!the )(?<!a )\bcan#(?= (?:i|you|we|he|she|they|be|see|do|it)\b)')
# Says nothing about the target, or nothing but that there is one.
_EMPTY: Final = re.compile(
    _any(
        r"(?:i|we) (?:don't|do not|can't|cannot) (?:know|see|find|remember)|(?:isn't|aren't) there",
        r"(?:isn't|wasn't) (?:that|this|it)|nobody knows|no wait|don't you (?:see|have)",
        r"(?:don't|do not) forget|not only one of them|if (?:it is|it's) no trouble",
        r"(?:if you|i) don't mind(?: which)?|don't mind which|why don't you",
        r"there's an?(?: good)? [a-z]+$",
        r'only one of them(?: is there)?|(?:any|each) and(?= every)',
        r'(?:either one|whichever is there|(?:just )?one of (?:them|these|the two))'
        r'(?: , please| please| ,)',
        "(?:i (?:want|need)|i'll (?:take|have)) (?:them both|both of them|the two of them)",
        r"(?:i )?don't care(?: which)?|(?:it )?makes no difference(?: to me)?",
        r'(?:(?<=the )|(?<=that ))(?:one|only)(?= [a-z])'
        r'(?! (?:of|that|which|next|by|near|close|[a-z]+ing)\b)',
    )
    + ' ?'
)
# "Or, if there isn't one, the book" and "if you can't find the mug, the book instead".
_OR_IF: Final = re.compile(
    r'\bor ,? ?if (?:not|none|(?:there|it|that|you|we|i)\b[^,.;:?!]*?)(?: ,| then)+(?= )'
)
_IF_NOT: Final = re.compile(
    r"^if (?:you|we|i) (?:can't|cannot|don't|haven't|couldn't) (?:find|see|reach|get|have|spot)"
    r' (?P<first>(?:the|an?|my) [^,.;:?!]*) , (?:then )?'
    rf'(?P<second>(?:{_any("give|bring|show|get|grab|fetch|hand|pass|find|take|me|us")} )*'
    r"(?:the|an?|my) (?:(?!\bit\b|\bit's\b)[^,.;:?!])*?)(?: instead)?[ .!]*$"
)
_NOT_ONLY: Final = re.compile(r'\bnot (?:only|just) ((?:the|an?|all|both|my) .*?),? but ')

# Words that belong to no noun phrase.
_OUTSIDE: Final = _any(
    'a|about|after|also|am|an|and|any|are|as|aside|at|away|be|been|before|behind|below|beside',
    'besides|between|both|bring|but|by|can|could|do|does|each|either|else|every|except|favou?r|for',
    'from|get|give|go|had|has|have|he|her|here|him|his|i|if|in|inside|instead|into|is|it|its|just',
    'least|less|like|look|lot|me|more|most|my|near|neither|next|no|nor|not|of|off|on|one|ones|only',
    'onto|or|other|our|out|over|please|plus|rather|rest|row|she|should|since|so|some|take|than|that',
    'the|their|them|then|there|these|they|this|those|through|to|too|under|until|up|upon|us|want|was',
    'we|were|what|when|where|which|while|who|whole|whose|will|with|without|would|you|your',
)
_WORD: Final = rf"(?!{_OUTSIDE})\b[a-z0-9][a-z0-9'-]*#?(?![#\w'-])"
_DETERMINER: Final = _any(
    r'(?:the|a|all the)(?: whole| entire)? (?:lot|set|bunch|rest|couple|pair) of(?: the| these)?',
    r'(?:(?:all|both|each|every|any|one|some|none|two|three|four)(?: one)? (?:of )?)?'
    r'(?:the|a|an|my|your|our|his|her|their|this|that|these|those|which|what)',
    'all|both|each|every|any|some|whichever|whatever',
)
_NOUN: Final = rf'(?:(?:{_WORD} ){{0,3}}?[a-z0-9-]+#(?: [a-z0-9-]+#)*)'
_PHRASE: Final = rf'(?:{_DETERMINER} {_NOUN}|(?:(?:{_COLOR}|[a-z-]+#) )*[a-z0-9-]+#)'
_TARGET: Final = rf'(?:{_PHRASE}|(?:the|an?) {_COLOR}(?: one)?|{_any("something", "anything")})'
_RULES_OUT: Final = _any(
    r"not|\w+n't|except|excluding|but|besides|without|instead|rather|neither|nor|others?|rest",
    r'apart|aside|ignoring|minus|non|no|none|never|leave|skip|forget|remaining|(?<!or )else',
)
_BETWEEN: Final = _any(
    'between|amid|in the (?:middle|center|centre) of|flanked|sandwiched|wedged|betwixt',
    'separat(?:es?|ing)|half ?way|from [^,.;:?!]* towards',
)


def _filler(*words: str) -> str:
    return rf'(?:(?:{_any(*words)}|,) )*'


_REQUEST: Final = _filler(
    'then|also|likewise|even|maybe|perhaps|possibly|please|oh|after that|of course',
    'next(?: up)?(?! to)|while you are at it|besides that|do the same with|give|bring',
    'show|get|grab|fetch|hand|pass|find|take|pick|select|mark|me|us|up|to',
)
_AND: Final = re.compile(
    rf'(?:, )?{_any("and|plus|as well as|along with|together with|in addition to")}'
    rf'(?: and)? (?={_REQUEST}{_TARGET})|[,.;] (?={_any("also|then|next(?: up)?(?! to)|oh")} '
    rf'{_REQUEST}{_TARGET})|'
    rf'[,.;] (?:oh , )?and (?:also )?(?={_TARGET})|, (?={_PHRASE}(?: , and {_TARGET})?$)'
)
_OR: Final = re.compile(
    rf'(?:, )?{_any("or(?: else| alternatively)?|failing that|alternatively|if not that")}'
    rf"(?: ?,? ?(?:[a-z']+ ){{1,6}},)? (?={_REQUEST}{_TARGET})"
)
_AFTER_NOUN: Final = rf"(?: {_WORD}| (?:in|that(?:'s| is)|which is) {_COLOR})?"
# "... and the table is set" names no second target, "with a handle and a lid" none either.
_CLAUSE: Final = re.compile(rf'{_REQUEST}{_TARGET} {_any("is|are|was|were|has|have|had|will")}')
_DETAIL: Final = re.compile(rf'\b(?:with|has|have|having) an?(?: {_WORD})+$')
# "The red and white mug" is one mug.
_TWO_COLORS: Final = re.compile(rf'.*\b(?:the|an?) {_COLOR} ; {_COLOR}')
# "Look behind the mug and take the ball", "find the mug, then take the ball behind it" and "I need
# one thing, the ball" mean the ball alone.
_LANDMARK: Final = re.compile(
    r"(?<!one )(?<!ones )(?<!what's )(?<!what is )(?<!thing )(?<!# )"
    + _any('beyond|behind|past|around|(?:reach|look|go) (?:over|round)|from|in front of|ahead of')
    + rf' {_TARGET}(?: {_WORD})?$|\bone thing#$'
)
_REFERS_BACK: Final = re.compile(
    rf"(?:{_REQUEST}{_PHRASE} )(?:(?:that's|that is|from) )?"
    r'(?:(?:at the back of|in front of|behind|beyond|beside|left of|right of|on|in|inside|from|by)'
    r' it\b|(?:(?:on|to) )?its (?:left|right|side)\b)'
)
_BOTH_SAID: Final = re.compile(r'\b(?:both|either|first(?: off)?) (?=(?:the|a|an|my|some)\b)')


def _two_targets(words: str) -> Composition | None:
    """Split "the mug and the bottle" and "the mug or the bottle"."""
    if words.count('#') > _MOST or re.search(_RULES_OUT, words) or re.search(_BETWEEN, words):
        return None
    for operation, joint in ((OneOf(), _OR), (AllOf(), _AND)):
        for found in joint.finditer(words):
            left, right = words[: found.start()].strip(_MARKS), words[found.end() :]
            if _LANDMARK.search(left) or _REFERS_BACK.match(right):
                return None
            is_named = re.search(f'{_TARGET}{_AFTER_NOUN}$', left) and not _DETAIL.search(left)
            if is_named and not _CLAUSE.match(right) and not _TWO_COLORS.match(f'{left} ; {right}'):
                parts = _whole_phrases(_BOTH_SAID.sub('', left), right.strip(_MARKS))
                return Composition(parts=parts, operation=operation)
    return None


def _whole_phrases(left: str, right: str) -> tuple[str, str]:
    """Complete what is said once: "the red and the blue mug", "the blue mug and the red one"."""
    nouns = [re.findall(_PHRASE, text) for text in (left, right)]
    if re.search(rf'\b(?:the|an?) {_COLOR}$', left) and re.search(_COLOR, (nouns[1] or [''])[0]):
        left = f'{left} {nouns[1][0].split()[-1]}'
    elif nouns[0]:
        noun = nouns[0][-1].split()[-1]
        right = re.sub(rf'^({_REQUEST}(?:the|an?) {_COLOR} )ones?\b', rf'\1{noun}', right)
    return left, right


_NEIGHBORING: Final = _any(
    '(?:next|close|closest|nearest|adjacent) to|beside|near|alongside|side by side with|up against',
    'bordering|adjoining|touching|neighbou?ring|(?<!ed )by',
    r'(?:in the )?(?:vicinity|neighbou?rhood) of|(?:in|within)(?: easy| close)? reach of',
    '(?:at|to|by|around|on)(?: the| one)? side of|(?:not far|a short way)(?: away)? from',
)
_NEXT_TO: Final = rf'(?:{_NEIGHBORING}|{_any("nearest|closest")})'
_NEAREST_TO: Final = re.compile(
    rf'{_any("nearest|closest")} (?P<object>(?:{_WORD} )*?[a-z-]+#) to (?P<anchor>{_PHRASE})'
)
_NUMBERS: Final = {
    **{'first': 1, 'second': 2, 'third': 3, 'fourth': 4, 'fifth': 5},
    **{'1st': 1, '2nd': 2, '3rd': 3, '4th': 4, '5th': 5},
    **{'two': 2, 'three': 3, 'four': 4, 'five': 5, '2': 2, '3': 3, '4': 4, '5': 5},
}
_COUNT: Final = _any('two|three|four|five|[2-5]')
# "The two mugs on the right", not "the leftmost of the three mugs" and not "with two handles".
_FIRST_N: Final = re.compile(
    r'(?<!of )(?<!from )(?<!among )(?<!with )(?:\bthe |\bfirst |most )(?:first )?'
    rf'(?P<count>{_COUNT})'
)
_ORDINAL: Final = _any('first|second|third|fourth|fifth|1st|2nd|3rd|4th|5th')
_NTH: Final = re.compile(rf'(?P<nth>{_ORDINAL})|(?:number|position) (?P<number>{_COUNT})')
_SIDE: Final = re.compile(
    r'\b(?:from )?(left|right) to (?:left|right)\b|'
    r'\b(?:(?:in )?from|at|on|off|with|to|in on)(?: the| your| my)?(?: very| far| extreme)? '
    r'(left|right)\b(?![ -]of\b)(?:[ -]hand)?(?: side| end| edge| corner)*'
    r'(?: of the (?:table|row|picture|image|line))?|'
    r'\b(?:most|furthest|farthest) (?:to the )?(left|right)\b|\b(leftmost|rightmost)\b'
)
_DEPTH: Final = re.compile(
    r'\b(?:from|at|in) the (front|back|rear)\b|'
    r'\b((?:most|least) (?:near|close|far|distant|remote)|nearest|closest|farthest|furthest)'
    r'(?: away| off)?(?: (?:from|to) (?:me|us|you|the camera))?\b(?! (?:to|left|right)\b)'
)
_FRONT: Final = re.compile('front|most (?:near|close)|least (?:far|distant|remote)|nearest|closest')
_MIDDLE: Final = re.compile(
    r'\b(?:middle|center|centre|central)\b(?! sized?\b)(?! of (?!the (?:three|row|others|lot)))|'
    r'\b(?:one|another(?: one)?|neighbou?r) on (?:each|either|both) sides?\b'
)
_OF_TWO: Final = _any(
    '(?:of|among|between|out of|from)(?: all)?(?: the| these| those)? (?:two|both|pair)', 'compar.*'
)
_SIZE: Final = re.compile(
    _any('(biggest|largest|greatest|hugest|bulkiest)|(smallest|littlest|tiniest|teeniest)')
)


def _order(words: str) -> Composition | None:
    """Split "the second mug from the left", "the two smallest mugs" and "the middle mug"."""
    if re.search(_OF_TWO, words) or re.search(_RULES_OUT, words):
        return None
    side = _SIDE.search(words) or _DEPTH.search(words) or _SIZE.search(words)
    nths, first_n = [*_NTH.finditer(words)], _FIRST_N.search(words)
    candidates = _candidates(_SIDE.sub('', _DEPTH.sub('', _SIZE.sub('', words))))
    if candidates is None or len(nths) > 1:
        return None
    if _NEAREST_TO.search(words) or re.search(f'{_NEIGHBORING} {_PHRASE}', words):
        return None
    nth = nths[0] if nths else None
    if side and nth and nth['nth'] not in ('first', '1st'):
        place = _NUMBERS[nth['nth'] or nth['number']]
        operation = InOrder(_side_name(side), first=place, last=place)
    elif side and first_n:
        operation = InOrder(_side_name(side), first=1, last=_NUMBERS[first_n['count']])
    elif side and nth and side.re is not _SIZE:
        operation = InOrder(_side_name(side))
    elif _MIDDLE.search(words) and not re.search(_BETWEEN, words):
        operation = InOrder('middle')
    else:
        return None
    return Composition(parts=(candidates, None), operation=operation)


def _side_name(found: re.Match[str]) -> str:
    name = next(group for group in found.groups() if group)
    if found.re is _SIDE:
        return name.removesuffix('most')
    if found.re is _SIZE:
        return 'large' if found[1] else 'small'
    return 'front' if _FRONT.match(name) else 'back'


_CHOOSING: Final = _any('middle|center|centre|central|very|last|other|remaining|outer')
_COUNTING: Final = re.compile(rf'(?:{_ORDINAL}|{_COUNT}|{_CHOOSING}) ?')


def _candidates(words: str) -> str | None:
    """Return an instruction for all objects among which an instruction chooses."""
    plain = re.sub(' +', ' ', _COUNTING.sub('', words))
    phrases = re.findall(_PHRASE, plain)
    return _all_of(re.sub(rf'^{_DETERMINER} ', '', phrases[-1])) if phrases else None


def _all_of(noun_phrase: str) -> str:
    is_plural = re.search('(?<![su])(?<!scissor)s#?$', noun_phrase)
    return f'all the {noun_phrase}' if is_plural else f'every {noun_phrase}'


_BESIDE: Final = re.compile(rf'{_NEXT_TO}(?: to)? (?P<anchor>{_PHRASE})(?P<rest>.*)')
_BESIDE_IT: Final = re.compile(
    rf'(?:{_NEXT_TO} (?:it|that|this)|at its side|its neighbou?r)\b(?! [a-z])'
)
_ANY_THING: Final = _any(
    "what's|whatever's|(?:what|whatever)(?= is| do| can)|which(?= is| one)|something|anything",
    'the one|neighbou?r',
)
_WITH_BESIDE_IT: Final = re.compile(
    rf'(?P<object>{_PHRASE}) (?:is the (?:one )?)?(?:with|that has) '
    rf'(?P<anchor>{_PHRASE}) {_NEXT_TO} it\b'
)
# "Put the mug next to the bottle" says where the mug will be.
_GOAL: Final = re.compile(
    rf'{_any("put|place|move|set|lay|stand|drop|slide")} {_PHRASE} (?:down )?{_NEXT_TO}'
)


def _neighbor(words: str) -> Composition | None:
    """Split "the mug next to the bottle"."""
    rest, anchor = _around_neighbor(words)
    if not anchor or _GOAL.search(words) or _NTH.search(words) or re.search(_RULES_OUT, rest):
        return None
    candidates = _candidates(rest)
    if candidates is None and re.search(_ANY_THING, rest):
        candidates = 'every object'
    if candidates is None:
        return None
    several = candidates.startswith('all the')
    return Composition(parts=(candidates, anchor), operation=Nearest(several=several))


def _around_neighbor(words: str) -> tuple[str, str]:
    """Return the words that name the target, and those that name what it is next to."""
    if found := _NEAREST_TO.search(words) or _WITH_BESIDE_IT.search(words):
        return found['object'], found['anchor']
    if beside_it := _BESIDE_IT.search(words):
        before = words[: beside_it.start()]
        last = re.findall(_PHRASE, re.sub(r'.*\bhas\b', '', before))
        anchor = (last or re.findall(_PHRASE, before) or [''])[0]
        return words[words.find(anchor) + len(anchor) :], anchor
    if beside := _BESIDE.search(words):
        rest = words[: beside.start()]
        is_target = re.search(_PHRASE, rest) or re.search(_ANY_THING, rest)
        return rest if is_target else beside['rest'], beside['anchor']
    return '', ''


_RULED_OUT: Final = re.compile(
    '(?:'
    + _any(
        '(?:other|different)(?: [a-z]+)? (?:than|from)|differs? from|skipping|non|except(?: for)?',
        "not|isn't|ain't|aren't|hasn't|excluding|besides|(?:apart|aside) from",
        r'(?:(?<=# )|(?<=everything )|(?<=anything )|(?<=all )|(?<=color )|(?<=colour ))'
        rf'but(?= (?:the|an?|{_COLOR}))',
        'rather than|instead of|ignor(?:e|ing)|skip|forget(?: about)?|without|minus|neither',
        r'never mind|leav(?:e|ing)(?: out)?(?= the| that)|unlike',
        r'no(?! matter| the\b| wait| sorry| not)',
        "save for|in place of|rule out|hate|dislike|can't stand|fails? to be|alternative to",
        '(?:got|have) (?:enough|already)|already (?:got|have|tried)',
        "(?:don't|doesn't|do not) (?:want|take|bring|give|get|grab|hand|pick|choose|mean)",
        "(?:don't|doesn't|do not) (?:need|show|touch|look|have|like|use)",
    )
    + r')(?P<excluded>[ -](?:[^.:;?!,]|, not?\b)*)'
)
_STAYS: Final = re.compile(
    rf'the(?P<excluded> {_COLOR}(?: {_NOUN}| one)) '
    rf'(?:(?:may|can|should) )?{_any("stays?|remains?")}'
)
# "The red mug, but the blue one too", "not the red but the blue mug", "nothing but the red mug".
_STILL_WANTED: Final = re.compile(
    r"\bwhether\b|\bif (?:there|it)(?:'s| is| are)? (?:not?|any)\b|^isn't|\boh no\b|"
    r'\bnothing but\b|'
    r'\bnot (?:only|one\b|just (?:the|any?))\b|\bbut .*\b(?:also|too|as well)\b|want both|'
    rf"\b(?:not|\w+n't)\b.*\bbut (?:the|an?) (?:{_WORD} )*{_COLOR}"
)


def _negation(words: str) -> Composition | None:
    """Split "the mug that is not red" and "the red thing that is not a mug"."""
    found = [*_RULED_OUT.finditer(words), *_STAYS.finditer(words)]
    if not found or _STILL_WANTED.search(words):
        return None
    excluded = [each['excluded'].replace('-', ' ') for each in found]
    before = words[: min(each.start() for each in found)]
    others = _STAYS.sub('', _RULED_OUT.sub('', words))
    named = re.sub(f'{_COLOR} ?', '', ' ; '.join(excluded))
    candidates = _candidates(before) or _candidates(named) or _candidates(others)
    if candidates is None:
        return None
    taken = dict.fromkeys(text for each in excluded for text in _ruled_out(each, candidates))
    return Composition(parts=(None, candidates, *taken), operation=Without()) if taken else None


def _ruled_out(excluded: str, candidates: str) -> Iterator[str]:
    """Yield instructions for what may not be taken: colors of the candidates, or other objects."""
    every = 'every' if candidates.startswith('every ') else 'all the'
    noun_phrase = candidates.removeprefix(f'{every} ')
    head = _stem(noun_phrase)
    for phrase in re.findall(_PHRASE, excluded):
        if _stem(phrase) != head:
            yield _all_of(re.sub(rf'^{_DETERMINER} ', '', phrase))
            excluded = excluded.replace(phrase, '')
    for fruit in re.findall(rf'\ban (orange)(?! (?:ones?\b|{_WORD}))', excluded):
        yield f'every {fruit}'
        excluded = excluded.replace(f'an {fruit}', '')
    is_near = re.match(rf"(?: [a-z']+#?){{0,6}} {_COLOR}", excluded)
    if is_near and not re.search(_COLOR, noun_phrase):
        for color in re.findall(_COLOR, excluded):
            yield f'{every} {color} {noun_phrase}'


def _stem(noun_phrase: str) -> str:
    """Return the last noun without a plural ending, for comparisons."""
    return re.sub('(?:ves|fe|es|s)$', '', noun_phrase.split()[-1].rstrip('#'))
