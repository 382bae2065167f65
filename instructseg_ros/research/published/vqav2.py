"""VQAv2: open questions about COCO's images, each answered by ten people (Goyal et al., CVPR 2017).

Answers are scored as in the official vqaEval.py, which normalises words before comparing them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from instructseg_ros.research.data.dataset import Answers, Figures, QuestionBenchmark, row
from instructseg_ros.research.data.reading import Reading, read_lines, read_list
from instructseg_ros.research.data.sample import ImageFile, Sample
from instructseg_ros.research.published.questions import (
    accuracy,
    answered_briefly,
    count_missing,
    question,
)

_LLAVA: Final = 'llava_vqav2_mscoco_test-dev2015.jsonl'
_TEST: Final = 'v2_OpenEnded_mscoco_test-dev2015_questions.json'
_VAL: Final = 'v2_OpenEnded_mscoco_val2014_questions.json'
_ANSWERS: Final = 'v2_mscoco_val2014_annotations.json'
_ENOUGH: Final = 3  # this many equal human answers make an answer fully right
_ARTICLES: Final = ('a', 'an', 'the')
_PUNCTUATION: Final = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER: Final = re.compile(r'\d,\d')
_PERIOD: Final = re.compile(r'\.(?!\d)')
_MAX_PERIODS: Final = 32  # maximum that the official script removes
_DIGITS: Final = {
    word: str(value)
    for value, word in enumerate(
        ['zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten']
    )
} | {'none': '0'}
# Without I'd, I'm and I've: the official script lists them with a capital, but looks up words in
# lower case.
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
# Maps contractions that lack an apostrophe to complete ones; the official list reverses one entry.
_CONTRACTIONS: Final = {
    word[:place] + word[place + 1 :]: word
    for word in _CONTRACTED.split()
    for place, mark in enumerate(word)
    if mark == "'"
} | {"somebody'd": 'somebodyd'}


def read(folder: Path, split: str) -> Reading:
    """Read a split; the answers of test-dev are not published.

    Raises:
        DataError: A file is missing or damaged.
    """
    reading = Reading()
    if split == 'val':
        _read_val(reading, folder)
    elif (folder / _TEST).is_file() and not (folder / _LLAVA).is_file():
        for index, entry in enumerate(read_list(folder / _TEST, 'questions')):
            reading.add(f'{folder / _TEST} entry {index}', partial(_test_sample, entry, folder))
    else:
        for where, entry in read_lines(folder / _LLAVA, reading):
            reading.add(where, partial(_llava_sample, entry, folder))
    return reading


def _read_val(reading: Reading, folder: Path) -> None:
    answers: dict[Any, Any] = {}
    for index, entry in enumerate(read_list(folder / _ANSWERS, 'annotations')):
        with reading.noting(f'{folder / _ANSWERS} entry {index}'):
            if isinstance(entry, dict):
                answers[entry.get('question_id')] = entry
    for index, entry in enumerate(read_list(folder / _VAL, 'questions')):
        reading.add(f'{folder / _VAL} entry {index}', partial(_val_sample, entry, answers, folder))


def _llava_sample(entry: Mapping[str, Any], folder: Path) -> Sample:
    image = ImageFile(folder / 'test2015' / entry['image'])
    return question(str(int(entry['question_id'])), image, entry['text'])


def _test_sample(entry: Mapping[str, Any], folder: Path) -> Sample:
    image = _image(entry, folder, 'test2015')
    return question(str(int(entry['question_id'])), image, answered_briefly(entry['question']))


def _val_sample(entry: Mapping[str, Any], answers: Mapping[Any, Any], folder: Path) -> Sample:
    annotation = answers[entry['question_id']]
    return question(
        str(int(entry['question_id'])),
        _image(entry, folder, 'val2014'),
        answered_briefly(entry['question']),
        annotation['multiple_choice_answer'],
        group=annotation.get('answer_type', ''),
        details={'answers': tuple(str(each['answer']) for each in annotation['answers'])},
    )


def _image(entry: Mapping[str, Any], folder: Path, subset: str) -> ImageFile:
    return ImageFile(folder / subset / f'COCO_{subset}_{int(entry["image_id"]):012}.jpg')


def normalized(answer: str) -> str:
    """Normalise an answer as the official script does before it compares."""
    return _plain_words(_without_punctuation(_on_one_line(answer)))


def agreement(answer: str, people: Sequence[str]) -> float:
    """Compute the accuracy of an answer, 0 to 1: the mean over all subsets that lack one person.

    As in the official script, answers are not normalised if all people agree.
    """
    said, *others = (_on_one_line(each) for each in (answer, *people))
    if len(set(others)) > 1:
        said, *others = (normalized(each) for each in (answer, *people))
    same = [each == said for each in others]
    counts = (sum(same) - mine for mine in same)
    return sum(min(1.0, count / _ENOUGH) for count in counts) / len(same)


def score(samples: Sequence[Sample], answers: Answers) -> Figures:
    """Average the accuracy of submitted answers over all questions and by answer type.

    If the true answers are not published, only `n` and `missing` are meaningful.
    """
    known = [sample for sample in samples if sample.details.get('answers')]
    figures = accuracy(
        known, answers, lambda s, said: agreement(normalized(said), s.details['answers'])
    )
    return figures | {'n': len(samples), 'missing': count_missing(samples, answers)}


def submit(samples: Sequence[Sample], answers: Answers, folder: Path) -> Path:
    """Write the file for EvalAI; a question without an answer gets an empty one."""
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
    """Remove each mark that is next to a space anywhere, and replace the others by spaces.

    If a comma is between two digits, remove all marks.
    """
    result = text
    for mark in _PUNCTUATION:
        at_space = f'{mark} ' in text or f' {mark}' in text
        removed = at_space or _COMMA_IN_NUMBER.search(text)
        result = result.replace(mark, '' if removed else ' ')
    return _PERIOD.sub('', result, count=_MAX_PERIODS)


def _plain_words(text: str) -> str:
    words = [_DIGITS.get(word, word) for word in text.lower().split()]
    kept = [word for word in words if word not in _ARTICLES]
    return ' '.join(_CONTRACTIONS.get(word, word) for word in kept)


DATA_SETS: Final = (
    QuestionBenchmark(
        name='vqav2',
        splits=('test-dev', 'val'),
        read=read,
        layout=f'test-dev: {_LLAVA} or {_TEST}, and test2015/*.jpg\n'
        f'val: {_VAL}, {_ANSWERS} and val2014/*.jpg',
        score=score,
        submit=submit,
        published={'accuracy (of the server)': {'test-dev': row(79.0, **{'LLaVA-1.5-7B': 78.5})}},
    ),
)
