from __future__ import annotations

from collections.abc import Callable

import pytest

from instructseg_ros.ros.depth_input import MatchMonitor

DEPTH, INFO = '/cam/depth/image', '/cam/camera_info'
MS = 1_000_000


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reports() -> list[str]:
    return []


@pytest.fixture
def monitor(clock: Clock, reports: list[str]) -> MatchMonitor:
    return MatchMonitor((DEPTH, INFO), slop=0.02, queue=10, warn=reports.append, clock=clock)


Show = Callable[..., None]


@pytest.fixture
def show(monitor: MatchMonitor, clock: Clock) -> Show:
    """Ten images a second, and 0 or more ns off them what belongs to them."""

    def run(seconds: float, **offsets: int | None) -> None:
        for _ in range(round(10 * seconds)):
            clock.now += 0.1
            stamp = round(clock.now * 1000) * MS
            for topic, name in ((DEPTH, 'depth'), (INFO, 'info')):
                offset = offsets.get(name)
                if offset is not None:
                    monitor.note(topic, stamp + offset)
            monitor.note_image(stamp)

    return run


@pytest.mark.parametrize(('offsets', 'topic'), [({'depth': 0}, INFO), ({'info': 0}, DEPTH)])
def test_a_topic_without_any_message_is_named_once(
    show: Show, reports: list[str], offsets: dict[str, int], topic: str
) -> None:
    show(2.9, **offsets)
    assert reports == []
    show(10.0, **offsets)
    [text] = reports
    assert f'no message has arrived on {topic}' in text and text.count('/cam/') == 1


def test_a_topic_that_fell_silent_is_named(
    monitor: MatchMonitor, show: Show, reports: list[str]
) -> None:
    show(1.0, depth=0, info=0)
    monitor.note_match()
    show(5.0, depth=0)
    [text] = reports
    assert f's on {INFO}; check its driver' in text and DEPTH not in text


def test_a_topic_whose_stamps_differ_is_named_with_how_much(show: Show, reports: list[str]) -> None:
    show(5.0, depth=0, info=30 * MS)
    [text] = reports
    assert f'images have no message on {INFO} stamped within 0.02 s (sync_slop)' in text
    assert 'the nearest is 0.030 s off' in text and DEPTH not in text


def test_stamps_of_another_clock_are_named(show: Show, reports: list[str]) -> None:
    show(5.0, depth=-90_000 * MS, info=0)
    [text] = reports
    assert f'no message on {DEPTH} stamped within' in text


def test_messages_that_come_late_ask_for_a_longer_queue(
    show: Show, reports: list[str], monitor: MatchMonitor
) -> None:
    show(5.0, depth=-2000 * MS, info=0)  # two seconds after the images that they belong to
    [text] = reports
    assert f'messages on {DEPTH} arrive 2.00 s after their images' in text
    assert 'raise sync_queue' in text


def test_a_topic_slower_than_the_images_is_named(
    show: Show, reports: list[str], monitor: MatchMonitor
) -> None:
    for _ in range(5):
        show(0.1, depth=0, info=0)
        monitor.note_match()
        show(0.4, info=0)
    assert reports == []
    monitor.report()
    [text] = reports
    assert '16 of 21 images have no message on /cam/depth/image' in text


def test_a_fault_is_reported_again_after_a_minute_of_matches(
    monitor: MatchMonitor, show: Show, reports: list[str]
) -> None:
    show(10.0, depth=0)
    monitor.note_match()
    show(5.0, depth=0)
    assert len(reports) == 1
    for _ in range(70):
        monitor.note_match()
        show(1.0, depth=0, info=0)
    show(5.0, depth=0)
    assert len(reports) == 2


def test_a_fault_of_every_other_image_is_reported_once(
    monitor: MatchMonitor, show: Show, reports: list[str]
) -> None:
    for count in range(500):
        show(0.1, depth=0, info=0)
        monitor.note_match()
        show(0.1, info=0)
        if count >= 16:  # the results that have waited longest for depth are dropped
            monitor.report()
    [text] = reports
    assert f'images have no message on {DEPTH}' in text


def test_a_fault_is_reported_again_when_listening_begins_again(
    monitor: MatchMonitor, show: Show, reports: list[str]
) -> None:
    show(5.0, depth=0)
    monitor.reset()
    show(5.0, depth=0)
    assert len(reports) == 2


def test_a_slow_camera_is_given_time(
    monitor: MatchMonitor, clock: Clock, reports: list[str]
) -> None:
    for stamp in (1, 2):
        clock.now += 5.0
        monitor.note_image(stamp)
    assert reports == []


def test_without_images_there_is_nothing_to_report(
    monitor: MatchMonitor, reports: list[str]
) -> None:
    monitor.note(DEPTH, 1)
    monitor.note(INFO, 1)
    monitor.report()
    assert reports == []


def test_another_fault_is_named_as_well(show: Show, reports: list[str]) -> None:
    show(5.0, depth=0)
    show(10.0, depth=0, info=30 * MS)
    assert len(reports) == 2
    assert f'no message has arrived on {INFO}' in reports[0]
    assert f'no message on {INFO} stamped within' in reports[1]
