"""Conversions between ROS messages and the values of the engine."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Collection
from typing import Any, Final

import numpy as np
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Point, Pose, Quaternion, Transform
from sensor_msgs.msg import CompressedImage, Image, PointCloud2, PointField, RegionOfInterest
from std_msgs.msg import Header

from instructseg_ros.model.frame_buffer import NANO
from instructseg_ros.model.tasks import Task, choose_task
from instructseg_ros.msg import Command
from instructseg_ros.msg import Segmentation as SegmentationMessage
from instructseg_ros.spatial.box import Box
from instructseg_ros.spatial.quaternions import multiply, rotate
from instructseg_ros.streaming.encodings import (
    DEPTH_ENCODINGS,
    ENCODINGS,
    BitDepth,
    ConversionError,
    decode_image,
    decode_labels,
)
from instructseg_ros.streaming.image_files import decode_compressed
from instructseg_ros.streaming.instruction import (
    MAX_NAME_LENGTH,
    Instruction,
    InstructionError,
    Until,
    clean_text,
    describe_error,
    quote,
)
from instructseg_ros.streaming.segmentation import Segmentation, Source, State, Timing

LABEL_ENCODINGS: Final = ('16UC1', 'mono8')
LATEST: Final = 2**31 * NANO - 1  # ns, the latest time that a message can hold
MAX_SHOWN_LENGTH: Final = 80  # characters of a rejected instruction that its result repeats
FIELDS: Final = [
    PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
    for index, name in enumerate('xyz')
]


def image_to_rgb(message: Image, bits: BitDepth | None = None) -> np.ndarray:
    """Return the pixels of a message as (H, W, 3) uint8 RGB.

    Encodings that are not in ENCODINGS are converted by cv_bridge if it is installed.

    Args:
        message: A raw image.
        bits: Bit depth seen so far on the same topic; see `decode_image`.

    Raises:
        ConversionError: The message is inconsistent or its encoding is not supported.
    """
    known = (*ENCODINGS, *DEPTH_ENCODINGS)
    if message.encoding in known or not message.width or not message.height:
        return decode_image(message, bits)
    return _through_cv_bridge(message)


def compressed_to_rgb(message: CompressedImage, bits: BitDepth | None = None) -> np.ndarray:
    """Return the pixels of a JPEG or PNG message as (H, W, 3) uint8 RGB.

    Args:
        message: A compressed image.
        bits: Bit depth seen so far on the same topic; see `decode_compressed`.

    Raises:
        ConversionError: The data is not a complete JPEG or PNG.
    """
    return decode_compressed(message.data, message.format, bits)


def array_to_image(pixels: np.ndarray, *, header: Header, encoding: str) -> Image:
    """Return (H, W) or (H, W, C) pixels as an image message without row padding."""
    pixels = np.ascontiguousarray(pixels)
    return Image(
        header=header,
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=sys.byteorder == 'big',
        step=pixels.strides[0],
        data=_to_bytes(pixels),
    )


def mask_to_image(mask: np.ndarray, *, header: Header) -> Image:
    """Return an (H, W) bool mask as a mono8 image with 255 for True."""
    pixels = np.ascontiguousarray(mask).view(np.uint8) * np.uint8(255)
    return array_to_image(pixels, header=header, encoding='mono8')


def _to_bytes(values: np.ndarray) -> array[int]:
    """Copy a contiguous array to array.array, the only type whose elements rclpy never checks."""
    data = array('B')
    data.frombytes(memoryview(values.reshape(-1)).cast('B'))
    return data


def _through_cv_bridge(message: Image) -> np.ndarray:
    try:
        from cv_bridge import CvBridge
    except ImportError:
        raise ConversionError(
            f'encoding {quote(message.encoding)} is not supported; publish one of '
            f'{", ".join(ENCODINGS)}, or install cv_bridge (apt install '
            f'ros-$ROS_DISTRO-cv-bridge) to read others'
        ) from None
    try:
        return np.asarray(CvBridge().imgmsg_to_cv2(message, 'rgb8'))
    except Exception as error:
        raise ConversionError(
            f'encoding {quote(message.encoding)} is not supported, not even by cv_bridge '
            f'({describe_error(error)}); publish one of {", ".join(ENCODINGS)}'
        ) from None


def instruction_from_command(
    message: Command, *, cameras: Collection[str], max_length: int, until: Until = Until.ENDED
) -> Instruction:
    """Return the instruction of a command.

    Args:
        message: The command.
        cameras: Names of the node's cameras.
        max_length: Longest text, characters.
        until: Condition that ends the instruction, besides its lifetime.

    Raises:
        InstructionError: Text, task, cameras or lifetime are invalid.
    """
    if message.task not in iter(Task):
        raise InstructionError(
            f'task {message.task} does not exist; use 0 AUTO, 1 REFERRING or 2 REASONING'
        )
    unknown = [name for name in message.cameras if name not in cameras]
    if unknown:
        known = ', '.join(name for name in cameras if name)
        raise InstructionError(
            f'camera {quote(unknown[0])} does not exist; '
            f'{f"use {known}" if known else "leave cameras empty, the node has only one"}'
        )
    lifetime = stamp_to_nanoseconds(message.lifetime) / NANO
    fields: dict[str, Any] = {'id': message.id} if message.id else {'generated_id': True}
    return Instruction(
        text=clean_text(message.instruction, max_length=max_length),
        task=Task(message.task),
        cameras=tuple(message.cameras),
        lifetime=lifetime if lifetime else None,
        slot=message.slot,
        until=until,
        **fields,
    )


def stop_reason(slot: str) -> str:
    """Return the reason given when the instruction in a slot is stopped."""
    return f'stopped on command in slot {quote(slot)}'


def rejection(text: str, reason: str, *, id: str = '') -> Segmentation:
    """Return the REJECTED result of an invalid command, whose text is shortened if it is long."""
    shown = ''.join(character if character.isprintable() else '\ufffd' for character in text)
    if len(shown) > MAX_SHOWN_LENGTH:
        shown = shown[: MAX_SHOWN_LENGTH - 1] + '\u2026'
    instruction = Instruction(text=shown, id=id[:MAX_NAME_LENGTH])
    return Segmentation(instruction=instruction, state=State.REJECTED, reason=reason, final=True)


def segmentation_to_message(result: Segmentation, *, now: Time) -> SegmentationMessage:
    """Return a result as a message; `now` replaces its times if no frame was segmented."""
    instruction = result.instruction
    message = SegmentationMessage(
        header=result.header or Header(stamp=now),
        camera=result.camera,
        command_id=instruction.id,
        instruction=instruction.text,
        state=int(result.state),
        reason=result.reason,
        score=float(result.score),
        area=result.pixels,
        reference_frames=result.reference_frames,
        source=int(result.source),
        mask_age=seconds_to_duration(max(0.0, result.mask_age)),
        track_id=result.track_id,
        dropped=result.dropped,
        final=result.final,
    )
    if result.state is State.FOUND and result.mask is not None:
        left, top, width, height = result.region
        message.region_of_interest = RegionOfInterest(
            x_offset=left, y_offset=top, width=width, height=height
        )
        message.mask = mask_to_image(result.mask, header=message.header)
    if result.timing is not None:
        message.task = int(instruction.task or choose_task(instruction.text))
    _fill_times(message, result.timing, now)
    return message


def segmentation_from_message(message: SegmentationMessage) -> Segmentation:
    """Return the result in a message, without its times."""
    mask = decode_labels(message.mask) > 0 if message.mask.width else None
    return Segmentation(
        instruction=Instruction(text=message.instruction, id=message.command_id),
        state=State(message.state),
        reason=message.reason,
        camera=message.camera,
        header=message.header,
        score=message.score,
        mask=mask,
        source=Source(message.source),
        mask_age=stamp_to_nanoseconds(message.mask_age) / NANO,
        track_id=message.track_id,
        reference_frames=message.reference_frames,
        dropped=message.dropped,
        final=message.final,
    )


def stamp_to_nanoseconds(stamp: Time | Duration) -> int:
    """Return a time or a time span in nanoseconds."""
    return stamp.sec * NANO + stamp.nanosec


def nanoseconds_to_stamp(nanoseconds: int) -> Time:
    """Return a time in nanoseconds as a message; times after LATEST (2038) become LATEST."""
    seconds, fraction = divmod(min(nanoseconds, LATEST), NANO)
    return Time(sec=seconds, nanosec=fraction)


def seconds_to_duration(seconds: float) -> Duration:
    """Return a non-negative time span as a message."""
    whole, fraction = divmod(int(seconds * NANO), NANO)
    return Duration(sec=whole, nanosec=fraction)


def _fill_times(message: SegmentationMessage, timing: Timing | None, now: Time) -> None:
    if timing is None:
        # The stamp of an unreadable image may be ahead of the clock.
        ready = max(stamp_to_nanoseconds(now), stamp_to_nanoseconds(message.header.stamp))
        timing = Timing(captured=ready, received=ready, started=ready, finished=ready, latency=0.0)
    message.received = nanoseconds_to_stamp(timing.received)
    message.started = nanoseconds_to_stamp(timing.started)
    message.finished = nanoseconds_to_stamp(timing.finished)
    message.latency = seconds_to_duration(timing.latency)


def points_to_cloud(points: np.ndarray, *, header: Header) -> PointCloud2:
    """Return (H, W, 3) float32 points, m, as an organized cloud; NaN marks missing points."""
    height, width = points.shape[:2]
    return PointCloud2(
        header=header,
        height=height,
        width=width,
        fields=FIELDS,
        point_step=12,
        row_step=12 * width,
        is_dense=False,
        is_bigendian=sys.byteorder == 'big',
        data=_to_bytes(np.ascontiguousarray(points)),
    )


def box_to_pose(box: Box) -> Pose:
    """Return the center and orientation of a box."""
    x, y, z = (float(value) for value in box.center)
    return Pose(position=Point(x=x, y=y, z=z), orientation=quaternion_message(box.rotation))


def quaternion_message(rotation: np.ndarray) -> Quaternion:
    """Return an (x, y, z, w) quaternion as a message."""
    x, y, z, w = (float(value) for value in rotation)
    return Quaternion(x=x, y=y, z=z, w=w)


def transform_box(box: Box, transform: Transform) -> Box:
    """Transform a box from the child frame of a transform to its parent frame."""
    offset, turn = transform.translation, transform.rotation
    quaternion = np.array([turn.x, turn.y, turn.z, turn.w])
    center = rotate(quaternion, box.center) + np.array([offset.x, offset.y, offset.z])
    return Box(center=center, size=box.size, rotation=multiply(quaternion, box.rotation))
