"""Matches depth images and calibrations to color images, and explains missing matches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from rclpy.node import Node
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from instructseg_ros.model.frame_buffer import NANO
from instructseg_ros.ros import qos
from instructseg_ros.ros.inputs import camera_topic
from instructseg_ros.ros.messages import stamp_to_nanoseconds
from instructseg_ros.ros.qos import create_subscription
from instructseg_ros.ros.synchronizer import ApproximateTimeSynchronizer, SimpleFilter

SUBSCRIPTION_DEPTH: Final = 5
MATCH_TIMEOUT: Final = 3.0  # s without a match, or without a message, before that is reported
RECOVERY_TIME: Final = 60.0  # s without a fault after which the same fault is reported again
MIN_IMAGES: Final = 3  # unmatched images before a report, so that slow cameras get enough time
HISTORY: Final = 256  # messages remembered of each topic

Arrivals = dict[int, float]  # stamp in ns -> arrival time of its message, s of a steady clock


@dataclass(frozen=True)
class _StampedHeader:
    """Stands in for a color image in the synchronizer, so that its pixels are not kept alive."""

    header: Header


class DepthInput:
    """Subscribes to depth and calibration while they are needed, and reports each match.

    Attributes:
        depth_topic: Resolved name of the depth topic.
        info_topic: Resolved name of the calibration topic.
    """

    def __init__(
        self,
        node: Node,
        camera: str,
        *,
        slop: float,
        queue: int,
        on_match: Callable[[Header, Image, CameraInfo], object],
    ) -> None:
        """Prepare without subscribing.

        Args:
            node: Owner of the subscriptions.
            camera: Name of the camera.
            slop: Longest time between the stamps of a match, s.
            queue: Messages of each topic that wait for the others.
            on_match: Called with the header of an image, its depth image and its calibration.
        """
        self._node = node
        self._camera = camera
        self._subscriptions: list[Subscription] = []
        self.depth_topic, self.info_topic = (
            node.resolve_topic_name(camera_topic(camera, name))
            for name in ('depth/image', 'camera_info')
        )
        # Not throttled: each fault is reported only once, so a dropped report would never return.
        self._monitor = MatchMonitor(
            (self.depth_topic, self.info_topic),
            slop=slop,
            queue=queue,
            warn=node.get_logger().warning,
        )
        self._on_match = on_match
        self._color, self._depth, self._info = SimpleFilter(), SimpleFilter(), SimpleFilter()
        self._synchronizer = ApproximateTimeSynchronizer(
            [self._color, self._depth, self._info], queue, slop
        )
        self._synchronizer.registerCallback(self._on_synchronized)

    def enable(self, value: bool) -> None:
        """Subscribe or unsubscribe; does nothing if that is already the case."""
        if value and not self._subscriptions:
            self._monitor.reset()
            for message_type, name, topic, add in (
                (Image, 'depth/image', self.depth_topic, self._depth.signalMessage),
                (CameraInfo, 'camera_info', self.info_topic, self._info.signalMessage),
            ):
                self._subscriptions.append(
                    create_subscription(
                        self._node,
                        message_type,
                        camera_topic(self._camera, name),
                        partial(self._on_message, topic, add),
                        qos.sensor(SUBSCRIPTION_DEPTH),
                    )
                )
        elif not value:
            self.destroy()

    def add(self, header: Header) -> None:
        """Add the header of a color image."""
        if self._subscriptions:
            self._color.signalMessage(_StampedHeader(header))
            self._monitor.note_image(stamp_to_nanoseconds(header.stamp))

    def report_unmatched(self) -> None:
        """Warn, once per fault, why images have no depth or calibration."""
        self._monitor.report()

    def destroy(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()

    def _on_message(
        self, topic: str, add: Callable[[Any], object], message: Image | CameraInfo
    ) -> None:
        self._monitor.note(topic, stamp_to_nanoseconds(message.header.stamp))
        add(message)

    def _on_synchronized(self, image: _StampedHeader, depth: Image, info: CameraInfo) -> None:
        self._monitor.note_match()
        self._on_match(image.header, depth, info)


class MatchMonitor:
    """Compares the stamps of images with those of other topics, and reports each fault once.

    Thread-safe.
    """

    def __init__(
        self,
        topics: Sequence[str],
        *,
        slop: float,
        queue: int,
        warn: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with an empty history.

        Args:
            topics: Resolved names of the topics that are matched with images.
            slop: Longest time between the stamps of a match, s (sync_slop).
            queue: Messages that wait for a match (sync_queue).
            warn: Called with each report.
            clock: A steady clock, s.
        """
        self._slop = slop
        self._queue = queue
        self._warn = warn
        self._clock = clock
        self._images: Arrivals = {}
        self._others: dict[str, Arrivals] = {topic: {} for topic in topics}
        self._reported: set[str] = set()  # kinds of faults
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Forget everything, for a new subscription."""
        with self._lock:
            for arrivals in (self._images, *self._others.values()):
                arrivals.clear()
            self._reported.clear()
            self._last_check = self._last_fault = self._clock()
            self._unmatched = 0

    def note_match(self) -> None:
        """Record that an image was matched on all topics."""
        with self._lock:
            self._last_check = self._clock()
            self._unmatched = 0
            if self._last_check - self._last_fault > RECOVERY_TIME:
                self._reported.clear()

    def note(self, topic: str, stamp: int) -> None:
        """Record a message, stamped in ns, on one of the topics."""
        with self._lock:
            self._remember(self._others[topic], stamp)

    def note_image(self, stamp: int) -> None:
        """Record an image, stamped in ns, and report a fault if none was matched for too long."""
        with self._lock:
            self._remember(self._images, stamp)
            self._unmatched += 1
            is_due = (
                self._unmatched >= MIN_IMAGES and self._clock() - self._last_check > MATCH_TIMEOUT
            )
            if is_due:
                self._last_check = self._clock()
        if is_due:
            self.report()

    def report(self) -> None:
        """Warn why images are not matched, unless that fault was reported before."""
        with self._lock:
            if not self._images:
                return
            kind, reason = self._find_fault()
            is_new = kind not in self._reported
            self._reported.add(kind)
            self._last_fault = self._clock()
        if is_new:
            self._warn(f'no points, poses or 3-D boxes for some images: {reason}')

    def _remember(self, arrivals: Arrivals, stamp: int) -> None:
        arrivals[stamp] = self._clock()
        while len(arrivals) > HISTORY:
            del arrivals[next(iter(arrivals))]

    def _find_fault(self) -> tuple[str, str]:
        """Return a key of the fault (the same for equal faults of a topic), and a reason."""
        for topic, arrivals in self._others.items():
            if not arrivals:
                return f'{topic} missing', (
                    f'no message has arrived on {topic}; check that it is published under this '
                    f"name, and that its driver's transport is set up (docs/robot.md)"
                )
            silence = self._clock() - max(arrivals.values())
            if silence > MATCH_TIMEOUT:
                return f'{topic} silent', (
                    f'no message for {silence:.1f} s on {topic}; check its driver'
                )
        return self._find_stamp_fault() or self._describe_delay()

    def _find_stamp_fault(self) -> tuple[str, str] | None:
        """Return the fault of the topic whose stamps most often differ from the images' stamps."""
        offsets = {topic: self._offsets(arrivals) for topic, arrivals in self._others.items()}
        lacking = {topic: off[off > self._slop] for topic, off in offsets.items()}
        topic = max(lacking, key=lambda each: len(lacking[each]) / max(1, len(offsets[each])))
        if not len(lacking[topic]):
            return None
        return f'{topic} unmatched', (
            f'{len(lacking[topic])} of {len(offsets[topic])} images have no message on {topic} '
            f'stamped within {self._slop:g} s (sync_slop), the nearest is '
            f'{np.median(lacking[topic]):.3f} s off; publish one for each image with its '
            f'stamp, or raise sync_slop'
        )

    def _describe_delay(self) -> tuple[str, str]:
        """Return the fault of the topic whose messages arrive last."""
        delays = {topic: self._delay(arrivals) for topic, arrivals in self._others.items()}
        topic = max(delays, key=lambda each: delays[each])
        return f'{topic} late', (
            f'messages on {topic} arrive {delays[topic]:.2f} s after their images, and only '
            f'{self._queue} images wait (sync_queue); raise sync_queue'
        )

    def _offsets(self, arrivals: Arrivals) -> np.ndarray:
        """Return the distance from each image to the message with the nearest stamp, s."""
        stamps = np.array(sorted(arrivals))
        images = np.array(sorted(self._images))
        complete = images[images <= stamps[-1]]  # messages for later images may still arrive
        images = complete if len(complete) else images
        return np.abs(images[:, None] - stamps).min(1) / NANO

    def _delay(self, arrivals: Arrivals) -> float:
        """Return the longest time from the arrival of an image to that of its message, s."""
        images = np.array(list(self._images))
        delays = [0.0]
        for stamp, arrived in arrivals.items():
            nearest = int(images[np.abs(images - stamp).argmin()])
            if abs(nearest - stamp) <= self._slop * NANO:
                delays.append(arrived - self._images[nearest])
        return max(delays)
