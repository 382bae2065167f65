"""Finds the noun phrases of an instruction whose nouns are marked with "#"."""

from __future__ import annotations

import re
from typing import Final


def any_of(*choices: str) -> str:
    """Return a pattern for any of some patterns, as whole words."""
    return rf"\b(?:{'|'.join(choices)})(?![\w'-])"


MARKS: Final = ' ,.;:?!'
COLOR: Final = any_of(
    'red|crimson|scarlet|orange|yellow|golden|green|blue|navy|purple|violet|pink|brown|black',
    'gr[ae]y|white',
)
# Words that belong to no noun phrase.
_OUTSIDE: Final = any_of(
    'a|about|after|also|am|an|and|any|are|as|aside|at|away|be|been|before|behind|below|beside',
    'besides|between|both|bring|but|by|can|could|do|does|each|either|else|every|except|favou?r|for',
    'from|get|give|go|had|has|have|he|her|here|him|his|i|if|in|inside|instead|into|is|it|its|just',
    'least|less|like|look|lot|me|more|most|my|near|neither|next|no|nor|not|of|off|on|one|ones|only',
    'onto|or|other|our|out|over|please|plus|rather|rest|row|she|should|since|so|some|take|than|that',
    'the|their|them|then|there|these|they|this|those|through|to|too|under|until|up|upon|us|want|was',
    'we|were|what|when|where|which|while|who|whole|whose|will|with|without|would|you|your',
)
WORD: Final = rf"(?!{_OUTSIDE})\b[a-z0-9][a-z0-9'-]*#?(?![#\w'-])"
DETERMINER: Final = any_of(
    r'(?:the|a|all the)(?: whole| entire)? (?:lot|set|bunch|rest|couple|pair) of(?: the| these)?',
    r'(?:(?:all|both|each|every|any|one|some|none|two|three|four)(?: one)? (?:of )?)?'
    r'(?:the|a|an|my|your|our|his|her|their|this|that|these|those|which|what)',
    'all|both|each|every|any|some|whichever|whatever',
)
NOUN: Final = rf'(?:(?:{WORD} ){{0,3}}?[a-z0-9-]+#(?: [a-z0-9-]+#)*)'
PHRASE: Final = rf'(?:{DETERMINER} {NOUN}|(?:(?:{COLOR}|[a-z-]+#) )*[a-z0-9-]+#)'
TARGET: Final = rf'(?:{PHRASE}|(?:the|an?) {COLOR}(?: one)?|{any_of("something", "anything")})'
RULES_OUT: Final = any_of(
    r"not|\w+n't|except|excluding|but|besides|without|instead|rather|neither|nor|others?|rest",
    r'apart|aside|ignoring|minus|non|no|none|never|leave|skip|forget|remaining|(?<!or )else',
)
BETWEEN: Final = any_of(
    'between|amid|in the (?:middle|center|centre) of|flanked|sandwiched|wedged|betwixt',
    'separat(?:es?|ing)|half ?way|from [^,.;:?!]* towards',
)


def filler(*words: str) -> str:
    """Return a pattern for any number of some words."""
    return rf'(?:(?:{any_of(*words)}|,) )*'


REQUEST: Final = filler(
    'then|also|likewise|even|maybe|perhaps|possibly|please|oh|after that|of course',
    'next(?: up)?(?! to)|while you are at it|besides that|do the same with|give|bring',
    'show|get|grab|fetch|hand|pass|find|take|pick|select|mark|me|us|up|to',
)
NEIGHBORING: Final = any_of(
    '(?:next|close|closest|nearest|adjacent) to|beside|near|alongside|side by side with|up against',
    'next door to|(?:nestled|snuggled|pushed|tucked) (?:up )?(?:to|against|by)|just along from',
    'nearby(?= the| an?)|flanking|abutting|neighbou?rs(?= the| an?)|in the company of',
    'cheek by jowl with',
    'bordering|adjoining|touching|neighbou?ring|(?<!ed )by',
    r'(?:in the )?(?:vicinity|neighbou?rhood) of|(?:in|within)(?: easy| close)? reach of',
    '(?:at|to|by|around|on)(?: the| one)? side of|(?:not far|a short way)(?: away)? from',
)
NEXT_TO: Final = rf'(?:{NEIGHBORING}|{any_of("nearest|closest")})'
NEAREST_TO: Final = re.compile(
    rf'{any_of("nearest|closest")} (?P<object>(?:{WORD} )*?[a-z-]+#) to (?P<anchor>{PHRASE})'
)
ORDINALS: Final = {'first': 1, 'second': 2, 'third': 3, 'fourth': 4, 'fifth': 5}
ORDINAL: Final = any_of(*ORDINALS, '[1-5](?:st|nd|rd|th)')
_COUNT: Final = any_of('two|three|four|five|[2-5]')
_CHOOSING: Final = any_of('middle|center|centre|central|very|last|other|remaining|outer')
COUNTING: Final = re.compile(rf'(?:{ORDINAL}|{_COUNT}|{_CHOOSING}) ?')
_COLORED_ONE: Final = re.compile(rf'({COLOR}(?: colou?red)?) one(s?)\b')


def find_phrases(words: str) -> list[re.Match[str]]:
    """Find the noun phrases; if there is none, "the red one" counts as a red object."""
    found = [*re.finditer(PHRASE, words)]
    return found or [*re.finditer(PHRASE, _COLORED_ONE.sub(r'\1 object\2#', words))]


# Before the name of an object that only describes another: "the man in the red shirt".
_DESCRIBES: Final = re.compile(
    rf'# (?:{any_of("that|which")} {any_of("is|are|stands?|lies")} )?'
    r'(?:near|next to|beside|behind|under|beneath|above|below|on|in|inside|in front of|with|to|by'
    r'|of|(?:to the )?(?:left|right) of|for|about|from|like|holding|wearing|containing) $'
)


def describes_another(phrase: re.Match[str]) -> bool:
    """Return whether a noun phrase only describes the one before it."""
    return bool(_DESCRIBES.search(phrase.string[: phrase.start()]))


def all_candidates(words: str) -> str | None:
    """Return an instruction for all objects among which an instruction chooses."""
    phrases = find_phrases(re.sub(' +', ' ', COUNTING.sub('', words)))
    if not phrases or describes_another(phrases[-1]):
        return None
    return all_of(phrases[-1][0])


def all_of(phrase: str) -> str:
    """Return an instruction for all objects of a noun phrase."""
    noun_phrase = re.sub(rf'^{DETERMINER} ', '', phrase)
    is_plural = re.search('(?<![su])(?<!scissor)s#?$', noun_phrase)
    return f'all the {noun_phrase}' if is_plural else f'every {noun_phrase}'


def stem(noun_phrase: str) -> str:
    """Return the last noun without what differs between singular and plural, for comparisons."""
    return re.sub('(?:ves|fe|es|s|e)$', '', noun_phrase.split()[-1].rstrip('#'))
