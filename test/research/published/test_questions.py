"""Scores of answers in words, on cases counted by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from instructseg_ros.research.data.sample import ImageBytes, Sample
from instructseg_ros.research.published import gqa, mmbench, pope, scienceqa, vqav2
from instructseg_ros.research.published.pope import says_yes
from instructseg_ros.research.published.questions import AnswerFile, question, read_answers
from instructseg_ros.research.published.vqav2 import agreement, normalized

IMAGE = ImageBytes('none', b'')


def asked(key: str, answer: str = '', group: str = '', **details: Any) -> Sample:
    return question(key, IMAGE, 'what?', answer, group=group, details=details)


@pytest.mark.parametrize(
    ('count', 'expected'), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)]
)
def test_an_answer_is_compared_with_nine_of_ten_people_at_a_time(
    count: int, expected: float
) -> None:
    people = ['cat'] * count + ['dog'] * (10 - count)
    assert agreement('cat', people) == pytest.approx(expected)


@pytest.mark.parametrize(
    ('answer', 'same'),
    [
        ('Two', '2'),
        ('none', '0'),
        ('a cat', 'cat'),
        ('The  cats', 'cats'),
        ('yes.', 'yes'),
        ('dont know', "don't know"),
        ('1,000', '1000'),
        ('2.5', '2.5'),
        ('red/blue', 'red blue'),
        ('red, blue', 'red blue'),
        ('(left)', 'left'),
        ('wont', "won't"),
        ("what's", "what's"),
        ('10:30', '10:30'),
        ('p.m.', 'pm'),
        ('t-shirt', 't shirt'),
        ('1,000 - 2', '1000 2'),
        # Contractions in the official list, and one that it lacks.
        ("couldn'tve", "couldn't've"),
        ("couldnt've", "couldn't've"),
        ('couldntve', 'couldntve'),
        ('im', 'im'),
        ('lets go', 'lets go'),
        ("somebody'd", 'somebodyd'),
        ('twas', "'twas"),
    ],
)
def test_answers_are_normalized_before_they_are_compared(answer: str, same: str) -> None:
    assert normalized(answer) == same


def test_answers_are_not_normalized_where_all_people_agree() -> None:
    assert agreement('Two', ['2'] * 10) == 0
    assert agreement('Two', ['2'] * 9 + ['three']) == pytest.approx(1)


def test_the_words_of_the_people_are_normalized_too() -> None:
    people = ['two', 'Two', 'the two', '2', '2.'] + ['three'] * 5
    assert agreement('two', people) == agreement('2', people) == 1
    assert agreement('a dont', ["don't", 'dont\n', *['yes'] * 8]) == pytest.approx(0.6)


def test_the_submitted_form_of_an_answer_is_scored() -> None:
    samples = [asked('1', answers=('yes',) * 10), asked('2', answers=('2',) * 10)]
    assert vqav2.score(samples, {'1': 'Yes.', '2': 'Two'})['accuracy'] == 1


def test_a_missing_answer_is_wrong_even_if_the_people_answered_an_article() -> None:
    samples = [asked('1', answers=('a',) * 9 + ('b',))]
    assert vqav2.score(samples, {'1': 'A'})['accuracy'] == 1
    assert vqav2.score(samples, {}) == {'accuracy': 0, 'n': 1, 'missing': 1}


def test_vqa_figures_cover_all_questions_and_each_type() -> None:
    samples = [
        asked('1', group='number', answers=('2',) * 9 + ('3',)),
        asked('2', group='other', answers=('cat',) * 9 + ('dog',)),
        asked('3', group='other', answers=('cat',) * 9 + ('dog',)),
    ]
    figures = vqav2.score(samples, {'1': 'two', '2': 'a dog'})
    assert figures == pytest.approx(
        {'accuracy': (1 + 0.3) / 3, 'number': 1, 'other': 0.15, 'n': 3, 'missing': 1}
    )


def test_without_published_answers_there_is_only_a_count(tmp_path: Path) -> None:
    samples = [asked('7'), asked('8')]
    assert vqav2.score(samples, {'7': 'A cat.'}) == {'n': 2, 'missing': 1}
    rows = json.loads(vqav2.submit(samples, {'7': 'A cat.'}, tmp_path).read_text())
    assert rows == [{'question_id': 7, 'answer': 'cat'}, {'question_id': 8, 'answer': ''}]


def test_gqa_compares_words_exactly(tmp_path: Path) -> None:
    samples = [asked('1', 'yes', 'verify'), asked('2', 'left', 'choose'), asked('3', 'cat')]
    figures = gqa.score(samples, {'1': ' Yes. ', '2': 'on the left'})
    assert figures == {'accuracy': 1 / 3, 'verify': 1, 'choose': 0, 'n': 3, 'missing': 1}
    rows = json.loads(gqa.submit(samples, {'1': ' Yes. '}, tmp_path).read_text())
    assert rows[0] == {'questionId': '1', 'prediction': 'yes'}


@pytest.mark.parametrize(
    ('answer', 'letter'),
    [
        ('B', 'B'),
        ('B.', 'B'),
        ('(C) a dog', 'C'),
        ('The answer is D.', 'D'),
        ('A\nA dog', 'A'),
        ('A. a dog', 'A'),
        ('the answer is (B) a dog', 'B'),
        ('Both', ''),
        ('', ''),
        ('because', ''),
        ('A dog', ''),
        ('I see a dog', ''),
        ('The answer is a dog', ''),
        ('Answer: B', 'B'),
        ('Option A', 'A'),
        ('option (C) is right', 'C'),
        ('The correct choice is D', 'D'),
        ('ANSWER B', 'B'),
        ('Option A or option B', ''),
        ('Options', ''),
        ('The answer is B. B.', 'B'),
    ],
)
def test_the_letter_of_an_option_is_found_in_an_answer(answer: str, letter: str) -> None:
    assert mmbench.letter_of(answer) == letter


def test_a_rotated_question_is_right_if_all_rotations_are(tmp_path: Path) -> None:
    samples = [
        asked('3', 'A', index=3, question='=1+1', A='x', category='ocr'),
        asked('1000003', 'D', index=1000003),
        asked('4', 'B', index=4),
    ]
    figures = mmbench.score(samples, {'3': 'A', '1000003': 'C', '4': 'B'})
    assert (figures['accuracy'], figures['circular']) == (pytest.approx(2 / 3), 0.5)


def test_the_submission_to_mmbench_is_its_table_with_literal_answers(tmp_path: Path) -> None:
    samples = [
        asked('3', 'A', index=3, question='=1+1', A='x', B='', category='ocr'),
        asked('1000003', 'D', index=1000003),
    ]
    file = mmbench.submit(samples, {'3': '=A. \x0bx '}, tmp_path)
    header, first, second = openpyxl.load_workbook(file).active.iter_rows()
    assert [cell.value for cell in header] == [
        'index',
        'question',
        'A',
        'B',
        'category',
        'prediction',
    ]
    assert [cell.value for cell in first] == [3, '=1+1', 'x', None, 'ocr', '=A. x']
    assert {cell.data_type for cell in first[1:3]} == {'s'} and first[0].data_type == 'n'
    assert [cell.value for cell in second] == [1000003, None, None, None, None, None]


def test_scores_of_no_questions_do_not_divide_by_zero(tmp_path: Path) -> None:
    for score in (vqav2.score, gqa.score, mmbench.score, scienceqa.score):
        assert score([], {}) == {'n': 0, 'missing': 0}
    assert pope.score([], {}) == {'F1': 0, 'n': 0, 'missing': 0}
    assert mmbench.submit([], {}, tmp_path).is_file()


@pytest.mark.parametrize(
    ('answer', 'yes'),
    [
        ('Yes, there is.', True),
        ('No', False),
        ('There is not a dog. Yes.', False),
        ('A dog. No cat.', True),
        ('nothing', True),
    ],
)
def test_a_no_in_the_first_sentence_means_no(answer: str, yes: bool) -> None:
    assert says_yes(answer) == yes


def test_pope_reports_precision_and_recall_of_each_subset() -> None:
    samples = [
        asked('1', 'yes', 'random'),
        asked('2', 'yes', 'random'),
        asked('3', 'no', 'random'),
        asked('4', 'no', 'popular'),
    ]
    figures = pope.score(samples, {'1': 'yes', '2': 'no', '3': 'yes', '4': 'no'})
    assert figures['random'] == pytest.approx(
        {'accuracy': 1 / 3, 'precision': 0.5, 'recall': 0.5, 'F1': 0.5, 'yes': 2 / 3}
    )
    assert figures['popular']['accuracy'] == 1
    assert figures['F1'] == pytest.approx(0.25)


def test_a_missing_no_is_wrong_too() -> None:
    samples = [asked('1', 'yes', 'random'), asked('2', 'no', 'random'), asked('3', 'no', 'random')]
    figures = pope.score(samples, {'1': 'yes', '2': 'no'})
    assert figures['random'] == pytest.approx(
        {'accuracy': 2 / 3, 'precision': 1, 'recall': 1, 'F1': 1, 'yes': 1 / 3}
    )
    assert figures['missing'] == 1


def test_scienceqa_is_scored_by_subject() -> None:
    samples = [asked('1', 'A', 'biology'), asked('2', 'B', 'physics')]
    figures = scienceqa.score(samples, {'1': 'A', '2': 'A'})
    assert (figures['accuracy'], figures['biology'], figures['physics']) == (0.5, 1, 0)


@pytest.mark.parametrize(
    ('answer', 'letter'),
    [
        ('B', 'B'),
        ('B. a fish', 'B'),
        ('So. The answer is B.', 'B'),
        (' C ', 'C'),
        ('(B)', ''),
        ('Answer: B', ''),
        ('The answer is B', ''),
        ('The answer is B. The answer is C.', ''),
        ('B.', ''),
        ('F', ''),
        ('', ''),
    ],
)
def test_scienceqa_accepts_only_the_forms_that_its_script_knows(answer: str, letter: str) -> None:
    assert scienceqa.letter_of(answer) == letter
    figures = scienceqa.score([asked('1', 'B')], {'1': answer})
    assert figures['accuracy'] == (letter == 'B')


def test_an_incomplete_line_is_dropped_and_the_others_stay(tmp_path: Path) -> None:
    AnswerFile(tmp_path / 'answers_0.jsonl', 'm').add(asked('1'), 'one')
    with (tmp_path / 'answers_0.jsonl').open('a') as stream:
        stream.write('{"question_id": "2", "te')
    AnswerFile(tmp_path / 'answers_0.jsonl', 'm').add(asked('3'), 'three\nlines')
    AnswerFile(tmp_path / 'answers_1.jsonl', 'm').add(asked('4'), 'four')
    assert read_answers(tmp_path) == {'1': 'one', '3': 'three\nlines', '4': 'four'}
