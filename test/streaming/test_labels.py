from __future__ import annotations

from dataclasses import replace

import numpy as np

from instructseg_ros.streaming.instruction import Instruction
from instructseg_ros.streaming.labels import MAX_NUMBER, Labels, confidence, union
from instructseg_ros.streaming.segmentation import Segmentation, State


def result(id: str, columns: slice, *, found: bool = True, score: float = 0.9) -> Segmentation:
    mask = np.zeros((4, 6), bool)
    mask[:, columns] = True
    return Segmentation(
        instruction=Instruction(text=f'the {id}', id=id),
        score=score,
        mask=mask,
        probability=mask * np.float32(score),
        reason='' if found else 'not there',
        state=State.FOUND if found else State.NOT_FOUND,
    )


def test_an_ended_instruction_keeps_its_number_and_name_and_a_new_one_gets_another() -> None:
    labels = Labels()
    book, ball = (result(id, slice(0, 1)) for id in ('book', 'ball'))
    assert [labels.number(each) for each in (book, ball, book)] == [1, 2, 1]
    assert labels.names == {0: 'background', 1: 'the book', 2: 'the ball'}


def test_a_text_that_is_said_again_gets_its_number_again() -> None:
    labels = Labels()
    first, other = result('mug', slice(0, 1)), result('bowl', slice(0, 1))
    again = replace(first, instruction=replace(first.instruction, id='another'))
    assert [labels.number(each) for each in (first, other, again)] == [1, 2, 1]


def test_when_all_numbers_are_taken_the_one_out_of_use_for_longest_is_given_away() -> None:
    labels = Labels()
    old = [result(str(number), slice(0, 1)) for number in range(1, MAX_NUMBER + 1)]
    assert [labels.number(each) for each in old] == list(range(1, MAX_NUMBER + 1))
    labels.number(old[0])  # still in use
    assert labels.number(result('new', slice(0, 1))) == 2
    assert labels.number(old[0]) == 1
    assert labels.number(old[1]) == 3
    assert len(labels.names) == MAX_NUMBER + 1
    assert (labels.names[2], labels.names[3]) == ('the new', 'the 2')


def test_where_masks_overlap_the_surest_wins_and_what_is_not_found_is_left_out() -> None:
    labels = Labels()
    image = labels.draw(
        [
            result('sure', slice(0, 3), score=0.9),
            result('less', slice(2, 5), score=0.6),
            result('gone', slice(5, 6), found=False),
        ]
    )
    assert image.dtype == np.uint16
    sure, less = (labels.number(result(id, slice(0, 1))) for id in ('sure', 'less'))
    assert image[0].tolist() == [sure, sure, sure, less, less, 0]


def test_the_union_holds_what_was_found() -> None:
    both = union(
        [
            result('mug', slice(0, 1)),
            result('bowl', slice(4, 5)),
            result('gone', slice(2, 3), found=False),
        ]
    )
    assert both[0].tolist() == [True, False, False, False, True, False]
    assert not union([result('gone', slice(2, 3), found=False)]).any()


def test_confidence_is_the_highest_probability_of_any() -> None:
    levels = confidence(
        [result('mug', slice(0, 2), score=0.4), result('bowl', slice(1, 3), score=0.8)]
    )
    assert levels.dtype == np.uint8
    assert levels[0].tolist() == [102, 204, 204, 0, 0, 0]


def test_the_revision_changes_with_the_names_and_only_with_them() -> None:
    labels = Labels()
    book, ball = (result(id, slice(0, 1)) for id in ('book', 'ball'))
    revisions = []
    for each in (book, book, ball, book, ball):
        labels.number(each)
        revisions.append(labels.revision)
    assert revisions == [1, 1, 2, 2, 2]
