from __future__ import annotations

import pytest

from instructseg_ros.streaming.schedule import EngineSettings
from instructseg_ros.video.record import MAX_REPLAYED, FrameRecord, ReplayWindow
from instructseg_ros.video.source import FrameInfo


def record(frame: int, stamp: int, track: int = 1) -> FrameRecord:
    return FrameRecord(
        frame=frame,
        info=FrameInfo(stamp=stamp, recorded=stamp),
        size=(2, 2),
        answers=[{'track_id': track}],
    )


def window(stamps: list[int], frames: int = 2, stride: float = 0.2) -> ReplayWindow:
    added = ReplayWindow(EngineSettings(reference_frames=frames, reference_stride=stride))
    for frame, stamp in enumerate(stamps):
        added.add(record(frame, stamp))
    return added


def test_an_empty_record_replays_nothing() -> None:
    assert window([]).frames() == () and window([]).tracks == 0


@pytest.mark.parametrize('rate', [1, 5, 15, 30, 120])
@pytest.mark.parametrize('count', [1, 2, 40, 301])
def test_the_window_starts_at_a_frame_that_the_engine_keeps(rate: int, count: int) -> None:
    settings = EngineSettings(reference_frames=2, reference_stride=0.2)
    spacing, kept = int(settings.reference_stride * 1e9) // 4, [0]
    stamps = [frame * 10**9 // rate for frame in range(count)]
    for stamp in stamps:
        if stamp - kept[-1] >= spacing:
            kept.append(stamp)
    replayed = [each.info.stamp for each in window(stamps).frames()]
    assert replayed[0] in kept
    assert replayed == stamps[stamps.index(replayed[0]) :]


def test_the_window_covers_the_reference_frames_and_little_more() -> None:
    stamps = [frame * 10**9 // 30 for frame in range(900)]
    for frames, stride, seconds in ((0, 0.2, 1.0), (2, 0.2, 1.0), (4, 0.5, 2.5)):
        replayed = window(stamps, frames, stride).frames()
        span = (stamps[-1] - replayed[0].info.stamp) / 1e9
        assert seconds <= span < seconds + stride


def test_frames_before_a_jump_back_in_time_are_dropped() -> None:
    stamps = [10**12 + frame * 10**8 for frame in range(20)] + [frame * 10**8 for frame in range(5)]
    assert [each.info.stamp for each in window(stamps).frames()][-5:] == stamps[-5:]
    assert len(window(stamps).frames()) <= 6


def test_a_clock_that_stands_still_does_not_fill_the_memory() -> None:
    assert len(window([7] * (MAX_REPLAYED + 50)).frames()) == MAX_REPLAYED


def test_tracks_are_counted() -> None:
    added = window([0, 1])
    added.add(record(2, 2, track=5))
    added.add(record(3, 3, track=0))
    assert added.tracks == 5 and added.count == 4
    assert added.frames()[-2].tracks == (5,)
