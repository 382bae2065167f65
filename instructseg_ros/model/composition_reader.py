"""Splits instructions into simpler ones: "the mug and the bottle", "the second mug from the left".

The embedded language model learns such sentences badly and simple ones well. Nouns that the model
knows are marked with "#"; a noun phrase is such a noun with the words before it that can belong to
it. Everything else here is the grammar of what connects noun phrases.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Iterator
from typing import Final

from instructseg_ros.model.composition import AllOf, Composition, Nearest, OneOf, Without
from instructseg_ros.model.order_reader import read_order
from instructseg_ros.model.phrase_patterns import (
    BETWEEN,
    COLOR,
    MARKS,
    NEAREST_TO,
    NEXT_TO,
    NOUN,
    ORDINAL,
    PHRASE,
    REQUEST,
    RULES_OUT,
    TARGET,
    WORD,
    all_candidates,
    all_of,
    any_of,
    stem,
)
from instructseg_ros.model.relation_reader import read_excluded_relation, read_relation


class CompositionReader:
    """Splits instructions.

    Args:
        is_noun: Whether a word in lower case names an object that the model knows.
        is_taught: Whether a noun in lower case, of one or more words, was taught to the model
            afterwards, or a word belongs to such a noun; places relative to these are split, too.
    """

    def __init__(
        self, is_noun: Callable[[str], bool], is_taught: Callable[[str], bool] = lambda noun: False
    ) -> None:
        self._is_noun, self._is_taught = is_noun, is_taught
        relation = functools.partial(read_relation, is_taught=is_taught)
        excluded = functools.partial(read_excluded_relation, is_taught=is_taught)
        self._readers = (
            _two_targets,
            read_order,
            excluded,
            _negation,
            _neighbor,
            relation,
            _two_phrases,
        )

    def read(self, text: str) -> Composition | None:
        """Split an instruction; None if it is a simple one, or in no form that is known here."""
        words = re.findall(r"[a-z0-9'-]+|[,.;:?!/]", _normalized(text))
        words = [f'{word}#' if self.is_object(word) else word for word in words]
        marked = _VERB_CAN.sub('can', ' '.join(words))
        marked = _OR_IF.sub('or', _IF_NOT.sub(r'\g<first> or \g<second>', marked))
        marked = _NOT_ONLY.sub(r'\1 and ', _EMPTY.sub('', marked)).strip(MARKS)
        for read in self._readers:
            composition = read(marked)
            if composition is not None:
                plain = (part and _written(part) for part in composition.parts)
                return dataclasses.replace(composition, parts=tuple(plain))
        return None

    def is_object(self, word: str) -> bool:
        """Return whether a word in lower case names an object and not a place or the like."""
        if word in _THINGS or (self._is_taught(word) and not re.fullmatch(_ATTRIBUTE, word)):
            return True
        return self._is_noun(word) and not re.fullmatch(_NEVER, word)


def _normalized(text: str) -> str:
    plain = text.lower().replace('\u2019', "'").replace('non-', 'non ')
    plain = re.sub(r"\b([a-z]+)'s (?=(?:the|what|in|on)\b)", r'\1 is ', plain)
    plain = re.sub(rf'\(({COLOR})\)', r', the \1 one,', plain)
    plain = re.sub(r' [+&] ', ' and ', re.sub(r' ?[()],?', ' , ', plain))
    plain = _ITS_NEIGHBOR.sub(r'the thing next to \1', plain)
    plain = _ITS_SIDE.sub(r'to the \g<side> of \g<object>', plain)
    return re.sub(r'\b(?:that|which) is the thing next to\b', 'next to', plain)


# "The mug's neighbor"
_ITS_NEIGHBOR: Final = re.compile(
    r'\b((?:the|an?|my|your|our) (?:(?!that\b|is\b|which\b)[a-z]+ ){0,2}[a-z]+)'
    r"'s neighbou?rs?\b"
)


# "To the mug's left"
_ITS_SIDE: Final = re.compile(
    r"\b(?:to|on|at) (?P<object>(?:the|an?|my|your|our) (?:[a-z]+ ){0,2}[a-z]+)'s "
    r'(?P<side>left|right)(?: hand)?(?: side)?\b'
)


def _written(marked: str) -> str:
    return re.sub(' (?=[,.;:?!])', '', marked.replace('#', '').strip(MARKS))


_MOST: Final = 12  # nouns of an instruction for several targets
_THINGS: Final = frozenset(['thing', 'things', 'object', 'objects', 'item', 'items'])
_PLACE: Final = 'table|row|line|picture|image|view|scene|desk|side|end|edge|place|camera|light|shop'
_NEVER: Final = (
    rf'(?:{COLOR}|{_PLACE}|left|right|front|back|head|piece|stuff|shape|good|'
    'work|pick|rule|point|drink|drop|spot|medium|size|somebody|someone|use|remote|motion|sign|lock)'
)
# Words that describe an object, even as a part of a taught noun such as "red mug".
_ATTRIBUTE: Final = f'(?:{COLOR}|left|right|front|back|top|bottom|middle|big|large|small|little)'
_VERB_CAN: Final = re.compile(r'(?<!the )(?<!a )\bcan#(?= (?:i|you|we|he|she|they|be|see|do|it)\b)')
# Says nothing about the target, or nothing but that there is one.
_EMPTY: Final = re.compile(
    any_of(
        r"(?:i|we) (?:don't|do not|can't|cannot) (?:know|see|find|remember)|(?:isn't|aren't) there",
        r"(?:isn't|wasn't) (?:that|this|it)|nobody knows|don't you (?:see|have)",
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
    rf'(?P<second>(?:{any_of("give|bring|show|get|grab|fetch|hand|pass|find|take|me|us")} )*'
    r"(?:the|an?|my) (?:(?!\bit\b|\bit's\b)[^,.;:?!])*?)(?: instead)?[ .!]*$"
)
_NOT_ONLY: Final = re.compile(r'\bnot (?:only|just) ((?:the|an?|all|both|my) .*?),? but ')

_AND: Final = re.compile(
    rf'(?:, )?{any_of("and|plus|as well as|along with|together with|in addition to")}'
    rf'(?: and)? (?={REQUEST}{TARGET})|[,.;] (?={any_of("also|then|next(?: up)?(?! to)|oh")} '
    rf'{REQUEST}{TARGET})|'
    rf'[,.;] (?:oh , )?and (?:also )?(?={TARGET})|, (?={PHRASE}(?: , and {TARGET})?$)'
)
_OR: Final = re.compile(
    rf'(?:, )?{any_of("or(?: else| alternatively)?|failing that|alternatively|if not that")}'
    rf"(?: ?,? ?(?:[a-z']+ ){{1,6}},)? (?={REQUEST}{TARGET})"
)
_AFTER_NOUN: Final = rf"(?: {WORD}| (?:in|that(?:'s| is)|which is) {COLOR})?"
# "... and the table is set" names no second target, "with a handle and a lid" none either.
_CLAUSE: Final = re.compile(
    rf'{REQUEST}{TARGET} '
    + any_of('is|are|was|were|has|have|had|will|would|can|might|needs?|wants?|gets?|goes|breaks?')
)
# "I have the mug and need the book", "open the box and take the ball".
_BACKGROUND: Final = re.compile(
    r"\b(?:i|we|he|she|they)(?:'ve| have)?(?: already| just)? "
    + any_of('have(?! to)|has|had|got|broke|ate|forgot|dropped|found')
    + '|'
    + any_of('open|close|shut|move|use|drop|put down|take off|turn|go|walk|stand|look(?! for)|see')
)
_AFTER_BACKGROUND: Final = re.compile(
    r'(?:[,.;] |and |then )*(?:i )?'
    rf'{any_of("bring|get|grab|fetch|take|give|pass|pick|need|want|now")} '
)
# "A bottle for water or wine", "something to cut bread or cheese".
_DESCRIPTION: Final = re.compile(
    rf'.*(?:{any_of("something", "anything")} .*|# (?:[a-z]+ )?'
    rf'{any_of("for|about|with|of|like|to|holding|wearing|containing|chasing")} )[^,.;:?!]*#$'
)
_BARE: Final = re.compile(rf'(?:an? )?(?:{COLOR} )?[a-z0-9-]+#')
_DETAIL: Final = re.compile(rf'\b(?:with|has|have|having) an?(?: {WORD})+$')
# "The red and white mug" is one mug.
_TWO_COLORS: Final = re.compile(rf'.*\b(?:the|an?) {COLOR} ; {COLOR}')
# "Look behind the mug and take the ball", "find the mug, then take the ball behind it" and "I need
# one thing, the ball" mean the ball alone.
_LANDMARK: Final = re.compile(
    r"(?<!one )(?<!ones )(?<!what's )(?<!what is )(?<!thing )(?<!# )"
    + any_of('beyond|behind|past|around|(?:reach|look|go) (?:over|round)|from|in front of|ahead of')
    + rf' {TARGET}(?: {WORD})?$|\bone thing#$'
)
_REFERS_BACK: Final = re.compile(
    rf"(?:{REQUEST}{PHRASE} )(?:(?:that's|that is|from) )?"
    r'(?:(?:at the back of|in front of|behind|beyond|beside|left of|right of|on|in|inside|from|by)'
    r' it\b|(?:(?:on|to) )?its (?:left|right|side)\b)'
)
_ON_IT: Final = re.compile(rf'(?:[^#]* )?{any_of("on|in|upon|inside")} {PHRASE}')
_BOTH_SAID: Final = re.compile(r'\b(?:both|either|first(?: off)?) (?=(?:the|a|an|my|some)\b)')


def _two_targets(words: str) -> Composition | None:
    """Split "the mug and the bottle" and "the mug or the bottle"."""
    if words.count('#') > _MOST or re.search(RULES_OUT, words) or re.search(BETWEEN, words):
        return None
    for operation, joint in ((OneOf(), _OR), (AllOf(), _AND)):
        for found in joint.finditer(words):
            left, right = words[: found.start()].strip(MARKS), words[found.end() :]
            if _LANDMARK.search(left) or _REFERS_BACK.match(right) or _ON_IT.fullmatch(left):
                return None
            if _is_background(left, right) or (_DESCRIPTION.match(left) and _BARE.match(right)):
                return None
            is_named = re.search(f'{TARGET}{_AFTER_NOUN}$', left) and not _DETAIL.search(left)
            if is_named and not _CLAUSE.match(right) and not _TWO_COLORS.match(f'{left} ; {right}'):
                parts = _whole_phrases(_BOTH_SAID.sub('', left), right.strip(MARKS))
                return Composition(parts=parts, operation=operation)
    return None


_IF_ABSENT: Final = re.compile(
    r'\b(?:if|should|unless|in case|supposing|provided|because) '
    r'(?:there|it|that|you|we|i|not|no|none|the [a-z]+#?|a [a-z]+#?)\b[^,.;:?!]*?'
    r"(?:not?|none|n't|gone|missing|absent|is|there|present|one|out|about|around)\b(?: [a-z]+#)?"
    r'|\bin (?:its|the) (?:absence|place)\b(?: of)?|\bin which case\b|\? no(?= \?)'
)
_OR_ELSE: Final = re.compile(
    any_of(
        'or(?: else| failing that)?|otherwise|else|alternatively|either|failing that|settle for',
        'instead|if not|will do|would do|just one of them|one of (?:the|these) two',
    )
    + '|/'
)
# Words that relate one object to another.
_RELATES: Final = re.compile(
    any_of(
        'left|right|behind|front|beyond|above|below|under|underneath|inside|into|onto|between|amid',
        'before|afore|atween|upon|beside|near|close|next|middle|than|same|[a-z]+wards?|past|around',
        r'bigger|larger|smaller|closer|nearer|farther|further|size|touch\w*|against|over|second',
        'third',
    )
)
# Words between the names of two objects: both are wanted, or more is told about the first, or the
# second corrects it.
_JOINS: Final = re.compile(rf'[,.;:?!]|{any_of("and|an|plus|also|then|followed|together|along")}')
_TELLS: Final = re.compile(
    any_of(
        'a|the|is|are|was|were|has|have|had|does|it|its|that|which|who|where|while|when|because|so|if',
        r'by|of|as|like|in|on|with|without|holding|carrying|contain\w*|off|matches|exclud\w*|bar|but',
        'leaving',
    )
)
_CORRECTS: Final = re.compile(any_of('sorry|er|i mean|rather|no wait|well'))
_OF_ANOTHER: Final = any_of('for|about|of|like|holding|wearing|containing')
# Before a name of what is no target.
_ABOUT: Final = re.compile(
    any_of('on|in|of|to|round|around|at|by|from|with|for|like|when|if|one|holding|wearing|open')
    + ' $'
)


def _two_phrases(words: str) -> Composition | None:
    """Split an instruction that names two objects and nothing that relates them."""
    either = _OR_ELSE.search(words) or _IF_ABSENT.search(words)
    plain = _OR_ELSE.sub(';', _IF_ABSENT.sub(';', words))
    phrases = [*re.finditer(PHRASE, plain)]
    if re.match('if there(?: is | are |.* no )', words) or len(phrases) != 2:
        return None
    if re.search(RULES_OUT, plain) or _RELATES.search(plain):
        return None
    first, second = phrases
    gap = plain[first.end() : second.start()]
    before, after = plain[: first.start()], plain[first.end() :].strip()
    if _ABOUT.search(before) or _CLAUSE.match(plain[second.start() :]):
        return None
    if _is_background(plain[: first.end()], after) or _CORRECTS.search(gap):
        return None
    if _DESCRIPTION.match(plain[: first.end()]) or re.search(_OF_ANOTHER, gap):
        return None
    if not either and (_TELLS.search(gap) or not _JOINS.search(gap)):
        return None
    left = plain[: first.end()] + _JOINS.split(gap)[0]
    parts = _whole_phrases(left.strip(MARKS), plain[second.start() :].strip(MARKS))
    return Composition(parts=parts, operation=OneOf() if either else AllOf())


def _is_background(left: str, right: str) -> bool:
    """Return whether only what comes after `left` says what to take."""
    return bool(_BACKGROUND.search(left) and _AFTER_BACKGROUND.match(right))


def _whole_phrases(left: str, right: str) -> tuple[str, str]:
    """Complete what is said once: "the red and the blue mug", "the blue mug and the red one"."""
    nouns = [re.findall(PHRASE, text) for text in (left, right)]
    if re.search(rf'\b(?:the|an?) {COLOR}$', left) and re.search(COLOR, (nouns[1] or [''])[0]):
        left = f'{left} {nouns[1][0].split()[-1]}'
    elif nouns[0]:
        noun = nouns[0][-1].split()[-1]
        right = re.sub(rf'^({REQUEST}(?:the|an?) {COLOR} )ones?\b', rf'\1{noun}', right)
    return left, right


_BESIDE: Final = re.compile(rf'{NEXT_TO}(?: to)? (?P<anchor>{PHRASE})(?P<rest>.*)')
_BESIDE_IT: Final = re.compile(
    rf'(?:{NEXT_TO} (?:it|that|this)|at its side|its neighbou?r)\b(?! [a-z])'
)
_ANY_THING: Final = any_of(
    "what's|whatever's|(?:what|whatever)(?= is| do| can)|which(?= is| one)|something|anything",
    'the one|neighbou?r',
)
_WITH_BESIDE_IT: Final = re.compile(
    rf'(?P<object>{PHRASE}) (?:is the (?:one )?)?(?:with|that has) '
    rf'(?P<anchor>{PHRASE}) {NEXT_TO} it\b'
)
# "Put the mug next to the bottle" says where the mug will be.
_GOAL: Final = re.compile(
    rf'{any_of("put|place|move|set|lay|stand|drop|slide")} {PHRASE} (?:down )?{NEXT_TO}'
)


def _neighbor(words: str) -> Composition | None:
    """Split "the mug next to the bottle"."""
    rest, anchor = _around_neighbor(words)
    if not anchor or _GOAL.search(words) or re.search(ORDINAL, words) or re.search(RULES_OUT, rest):
        return None
    candidates = all_candidates(rest)
    if candidates is None and re.search(_ANY_THING, rest):
        candidates = 'every object'
    if candidates is None:
        return None
    several = candidates.startswith('all the')
    return Composition(parts=(candidates, anchor), operation=Nearest(several=several))


def _around_neighbor(words: str) -> tuple[str, str]:
    """Return the words that name the target, and those that name what it is next to."""
    if found := NEAREST_TO.search(words) or _WITH_BESIDE_IT.search(words):
        return found['object'], found['anchor']
    if beside_it := _BESIDE_IT.search(words):
        before = words[: beside_it.start()]
        last = re.findall(PHRASE, re.sub(r'.*\bhas\b', '', before))
        anchor = (last or re.findall(PHRASE, before) or [''])[0]
        return words[words.find(anchor) + len(anchor) :], anchor
    if beside := _BESIDE.search(words):
        rest = words[: beside.start()]
        is_target = re.search(PHRASE, rest) or re.search(_ANY_THING, rest)
        return rest if is_target else beside['rest'], beside['anchor']
    return '', ''


_RULED_OUT: Final = re.compile(
    '(?:'
    + any_of(
        '(?:other|different)(?: [a-z]+)? (?:than|from)|differs? from|skipping|non|except(?: for)?',
        "not|isn't|ain't|aren't|hasn't|excluding|besides|(?:apart|aside) from",
        r'(?:(?<=# )|(?<=everything )|(?<=anything )|(?<=all )|(?<=color )|(?<=colour ))'
        rf'but(?= (?:the|an?|{COLOR}))',
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
    rf'the(?P<excluded> {COLOR}(?: {NOUN}| one)) '
    rf'(?:(?:may|can|should) )?{any_of("stays?|remains?")}'
)
# "The red mug, but the blue one too", "not the red but the blue mug", "nothing but the red mug".
_STILL_WANTED: Final = re.compile(
    r'\b(?:whether|why not|(?:have|has) no|oh no|nothing but)\b|'
    r"\bif (?:there|it)(?:'s| is| are)? (?:not?|any)\b|^isn't|"
    r'\bnot (?:only|one\b|just (?:the|any?))\b|\bbut .*\b(?:also|too|as well)\b|want both|'
    rf"\b(?:not|\w+n't)\b.*\bbut (?:the|an?) (?:{WORD} )*{COLOR}"
)


def _negation(words: str) -> Composition | None:
    """Split "the mug that is not red" and "the red thing that is not a mug"."""
    found = [*_RULED_OUT.finditer(words), *_STAYS.finditer(words)]
    if not found or _STILL_WANTED.search(words):
        return None
    excluded = [each['excluded'].replace('-', ' ') for each in found]
    before = words[: min(each.start() for each in found)]
    others = _STAYS.sub('', _RULED_OUT.sub('', words))
    named = re.sub(f'{COLOR} ?', '', ' ; '.join(excluded))
    candidates = all_candidates(before) or all_candidates(named) or all_candidates(others)
    if candidates is None:
        return None
    taken = dict.fromkeys(text for each in excluded for text in _ruled_out(each, candidates))
    return Composition(parts=(None, candidates, *taken), operation=Without()) if taken else None


def _ruled_out(excluded: str, candidates: str) -> Iterator[str]:
    """Yield instructions for what may not be taken: colors of the candidates, or other objects."""
    every = 'every' if candidates.startswith('every ') else 'all the'
    noun_phrase = candidates.removeprefix(f'{every} ')
    head = stem(noun_phrase)
    for phrase in re.findall(PHRASE, excluded):
        if stem(phrase) != head:
            yield all_of(phrase)
            excluded = excluded.replace(phrase, '')
    for fruit in re.findall(rf'\ban (orange)(?! (?:ones?\b|{WORD}))', excluded):
        yield f'every {fruit}'
        excluded = excluded.replace(f'an {fruit}', '')
    is_near = re.match(rf"(?: [a-z']+#?){{0,6}} {COLOR}", excluded)
    if is_near and not re.search(COLOR, noun_phrase):
        for color in re.findall(COLOR, excluded):
            yield f'{every} {color} {noun_phrase}'
