from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.rosbag2 import Writer
from rosbags.rosbag2.enums import StoragePlugin

from instructseg_ros.tabletop.world.arrangement import lone_object
from instructseg_ros.tabletop.world.mujoco_model import OpenGLError
from instructseg_ros.tabletop.world.recording import TOPICS, to_messages
from instructseg_ros.tabletop.world.simulator import Observation, Tabletop
from instructseg_ros.teaching.capture import (
    CaptureError,
    CaptureProgress,
    ShownFrame,
    collect,
    frames_of_bag,
)
from instructseg_ros.teaching.showing import NOTHING, REPEATED
from instructseg_ros.video.bag import standard_types
from instructseg_ros.video.source import SourceError

IMAGE, DEPTH, INFO = '/camera/image', '/camera/depth/image', '/camera/camera_info'
VIEWS = 4
EMPTY = 99
See = Callable[[int], Observation]


@pytest.fixture(scope='module')
def see() -> Iterator[See]:
    """Return a function that renders a star at one of its places, or the table without it."""
    try:
        tabletop = Tabletop(width=320, height=240)
    except OpenGLError as error:
        pytest.skip(str(error))

    @lru_cache
    def observe(view: int) -> Observation:
        scene = lone_object(0, view, 'star', 'red')
        tabletop.show(replace(scene, objects=()) if view == EMPTY else scene)
        return tabletop.observe(0.0)

    with tabletop:
        yield observe


def shown(seen: Observation, *, depth: bool = True) -> ShownFrame:
    return ShownFrame(
        rgb=seen.rgb,
        depth=seen.depth if depth else None,
        pinhole=seen.pinhole if depth else None,
        source='the test',
    )


def iou(mask: np.ndarray, seen: Observation) -> float:
    assert seen.labels is not None
    truth = seen.labels > 0
    return float((mask & truth).sum() / (mask | truth).sum())


WriteBag = Callable[..., Path]


@pytest.fixture
def write_bag(tmp_path: Path, see: See) -> WriteBag:
    def write(
        views: Sequence[int],
        *,
        period: float = 0.2,
        without: Sequence[str] = (),
        rename: dict[str, str] | None = None,
        depth_delay: float = 0.0,
    ) -> Path:
        """A bag of one frame for each view, in the topics of the simulated camera."""
        names = {topic: (rename or {}).get(topic, topic) for topic in TOPICS}
        with Writer(tmp_path / 'bag', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            connections = {
                topic: writer.add_connection(names[topic], kind, typestore=standard_types())
                for topic, kind in TOPICS.items()
                if topic not in without
            }
            for number, view in enumerate(views):
                stamp = 10**9 + round(number * period * 1e9)
                late = to_messages(see(view), stamp + round(depth_delay * 1e9), 0)
                messages: dict[str, Any] = {**to_messages(see(view), stamp, 0), DEPTH: late[DEPTH]}
                for topic, connection in connections.items():
                    writer.write(connection, stamp, messages[topic])
        return tmp_path / 'bag'

    return write


def test_each_example_has_the_object_as_it_was_shown(see: See) -> None:
    frames = [shown(see(view)) for view in range(VIEWS)]
    examples = collect(frames, 'star', count=VIEWS, live=False)
    for view, example in enumerate(examples):
        assert [one.name for one in example.objects] == ['star']
        assert iou(example.objects[0].mask, see(view)) > 0.9
        assert np.array_equal(example.image, see(view).rgb)
        assert example.alone and example.source == 'the test'


def test_frames_are_read_only_until_there_are_enough_examples(see: See) -> None:
    frames = iter([shown(see(view)) for view in range(VIEWS)])
    assert len(collect(frames, 'star', count=2, live=False)) == 2
    assert len(list(frames)) == VIEWS - 2


def test_each_frame_is_reported_with_its_problem(see: See) -> None:
    frames = [shown(see(view)) for view in (0, 0, 1)]
    reports: list[CaptureProgress] = []
    collect(frames, 'star', count=2, live=False, report=reports.append)
    assert [(each.accepted, each.wanted, each.problem) for each in reports] == [
        (1, 2, ''),
        (1, 2, REPEATED),
        (2, 2, ''),
    ]


def test_in_a_video_an_object_that_was_put_to_another_place_is_accepted_once_it_lies_still(
    see: See,
) -> None:
    reports: list[CaptureProgress] = []
    frames = [shown(see(view)) for view in (0, 0, 0, 1, 1)]
    examples = collect(frames, 'star', count=2, live=True, report=reports.append)
    assert [each.accepted for each in reports] == [0, 1, 1, 1, 2]
    assert iou(examples[1].objects[0].mask, see(1)) > 0.9


def test_without_depth_the_object_is_what_differs_from_the_empty_table(see: See) -> None:
    frames = [shown(see(view), depth=False) for view in (2, 3)]
    examples = collect(frames, 'star', count=2, live=False, empty_table=see(EMPTY).rgb)
    for view, example in zip((2, 3), examples, strict=True):
        assert iou(example.objects[0].mask, see(view)) > 0.8


def test_neither_depth_nor_an_empty_table_is_an_error_that_names_both(see: See) -> None:
    with pytest.raises(ValueError, match='depth, or pass a picture of the table without'):
        collect([shown(see(0), depth=False)], 'star', count=1, live=False)


def test_too_few_examples_are_an_error_with_the_most_frequent_problem(see: See) -> None:
    frames = [shown(see(view)) for view in (0, 0, 0, 1)]
    with pytest.raises(CaptureError) as raised:
        collect(frames, 'star', count=9, live=False)
    assert str(raised.value) == (
        'only 2 of 9 wanted examples of the star in 4 frames; the most frequent problem, in 2 of '
        f'them: {REPEATED}'
    )


def test_too_few_good_frames_are_an_error_with_a_remedy(see: See) -> None:
    with pytest.raises(CaptureError, match=r'only 1 of 3 .*: show it longer'):
        collect([shown(see(0))], 'star', count=3, live=False)


def test_no_frame_at_all_is_an_error() -> None:
    with pytest.raises(CaptureError, match='no frame to learn the star from'):
        collect([], 'star', count=3, live=False)


@pytest.mark.parametrize('depth', [True, False])
def test_an_empty_table_is_named_as_the_problem(see: See, depth: bool) -> None:
    frames = [shown(see(EMPTY), depth=depth)] * 3
    with pytest.raises(CaptureError, match=NOTHING):
        collect(frames, 'star', count=1, live=False, empty_table=see(EMPTY).rgb)


def test_a_recorded_showing_becomes_examples(write_bag: WriteBag, see: See) -> None:
    frames = frames_of_bag(write_bag([0, 0, 1, 1, 2, 2]))
    assert (frames.topic, frames.depth_topic, frames.live) == (IMAGE, DEPTH, True)
    examples = collect(frames, 'star', count=3, live=frames.live)
    for view, example in enumerate(examples):
        assert iou(example.objects[0].mask, see(view)) > 0.9
    assert examples[0].source == f'bag {IMAGE} at 1.200 s'


def test_the_depth_of_a_bag_is_in_metres_and_its_camera_that_of_the_images(
    write_bag: WriteBag, see: See
) -> None:
    [frame, other] = frames_of_bag(write_bag([0, 1]))
    seen = see(0)
    assert frame.depth is not None and seen.depth is not None
    np.testing.assert_allclose(frame.depth, seen.depth, atol=1e-3)
    assert frame.pinhole == seen.pinhole and frame.pinhole is other.pinhole


def test_pictures_far_apart_are_no_video(write_bag: WriteBag) -> None:
    frames = frames_of_bag(write_bag(range(VIEWS), period=5.0))
    assert not frames.live
    assert len(collect(frames, 'star', count=VIEWS, live=frames.live)) == VIEWS


def test_frames_that_follow_each_other_at_once_are_left_out(write_bag: WriteBag) -> None:
    times = [frame.source for frame in frames_of_bag(write_bag([0] * 7, period=1 / 30))]
    assert times == [f'bag {IMAGE} at {time:.3f} s' for time in (1.0, 1.1, 1.2)]


def test_a_bag_without_depth_has_frames_without_depth(write_bag: WriteBag) -> None:
    frames = frames_of_bag(write_bag([0, 1], without=[DEPTH]))
    assert frames.depth_topic is None
    assert [(frame.depth, frame.pinhole) for frame in frames] == [(None, None)] * 2


def test_the_depth_of_a_bag_can_be_ignored(write_bag: WriteBag) -> None:
    assert [frame.depth for frame in frames_of_bag(write_bag([0]), depth='')] == [None]


def test_depth_without_a_calibration_is_not_used_and_reported(
    write_bag: WriteBag, caplog: pytest.LogCaptureFixture
) -> None:
    frames = frames_of_bag(write_bag([0], without=[INFO]))
    assert [frame.depth for frame in frames] == [None]
    assert f'no calibration on {INFO}' in caplog.text


def test_depth_of_other_times_is_an_error_with_the_remedy(write_bag: WriteBag) -> None:
    frames = frames_of_bag(write_bag([0, 1, 2], depth_delay=0.05))
    with pytest.raises(SourceError, match='record depth with the stamps of its images'):
        list(frames)


def test_the_topics_of_a_camera_driver_are_found_by_their_encodings(write_bag: WriteBag) -> None:
    names = {
        IMAGE: '/d435/color/image_raw',
        INFO: '/d435/color/camera_info',
        DEPTH: '/d435/aligned_depth_to_color/image_raw',
    }
    frames = frames_of_bag(write_bag([0], rename=names))
    assert (frames.topic, frames.depth_topic) == (names[IMAGE], names[DEPTH])
    assert [frame.depth is None for frame in frames] == [False]


@pytest.mark.parametrize('topics', [{'topic': '/elsewhere'}, {'depth': '/elsewhere'}])
def test_a_topic_that_the_bag_lacks_is_an_error(write_bag: WriteBag, topics: Any) -> None:
    with pytest.raises(SourceError, match=r'has no (images|messages) on "/elsewhere"'):
        frames_of_bag(write_bag([0]), **topics)
