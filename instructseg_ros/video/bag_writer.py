"""Writes segmentations and masks as a rosbag2 recording, without a ROS installation."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from rosbags.rosbag2 import Writer
from rosbags.rosbag2.enums import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from instructseg_ros.model.frame_buffer import NANO
from instructseg_ros.model.tasks import Task, choose_task
from instructseg_ros.streaming.segmentation import Segmentation, State
from instructseg_ros.video.bag import IMAGE
from instructseg_ros.video.record import FrameRecord
from instructseg_ros.video.source import FrameInfo

SEGMENTATION: Final = 'instructseg_ros/msg/Segmentation'
SEGMENTATION_TOPIC: Final = '/segmentation'


@lru_cache(maxsize=1)
def all_types() -> Typestore:
    """Return the standard messages and the Segmentation message of this package."""
    types = get_typestore(Stores.ROS2_HUMBLE)
    types.register(get_types_from_msg(_read_definition(), SEGMENTATION))
    return types


def write_bag(
    records: Iterable[FrameRecord], names: Sequence[str], bag: Path, *, frames: int
) -> None:
    """Write a bag (MCAP) of segmentations and masks.

    `/segmentation` holds all results as the node publishes them; `/mask/NAME` holds the masks of
    one instruction (mono8; all 0 unless FOUND). Headers and times are those of the images.

    Args:
        records: Results of all frames.
        names: Topic name of each instruction.
        bag: The folder. It is replaced, because a bag cannot be appended to.
        frames: Number of records.
    """
    shutil.rmtree(bag)
    types = all_types()
    writer = Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with writer:
        results = writer.add_connection(SEGMENTATION_TOPIC, SEGMENTATION, typestore=types)
        masks = [writer.add_connection(f'/mask/{name}', IMAGE, typestore=types) for name in names]
        for record in records:
            info, is_last = record.info, record.frame == frames - 1
            for result, topic in zip(record.segmentations(), masks, strict=True):
                assert result.mask is not None
                message = segmentation_message(result, info, final=is_last)
                writer.write(results, info.recorded, types.serialize_cdr(message, SEGMENTATION))
                mask = types.serialize_cdr(mask_message(result.mask, info), IMAGE)
                writer.write(topic, info.recorded, mask)


def mask_message(mask: np.ndarray, info: FrameInfo) -> Any:
    """Return an (H, W) bool mask as mono8, 255 where it is true, with the header of its frame."""
    height, width = mask.shape
    return all_types().types[IMAGE](
        header=_header(info),
        height=height,
        width=width,
        encoding='mono8',
        is_bigendian=0,
        step=width,
        data=mask.astype(np.uint8).ravel() * np.uint8(255),
    )


def segmentation_message(result: Segmentation, info: FrameInfo, *, final: bool) -> Any:
    """Return a result as the node publishes it, with the times of its frame."""
    types = all_types().types
    found = result.state is State.FOUND and result.mask is not None
    mask = result.mask if found and result.mask is not None else np.zeros((0, 0), bool)
    left, top, width, height = result.region
    text, task = result.instruction.text, result.instruction.task
    time, zero = _time(info.stamp), types['builtin_interfaces/msg/Duration'](sec=0, nanosec=0)
    return types[SEGMENTATION](
        header=_header(info),
        camera='',
        command_id=text,
        instruction=text,
        task=int(choose_task(text) if task is Task.AUTO else task),
        state=int(result.state),
        reason=result.reason,
        score=result.score,
        mask=mask_message(mask, info),
        region_of_interest=types['sensor_msgs/msg/RegionOfInterest'](
            x_offset=left, y_offset=top, width=width, height=height, do_rectify=False
        ),
        area=result.pixels,
        reference_frames=result.reference_frames,
        source=int(result.source),
        track_id=result.track_id,
        mask_age=zero,
        received=time,
        started=time,
        finished=time,
        latency=zero,
        dropped=0,
        final=final,
    )


def _header(info: FrameInfo) -> Any:
    return all_types().types['std_msgs/msg/Header'](stamp=_time(info.stamp), frame_id=info.frame_id)


def _time(nanoseconds: int) -> Any:
    seconds, rest = divmod(nanoseconds, NANO)
    return all_types().types['builtin_interfaces/msg/Time'](sec=seconds, nanosec=rest)


def _read_definition() -> str:
    """Read Segmentation.msg from a checkout, or else from where this package was installed."""
    package = Path(__file__).resolve().parents[1]
    shared = Path('share') / package.name / 'msg' / 'Segmentation.msg'
    files = [package.parent / 'msg' / shared.name, *(each / shared for each in package.parents)]
    for file in files:
        if file.is_file():
            return file.read_text()
    raise FileNotFoundError(f'{shared} is missing: install {package.name} again')
