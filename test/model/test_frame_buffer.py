from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from instructseg_ros.model.frame_buffer import Frame, FrameBuffer


def frame(stamp: int, *, arrived: float = 0.0, features: Any = None) -> Frame:
    return Frame(
        image=np.zeros((2, 2, 3), np.uint8), stamp=stamp, arrived=arrived, features=features
    )


def filled(*stamps: int, **bounds: int) -> FrameBuffer:
    buffer = FrameBuffer(**{'capacity': 100, 'max_span': 10_000, **bounds})
    for stamp in stamps:
        buffer.add(frame(stamp))
    return buffer


def chosen(buffer: FrameBuffer, *, count: int, stride: int) -> list[int]:
    key = buffer.newest(now=0.0, max_age=1.0)
    assert key is not None
    return [f.stamp for f in buffer.references(key, count=count, stride=stride)]


def test_adding_tells_whether_the_frame_before_was_missed() -> None:
    buffer = filled()
    assert not buffer.add(frame(1))
    assert buffer.add(frame(2))
    buffer.take()
    assert not buffer.add(frame(3))


def test_the_newest_frame_is_read_again_and_again_until_it_is_too_old() -> None:
    buffer = filled()
    buffer.add(frame(1, arrived=5.0))
    for _ in range(2):
        newest = buffer.newest(now=6.0, max_age=1.0)
        assert newest is not None and newest.stamp == 1
    assert buffer.newest(now=7.0, max_age=1.0) is None


def test_an_empty_buffer_has_no_newest_frame() -> None:
    assert filled().newest(now=0.0, max_age=1.0) is None


def test_the_buffer_is_bounded_by_count() -> None:
    assert len(filled(*range(50), capacity=7)) == 7


def test_the_buffer_is_bounded_by_age() -> None:
    assert len(filled(0, 10, 20, 30, max_span=15)) == 2


def test_frames_behind_the_newest_keep_their_distance() -> None:
    buffer = filled(*range(0, 101, 10), spacing=30)
    assert len(buffer) == 5
    assert chosen(buffer, count=2, stride=40) == [30, 60]


def test_a_repeated_stamp_replaces_the_frame() -> None:
    buffer = filled(1, 2, 2, 2)
    assert len(buffer) == 2


def test_a_jump_back_in_time_empties_the_buffer() -> None:
    buffer = filled(100, 110, 120, 5)
    assert len(buffer) == 1
    newest = buffer.newest(now=0.0, max_age=1.0)
    assert newest is not None and newest.stamp == 5


def test_references_are_the_frames_nearest_the_stride_oldest_first() -> None:
    buffer = filled(0, 9, 21, 29, 41, 50)
    assert chosen(buffer, count=4, stride=10) == [9, 21, 29, 41]


def test_references_never_come_from_after_the_key() -> None:
    buffer = filled(0, 10, 20, 30)
    references = buffer.references(frame(15), count=2, stride=10)
    assert [f.stamp for f in references] == [0, 10]


def test_there_are_fewer_references_when_the_past_is_short_or_has_gaps() -> None:
    assert chosen(filled(0), count=4, stride=10) == []
    assert chosen(filled(0, 10), count=4, stride=10) == [0]
    assert chosen(filled(0, 30, 40), count=4, stride=10) == [0, 30]


def test_no_reference_is_chosen_twice() -> None:
    assert chosen(filled(0, 15), count=2, stride=10) == [0]


def test_an_encoded_frame_is_preferred_to_a_nearer_one_that_is_not() -> None:
    buffer = filled()
    for stamp, features in ((0, None), (7, 'features'), (10, None), (20, None)):
        buffer.add(frame(stamp, features=features))
    assert chosen(buffer, count=1, stride=10) == [7]


@pytest.mark.parametrize('bounds', [{'capacity': 0}, {'max_span': -1}, {'spacing': -1}])
def test_impossible_bounds_are_refused(bounds: dict[str, int]) -> None:
    with pytest.raises(ValueError, match='capacity must be at least 1'):
        filled(**bounds)


def test_a_stamp_that_repeats_does_not_make_the_frame_before_it_a_taken_one() -> None:
    buffer = filled(1)
    buffer.take()
    assert not buffer.add(frame(1))
    assert buffer.add(frame(1))


def test_the_frame_of_a_repeated_stamp_is_the_newest_one() -> None:
    buffer = filled(1, 2)
    again = frame(2)
    buffer.add(again)
    assert buffer.newest(now=0.0, max_age=1.0) is again


def test_a_jump_back_in_time_releases_the_references_of_the_future() -> None:
    buffer = filled(100, 110, 120, 5, 15)
    assert chosen(buffer, count=4, stride=10) == [5]


def test_a_jump_ahead_in_time_releases_the_past() -> None:
    buffer = filled(0, 10, 20, 1_000_000, max_span=50)
    assert len(buffer) == 1


def test_cleared_tokens_are_gone_and_the_frames_stay() -> None:
    buffer = filled()
    frames = [frame(stamp, features='features') for stamp in (0, 10, 20)]
    for each in frames:
        buffer.add(each)
    buffer.clear_features()
    assert [each.features for each in frames] == [None] * 3
    assert chosen(buffer, count=2, stride=10) == [0, 10]


def test_no_reference_is_wanted_when_none_is_asked_for() -> None:
    assert chosen(filled(0, 10, 20), count=0, stride=10) == []


def test_the_encoded_one_of_frames_too_close_to_each_other_is_kept() -> None:
    buffer = filled(spacing=30)
    for stamp, features in ((0, 'features'), (40, None), (50, 'features'), (60, None), (100, None)):
        buffer.add(frame(stamp, features=features))
    assert chosen(buffer, count=1, stride=55) == [50]
