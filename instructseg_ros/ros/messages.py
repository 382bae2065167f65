"""Between this package's messages and the values of the engine."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from builtin_interfaces.msg import Duration, Time
from sensor_msgs.msg import RegionOfInterest
from std_msgs.msg import Header

from instructseg_ros.model.tasks import Task, choose_task
from instructseg_ros.msg import Command
from instructseg_ros.msg import Segmentation as SegmentationMessage
from instructseg_ros.ros.conversions import image_to_rgb, mask_to_image
from instructseg_ros.streaming.instruction import (
    MAX_NAME_LENGTH,
    Instruction,
    InstructionError,
    Until,
    clean_text,
)
from instructseg_ros.streaming.quoting import quote
from instructseg_ros.streaming.segmentation import Segmentation, Source, State, Timing

NANO = 10**9
LATEST = 2**31 * NANO - 1  # ns, that a message can tell
SHOWN_LENGTH = 80


def instruction_from_command(message: Command, *, cameras: Collection[str], max_length: int,
                             until: Until = Until.ENDED) -> Instruction:
    """Return the instruction that a command asks for.

    Args:
        message: The command.
        cameras: Names of the cameras that there are.
        max_length: Of its text, in characters.
        until: What ends it besides its lifetime.

    Raises:
        InstructionError: Its text, task, cameras or lifetime cannot be used.
    """
    if message.task not in iter(Task):
        raise InstructionError(
            f'task {message.task} does not exist; use 0 AUTO, 1 REFERRING or 2 REASONING')
    unknown = [name for name in message.cameras if name not in cameras]
    if unknown:
        known = ', '.join(name for name in cameras if name)
        raise InstructionError(
            f'camera {quote(unknown[0])} does not exist; '
            f'{f"use {known}" if known else "leave cameras empty, the node has only one"}')
    lifetime = message.lifetime.sec + message.lifetime.nanosec / NANO
    fields: dict[str, Any] = {'id': message.id} if message.id else {'generated_id': True}
    return Instruction(
        text=clean_text(message.instruction, max_length=max_length), task=Task(message.task),
        cameras=tuple(message.cameras), lifetime=lifetime if lifetime else None,
        slot=message.slot, until=until, **fields)


def stop_reason(slot: str) -> str:
    """Return the reason of the last answer to an instruction whose slot was stopped."""
    return f'stopped on command in slot {quote(slot)}'


def rejection(text: str, reason: str, *, id: str = '') -> Segmentation:
    """Return the answer to a command that cannot be followed; a long text is shortened."""
    shown = ''.join(character if character.isprintable() else '\ufffd' for character in text)
    if len(shown) > SHOWN_LENGTH:
        shown = shown[:SHOWN_LENGTH - 1] + '\u2026'
    instruction = Instruction(text=shown, id=id[:MAX_NAME_LENGTH])
    return Segmentation(
        instruction=instruction, state=State.REJECTED, reason=reason, final=True)


def segmentation_to_message(result: Segmentation, *, now: Time) -> SegmentationMessage:
    """Return a result as a message; `now` stands for the times of one without a frame."""
    instruction = result.instruction
    message = SegmentationMessage(
        header=result.header or Header(stamp=now), camera=result.camera,
        command_id=instruction.id, instruction=instruction.text, state=int(result.state),
        reason=result.reason, score=float(result.score), area=result.pixels,
        reference_frames=result.reference_frames, source=int(result.source),
        mask_age=seconds_to_duration(max(0.0, result.mask_age)), track_id=result.track_id,
        dropped=result.dropped, final=result.final)
    if result.state is State.FOUND and result.mask is not None:
        left, top, width, height = result.region
        message.region_of_interest = RegionOfInterest(
            x_offset=left, y_offset=top, width=width, height=height)
        message.mask = mask_to_image(result.mask, header=message.header)
    if result.timing is not None:
        message.task = int(instruction.task or choose_task(instruction.text))
    _fill_times(message, result.timing, now)
    return message


def segmentation_from_message(message: SegmentationMessage) -> Segmentation:
    """Return the result that a message tells of, without its times."""
    mask = None
    if message.mask.width:
        mask = image_to_rgb(message.mask)[..., 0] > 0
    return Segmentation(
        instruction=Instruction(text=message.instruction, id=message.command_id),
        state=State(message.state), reason=message.reason, camera=message.camera,
        header=message.header, score=message.score, mask=mask, source=Source(message.source),
        mask_age=message.mask_age.sec + message.mask_age.nanosec / NANO,
        track_id=message.track_id, reference_frames=message.reference_frames,
        dropped=message.dropped, final=message.final)


def stamp_to_nanoseconds(stamp: Time) -> int:
    """Return a stamp as nanoseconds."""
    return stamp.sec * NANO + stamp.nanosec


def seconds_to_duration(seconds: float) -> Duration:
    """Return a non-negative time span as a message."""
    whole, fraction = divmod(int(seconds * NANO), NANO)
    return Duration(sec=whole, nanosec=fraction)


def _fill_times(message: SegmentationMessage, timing: Timing | None, now: Time) -> None:
    if timing is None:
        # The stamp of an image that could not be read may be ahead of the clock.
        ready = max(stamp_to_nanoseconds(now), stamp_to_nanoseconds(message.header.stamp))
        timing = Timing(captured=ready, received=ready, started=ready, finished=ready, latency=0.0)
    message.received = _time(timing.received)
    message.started = _time(timing.started)
    message.finished = _time(timing.finished)
    message.latency = seconds_to_duration(timing.latency)


def _time(nanoseconds: int) -> Time:
    seconds, fraction = divmod(min(nanoseconds, LATEST), NANO)
    return Time(sec=seconds, nanosec=fraction)
