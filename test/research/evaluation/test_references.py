from __future__ import annotations

import pytest

from instructseg_ros.research.evaluation.predictor import references_of


@pytest.mark.parametrize(
    ('frame', 'frames', 'expected'),
    [
        (0, 10, (1, 2, 3, 4)),
        (1, 10, (0, 2, 3, 4)),
        (2, 10, (0, 1, 3, 4)),
        (5, 10, (3, 4, 6, 7)),
        (8, 10, (5, 6, 7, 9)),
        (9, 10, (5, 6, 7, 8)),
        (0, 5, (1, 2, 3, 4)),
        (4, 5, (0, 1, 2, 3)),
    ],
)
def test_neighbours_are_chosen_as_the_authors_do(
    frame: int, frames: int, expected: tuple[int, ...]
) -> None:
    assert references_of(frame, frames) == expected


@pytest.mark.parametrize(
    ('frame', 'frames', 'expected'), [(0, 1, (0,)), (0, 2, (1,)), (1, 3, (0, 2)), (3, 4, (0, 1, 2))]
)
def test_a_short_video_shows_what_it_has(
    frame: int, frames: int, expected: tuple[int, ...]
) -> None:
    assert references_of(frame, frames) == expected


def test_a_model_may_want_fewer() -> None:
    assert references_of(5, 10, 2) == (4, 6)
