"""Collects examples of an object that is shown alone on a table, from any frames or from a bag."""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from instructseg_ros.model.frame_buffer import NANO
from instructseg_ros.spatial.depth import ConversionError, depth_in_metres
from instructseg_ros.spatial.pinhole import Pinhole, PinholeCache, named_rectified
from instructseg_ros.streaming.encodings import DEPTH_ENCODINGS
from instructseg_ros.teaching.examples import MAX_SIDE, Example, LabelledObject
from instructseg_ros.teaching.showing import Showing
from instructseg_ros.video.bag import (
    CLOCK_SAMPLES,
    COMPRESSED_IMAGE,
    IMAGE,
    BagImages,
    BagReader,
    Topic,
    decode_message,
)
from instructseg_ros.video.source import SourceError, VideoFrame

SLOP: Final = 0.02  # longest time between the stamps of an image and its depth, s
MIN_INTERVAL: Final = 0.1  # s between judged frames of a bag; nearer ones are almost equal
MAX_INTERVAL: Final = 1.0  # s between frames of a video; frames farther apart are single pictures
CAMERA_INFO: Final = 'sensor_msgs/msg/CameraInfo'
_GRAY: Final = ('mono8', '8UC1', 'mono16')  # also encodings of label images
_REGISTERED: Final = ('aligned', 'registered')  # in names of depth topics that fit the color image
logger = logging.getLogger(__name__)


class CaptureError(ValueError):
    """Too few frames show the object well; the message names the most frequent problem."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ShownFrame:
    """A frame in which a person may show an object.

    Attributes:
        rgb: (H, W, 3) uint8.
        depth: (h, w) m along the optical axis, NaN without depth, of the same view; None without a
            depth camera.
        pinhole: The camera; None without depth.
        source: Topic and time, or bag, topic and time; for messages and `Example.source`.
    """

    rgb: np.ndarray = field(repr=False)
    depth: np.ndarray | None = field(default=None, repr=False)
    pinhole: Pinhole | None = None
    source: str


@dataclass(frozen=True, kw_only=True)
class CaptureProgress:
    """State of a capture after a frame.

    Attributes:
        accepted: Number of examples so far.
        wanted: Number of examples to collect.
        problem: Why the frame was refused, and the remedy; empty if it became an example.
    """

    accepted: int
    wanted: int
    problem: str = ''


def collect(
    frames: Iterable[ShownFrame],
    name: str,
    *,
    count: int,
    live: bool,
    empty_table: np.ndarray | None = None,
    report: Callable[[CaptureProgress], object] = lambda progress: None,
) -> list[Example]:
    """Collect examples of the object, and stop reading frames when there are enough.

    Args:
        frames: The frames, in the order of their capture.
        name: Noun of the object, in lower case and singular.
        count: Number of examples.
        live: Whether the frames are a video, in which hands and moving objects appear, too.
        empty_table: (H, W, 3) uint8 picture of the table without the object; needed for frames
            without depth.
        report: Called after each frame.

    Returns:
        `count` examples, at most `MAX_SIDE` pixels wide and high.

    Raises:
        CaptureError: The frames end before that.
        ValueError: A frame has neither depth nor a picture of the empty table, or sizes differ.
    """
    showing = Showing(empty_table, live=live)
    problems: Counter[str] = Counter()
    examples: list[Example] = []
    for frame in frames:
        verdict = showing.judge(frame.rgb, frame.depth, frame.pinhole)
        if verdict.problem or verdict.mask is None:
            problems[verdict.problem] += 1
        else:
            examples.append(_example(frame, name, verdict.mask))
        accepted = len(examples)
        report(CaptureProgress(accepted=accepted, wanted=count, problem=verdict.problem))
        if accepted >= count:
            return examples
    raise CaptureError(_explain(name, count, len(examples), problems))


def _example(frame: ShownFrame, name: str, mask: np.ndarray) -> Example:
    example = Example(
        image=np.array(frame.rgb),
        objects=(LabelledObject(name=name, mask=mask),),
        source=frame.source,
        alone=True,
    )
    return example.scaled(MAX_SIDE)


def _explain(name: str, wanted: int, accepted: int, problems: Counter[str]) -> str:
    total = accepted + problems.total()
    if not total:
        return f'there is no frame to learn the {name} from: show it to the camera'
    text = f'only {accepted} of {wanted} wanted examples of the {name} in {total} frames'
    if not problems:
        return f'{text}: show it longer, each time at another place and angle, or want fewer'
    [(problem, times)] = problems.most_common(1)
    return f'{text}; the most frequent problem, in {times} of them: {problem}'


def frames_of_bag(path: Path, topic: str | None = None, *, depth: str | None = None) -> BagFrames:
    """Open a recording of an object that is shown to a camera, MCAP or rosbag2.

    Args:
        path: Folder or storage file.
        topic: Topic of the images; None chooses the only one in color.
        depth: Topic of the depth images; None chooses the one of the same camera, if any; empty to
            ignore depth.

    Raises:
        SourceError: The bag cannot be read, or a topic is missing or ambiguous.
    """
    return BagFrames(path, topic, depth=depth)


class BagFrames:
    """Frames of a bag; iterating reads it from the start.

    Images without depth at the same time are left out if the bag has depth.

    Attributes:
        path: The bag.
        topic: Topic of the images.
        depth_topic: Topic of the depth images; None: the frames have no depth.
        live: Whether the frames are a video; otherwise they are single pictures.
    """

    def __init__(self, path: Path, topic: str | None = None, *, depth: str | None = None) -> None:
        self.path = path
        with BagReader(path) as bag:
            topics = {each.topic: each for each in bag.connections if each.msgcount}
            encodings = dict(_encodings(bag, topics.values()))
            self._images = BagImages(path, topic=topic or _only_color(encodings))
            self.topic = self._images.topic
            self.depth_topic = self._choose_depth(encodings) if depth is None else depth or None
            if depth and depth not in topics:
                raise SourceError(f'{path} has no messages on "{depth}": name its topic of depth')
            info = self._choose_info(topics)
            if self.depth_topic and info is None:
                logger.warning(
                    '%s has depth but no calibration on %s, so that the depth is not used: record '
                    'that topic, too',
                    path,
                    _sibling(self.topic, 'camera_info'),
                )
                self.depth_topic = None
            self._depths = [each for each in bag.connections if each.topic == self.depth_topic]
            self._infos = [info] if info else []
            self.live = _is_video(bag, topics[self.topic])

    def __iter__(self) -> Iterator[ShownFrame]:
        """Yield the frames, at most one each `MIN_INTERVAL` seconds.

        Raises:
            SourceError: No image can be read, or none has depth although the bag has.
        """
        last: int | None = None
        for stamp, frame in self._with_depth() if self.depth_topic else self._without_depth():
            if last is None or not 0 <= stamp - last < MIN_INTERVAL * NANO:
                last = stamp
                yield frame

    def _without_depth(self) -> Iterator[tuple[int, ShownFrame]]:
        for frame in self._images.read():
            yield frame.info.stamp, ShownFrame(rgb=frame.image, source=self._name(frame))

    def _with_depth(self) -> Iterator[tuple[int, ShownFrame]]:
        """Yield the stamps, ns, and the frames that have depth at their time.

        Raises:
            SourceError: There is none.
        """
        is_empty = True
        with BagReader(self.path) as bag:
            depths = self._stamped_depths(bag)
            newest = next(depths, None)
            for image in self._images.read():
                stamp = image.info.stamp
                while newest is not None and newest[0] < stamp - SLOP * NANO:
                    newest = next(depths, None)
                if newest is None:
                    break
                time, depth, pinhole = newest
                if time <= stamp + SLOP * NANO:
                    is_empty = False
                    name = self._name(image)
                    yield (
                        stamp,
                        ShownFrame(rgb=image.image, depth=depth, pinhole=pinhole, source=name),
                    )
        if is_empty:
            raise SourceError(
                f'{self.path} has no depth on {self.depth_topic} within {SLOP:g} s of an image on '
                f'{self.topic}: record depth with the stamps of its images'
            )

    def _stamped_depths(self, bag: BagReader) -> Iterator[tuple[int, np.ndarray, Pinhole]]:
        """Yield the depth images with their stamps, ns, and the calibration of that time."""
        cache = PinholeCache(rectified=named_rectified(self.topic))
        [(_, _, first)] = itertools.islice(bag.messages(self._infos), 1)
        pinhole = cache.convert(decode_message(first, CAMERA_INFO))
        for topic, logged, raw in bag.messages([*self._depths, *self._infos]):
            try:
                message = decode_message(raw, topic.msgtype)
                if topic.msgtype == CAMERA_INFO:
                    pinhole = cache.convert(message)
                    continue
                yield _stamp(message) or logged, depth_in_metres(message), pinhole
            except (SourceError, ConversionError) as error:
                logger.warning('%s, %s: a message is skipped: %s', self.path, topic.topic, error)

    def _name(self, frame: VideoFrame) -> str:
        return f'{self.path.name} {self.topic} at {frame.info.stamp / NANO:.3f} s'

    def _choose_depth(self, encodings: dict[str, str]) -> str | None:
        """Return the depth topic of the camera, None if there is none.

        Raises:
            SourceError: There are several.
        """
        sibling = _sibling(self.topic, 'depth/image')
        found = [
            topic
            for topic, encoding in sorted(encodings.items())
            if encoding in DEPTH_ENCODINGS and 'depth' in topic and topic != self.topic
        ]
        registered = [topic for topic in found if any(word in topic for word in _REGISTERED)]
        if sibling in found:
            return sibling
        if len(found) > 1 and len(registered) != 1:
            raise SourceError(
                f'{self.path} has several depth topics, name the one that is registered to '
                f'{self.topic} with --depth: {", ".join(found)}'
            )
        return next(iter(registered or found), None)

    def _choose_info(self, topics: dict[str, Topic]) -> Topic | None:
        """Return the topic of the calibration; None if it is missing or ambiguous."""
        found = [each for each in topics.values() if each.msgtype == CAMERA_INFO]
        own = [each for each in found if each.topic == _sibling(self.topic, 'camera_info')]
        return own[0] if own else found[0] if len(found) == 1 else None


def _encodings(bag: BagReader, topics: Iterable[Topic]) -> Iterator[tuple[str, str]]:
    """Yield (topic, encoding) of the first image on each image topic."""
    for topic in topics:
        if topic.msgtype in (IMAGE, COMPRESSED_IMAGE):
            for _, _, raw in itertools.islice(bag.messages([topic]), 1):
                message = decode_message(raw, topic.msgtype)
                compressed = topic.msgtype == COMPRESSED_IMAGE
                yield topic.topic, message.format if compressed else message.encoding


def _only_color(encodings: dict[str, str]) -> str | None:
    """Return the only topic of color images; None if there are none or several."""
    others = (*_GRAY, *DEPTH_ENCODINGS)
    colored = [
        topic
        for topic, encoding in encodings.items()
        if encoding not in others
        and 'compressedDepth' not in encoding
        # The format of a compressed image starts with the encoding of the raw one.
        and encoding.split(';')[0] not in others
    ]
    return colored[0] if len(colored) == 1 else None


def _is_video(bag: BagReader, topic: Topic) -> bool:
    """Return whether most images follow each other within `MAX_INTERVAL`."""
    times = [logged for _, logged, _ in itertools.islice(bag.messages([topic]), CLOCK_SAMPLES)]
    return len(times) > 1 and float(np.median(np.diff(times))) <= MAX_INTERVAL * NANO


def _stamp(message: Any) -> int:
    stamp = message.header.stamp
    return int(stamp.sec * NANO + stamp.nanosec)


def _sibling(topic: str, name: str) -> str:
    """Return another topic of the camera of an image topic, as image_transport does."""
    return f'{topic.removesuffix("/compressed").rpartition("/")[0]}/{name}'
