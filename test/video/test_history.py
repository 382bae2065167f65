from __future__ import annotations

import pytest

from instructseg_ros.streaming.settings import EngineSettings
from instructseg_ros.video.frame import Place
from instructseg_ros.video.record import MOST, History, Line


def line(frame: int, stamp: int, track: int = 1) -> Line:
    return Line(
        frame=frame,
        place=Place(stamp=stamp, recorded=stamp),
        size=(2, 2),
        answers=[{'track_id': track}],
    )


def history(stamps: list[int], frames: int = 2, stride: float = 0.2) -> History:
    made = History(EngineSettings(reference_frames=frames, reference_stride=stride))
    for frame, stamp in enumerate(stamps):
        made.add(line(frame, stamp))
    return made


def test_of_nothing_nothing_is_shown_again() -> None:
    assert history([]).again() == () and history([]).tracks == 0


@pytest.mark.parametrize('rate', [1, 5, 15, 30, 120])
@pytest.mark.parametrize('count', [1, 2, 40, 301])
def test_what_is_shown_again_begins_with_a_frame_that_the_engine_keeps(
    rate: int, count: int
) -> None:
    settings = EngineSettings(reference_frames=2, reference_stride=0.2)
    spacing, kept = int(settings.reference_stride * 1e9) // 4, [0]
    stamps = [frame * 10**9 // rate for frame in range(count)]
    for stamp in stamps:
        if stamp - kept[-1] >= spacing:
            kept.append(stamp)
    again = [seen.place.stamp for seen in history(stamps).again()]
    assert again[0] in kept
    assert again == stamps[stamps.index(again[0]) :]


def test_what_is_shown_again_covers_the_reference_frames_and_not_much_more() -> None:
    stamps = [frame * 10**9 // 30 for frame in range(900)]
    for frames, stride, seconds in ((0, 0.2, 1.0), (2, 0.2, 1.0), (4, 0.5, 2.5)):
        again = history(stamps, frames, stride).again()
        span = (stamps[-1] - again[0].place.stamp) / 1e9
        assert seconds <= span < seconds + stride


def test_frames_from_before_time_jumped_back_are_let_go() -> None:
    stamps = [10**12 + frame * 10**8 for frame in range(20)] + [frame * 10**8 for frame in range(5)]
    assert [seen.place.stamp for seen in history(stamps).again()][-5:] == stamps[-5:]
    assert len(history(stamps).again()) <= 6


def test_a_clock_that_stands_still_fills_no_memory() -> None:
    assert len(history([7] * (MOST + 50)).again()) == MOST


def test_tracks_are_counted() -> None:
    made = history([0, 1])
    made.add(line(2, 2, track=5))
    made.add(line(3, 3, track=0))
    assert made.tracks == 5 and made.frames == 4
    assert made.again()[-2].tracks == (5,)
