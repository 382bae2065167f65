"""VQAv2: agreement with ten people, after their words and the model's were made alike."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from instructseg_ros.research.data.sample import Sample
from instructseg_ros.research.evaluation.questions.matching import count_missing

_ENOUGH: Final = 3  # people who say the same make an answer wholly right
_ARTICLES: Final = ('a', 'an', 'the')
_PUNCTUATION: Final = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER: Final = re.compile(r'\d,\d')
_PERIOD: Final = re.compile(r'\.(?!\d)')
_MOST_PERIODS: Final = 32  # that the official script removes
_DIGITS: Final = {
    word: str(value)
    for value, word in enumerate(
        ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten')
    )
} | {'none': '0'}
# I'd, I'm and I've are not among them: the official list has them with a capital, and looks for
# words in lower case.
_CONTRACTED: Final = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've
might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've
shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll
someone's something'd something'd've something'll that's there'd there'd've there're there's they'd
they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've
when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't
would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
# Each of them without one apostrophe; the official list has one word the other way round.
_CONTRACTIONS: Final = {
    word[:place] + word[place + 1 :]: word
    for word in _CONTRACTED.split()
    for place, mark in enumerate(word)
    if mark == "'"
} | {"somebody'd": 'somebodyd'}


def normalized(answer: str) -> str:
    """An answer as the official script compares it."""
    return _plain_words(_without_punctuation(_on_one_line(answer)))


def agreement(answer: str, people: Sequence[str]) -> float:
    """Accuracy of an answer, 0 to 1: averaged over leaving out each of the people.

    As in the official script, nothing is made alike where all people say the same.
    """
    said, *others = (_on_one_line(each) for each in (answer, *people))
    if len(set(others)) > 1:
        said, *others = (normalized(each) for each in (answer, *people))
    same = [each == said for each in others]
    counts = (sum(same) - mine for mine in same)
    return sum(min(1.0, count / _ENOUGH) for count in counts) / len(same)


def score_vqav2(samples: Sequence[Sample], answers: Mapping[str, str]) -> dict[str, Any]:
    """Mean accuracy, of all and by type of answer; none where answers are not published.

    Of the answers as `write_vqav2` hands them in; a missing one is wrong.
    """
    figures: dict[str, Any] = {'n': len(samples), 'missing': count_missing(samples, answers)}
    groups: dict[str, list[float]] = {}
    for sample in samples:
        if people := sample.details.get('answers'):
            answer = answers.get(sample.key)
            value = 0.0 if answer is None else agreement(normalized(answer), people)
            for group in ('accuracy', sample.group):
                groups.setdefault(group, []).append(value)
    return {group: sum(values) / len(values) for group, values in groups.items() if group} | figures


def write_vqav2(samples: Sequence[Sample], answers: Mapping[str, str], folder: Path) -> Path:
    """Write what EvalAI takes; a question without an answer gets an empty one."""
    rows = [
        {'question_id': int(sample.key), 'answer': normalized(answers.get(sample.key, ''))}
        for sample in samples
    ]
    file = folder / 'vqav2_evalai.json'
    file.write_text(json.dumps(rows))
    return file


def _on_one_line(text: str) -> str:
    return text.replace('\n', ' ').replace('\t', ' ').strip()


def _without_punctuation(text: str) -> str:
    """Marks between words become spaces; those beside a space, and all in numbers, go."""
    result = text
    for mark in _PUNCTUATION:
        beside_space = f'{mark} ' in text or f' {mark}' in text
        gone = beside_space or _COMMA_IN_NUMBER.search(text)
        result = result.replace(mark, '' if gone else ' ')
    return _PERIOD.sub('', result, count=_MOST_PERIODS)


def _plain_words(text: str) -> str:
    words = [_DIGITS.get(word, word) for word in text.lower().split()]
    kept = [word for word in words if word not in _ARTICLES]
    return ' '.join(_CONTRACTIONS.get(word, word) for word in kept)
