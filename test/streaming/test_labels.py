from __future__ import annotations

import numpy as np

from instructseg_ros.streaming.instruction import Instruction
from instructseg_ros.streaming.labels import Labels, confidence, union
from instructseg_ros.streaming.segmentation import Segmentation, State


def result(id: str, columns: slice, *, found: bool = True, score: float = 0.9) -> Segmentation:
    mask = np.zeros((4, 6), bool)
    mask[:, columns] = True
    return Segmentation(
        instruction=Instruction(text=f'the {id}', id=id), score=score, mask=mask,
        probability=mask * np.float32(score), reason='' if found else 'not there',
        state=State.FOUND if found else State.NOT_FOUND)


def test_an_instruction_keeps_its_number_and_a_free_one_is_used_again() -> None:
    labels = Labels()
    mug, bowl, book = (result(id, slice(0, 1)) for id in ('mug', 'bowl', 'book'))
    assert [labels.number(each) for each in (mug, bowl, mug)] == [1, 2, 1]
    labels.release(mug)
    assert [labels.number(each) for each in (bowl, book)] == [2, 1]
    assert labels.names == {0: 'background', 1: 'the book', 2: 'the bowl'}


def test_what_was_never_numbered_can_be_released() -> None:
    labels = Labels()
    labels.release(result('mug', slice(0, 1)))
    assert labels.names == {0: 'background'}


def test_where_masks_overlap_the_surest_wins_and_what_is_not_found_is_left_out() -> None:
    labels = Labels()
    image = labels.draw([result('sure', slice(0, 3), score=0.9),
                         result('less', slice(2, 5), score=0.6),
                         result('gone', slice(5, 6), found=False)])
    assert image.dtype == np.uint16
    sure, less = (labels.number(result(id, slice(0, 1))) for id in ('sure', 'less'))
    assert image[0].tolist() == [sure, sure, sure, less, less, 0]


def test_the_union_holds_what_was_found() -> None:
    both = union([result('mug', slice(0, 1)), result('bowl', slice(4, 5)),
                  result('gone', slice(2, 3), found=False)])
    assert both[0].tolist() == [True, False, False, False, True, False]
    assert not union([result('gone', slice(2, 3), found=False)]).any()


def test_confidence_is_the_highest_probability_of_any() -> None:
    levels = confidence([result('mug', slice(0, 2), score=0.4),
                         result('bowl', slice(1, 3), score=0.8)])
    assert levels.dtype == np.uint8
    assert levels[0].tolist() == [102, 204, 204, 0, 0, 0]
