from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from instruction_scenes import random_scenes

from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.tabletop.free_wording import (
    FreeAnswer,
    Sentence,
    answer_sentences,
    mistyped,
    report,
    sentences,
    table,
)
from instructseg_ros.tabletop.instructions.generate import all_wordings
from instructseg_ros.tabletop.meanings import MEANINGS
from instructseg_ros.tabletop.world.mujoco_model import OpenGLError

ANSWER = FreeAnswer(
    group='negation', text='', present=True, found=True, score=0.95, iou=0.8, forbidden=0.0
)
ABSENT = replace(ANSWER, group='absent', present=False, found=False, iou=0.0, forbidden=None)


def test_every_sentence_can_be_filled_wherever_it_has_a_meaning() -> None:
    rng = np.random.default_rng(0)
    filled = set()
    for graph in random_scenes(150):
        for sentence in sentences():
            for meaning in list(MEANINGS[sentence.meaning](graph))[:1]:
                assert not re.search('[{}]', sentence.fill(meaning.words, rng))
                filled.add(sentence)
    assert {one.meaning for one in sentences()} == {one.meaning for one in filled}


def test_no_sentence_is_among_the_training_wordings() -> None:
    def plain(text: str) -> str:
        return re.sub(r'\{\w+\}', '_', text).lower().strip('.?! ')

    trained = {plain(text) for words in all_wordings() for text in words.trained}
    assert trained.isdisjoint(plain(one.text) for one in sentences())
    assert len({one.text for one in sentences()}) == len(sentences())


def test_long_sentences_have_25_words_or_more() -> None:
    long = [one for one in sentences() if one.group == 'long']
    assert long and all(len(one.text.split()) >= 25 for one in long)


@pytest.mark.parametrize('word', ['mug', 'spoon', 'ball', 'yellow'])
def test_a_typing_error_changes_a_word_but_keeps_most_letters(word: str) -> None:
    for seed in range(20):
        wrong = mistyped(word, np.random.default_rng(seed))
        assert wrong != word and abs(len(wrong) - len(word)) <= 1
        assert sum((Counter(word) & Counter(wrong)).values()) >= len(word) - 1


def test_the_figures_of_a_group_count_a_missed_target_as_0() -> None:
    missed = replace(ANSWER, found=False)
    figures = report([ANSWER, missed, ABSENT])['groups']
    assert figures['negation'] == {'right': 0.5, 'n': 2, 'iou': 0.4, 'took_forbidden': 0.0}
    assert figures['absent'] == {'right': 1.0, 'n': 1}


def test_an_answer_with_the_forbidden_object_is_counted() -> None:
    wrong = replace(ANSWER, iou=0.0, forbidden=0.9)
    assert report([ANSWER, wrong])['groups']['negation']['took_forbidden'] == 0.5
    assert report([replace(wrong, found=False)])['groups']['negation']['took_forbidden'] == 0.0


def test_scores_that_are_right_as_often_as_they_say_have_no_calibration_error() -> None:
    answers = [replace(ANSWER, score=0.75, iou=iou) for iou in (0.9, 0.9, 0.9, 0.0)]
    assert report(answers)['calibration_error'] == pytest.approx(0.0)
    assert report([replace(ANSWER, iou=0.0)])['calibration_error'] == pytest.approx(0.95)
    assert report([ANSWER, replace(ANSWER, iou=0.0)])['sure'] == {'right': 0.5, 'n': 2}


def test_the_table_names_every_group() -> None:
    text = table(report([ANSWER, ABSENT]))
    assert 'negation' in text and 'absent' in text and 'calibration' in text


def test_a_model_answers_each_sentence_as_often_as_asked(tiny_model_dir: Path) -> None:
    asked = [
        Sentence(group='attribute', meaning='named', text='the {color} {noun}'),
        Sentence(group='unknown', meaning='unknown', text='the giraffe'),
    ]
    segmenter = Segmenter.from_pretrained(tiny_model_dir)
    try:
        answers = list(answer_sentences(segmenter, asked, scenes=2))
    except OpenGLError as error:
        pytest.skip(str(error))
    assert Counter(answer.group for answer in answers) == {'attribute': 2, 'unknown': 2}
    assert all(answer.present == (answer.group == 'attribute') for answer in answers)
    assert all(0 <= answer.iou <= 1 and answer.forbidden is None for answer in answers)
    assert json.loads(json.dumps(report(answers)))['groups'].keys() == {'attribute', 'unknown'}
