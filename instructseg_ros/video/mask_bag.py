"""Masks as a bag that can be played beside the one they were made from."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from rosbags.rosbag2 import Writer
from rosbags.rosbag2.enums import CompressionFormat, CompressionMode, StoragePlugin

from instructseg_ros.video.messages import (
    Image,
    SegmentationMessage,
    all_types,
    mask_message,
    segmentation_message,
)
from instructseg_ros.video.record import Line

TOPIC = '/segmentation'


def write_bag(lines: Iterable[Line], names: Sequence[str], bag: Path, *, frames: int) -> None:
    """Write a bag (MCAP) of the instructions of those names.

    On `/segmentation` are all answers as the node publishes them, on `/mask/NAME` the masks of an
    instruction (mono8; all 0 unless FOUND). Headers and times are those of the images.

    Args:
        lines: Of all frames.
        names: For each instruction.
        bag: A folder; what is in it is deleted, a bag cannot be appended to.
        frames: How many lines there are.
    """
    shutil.rmtree(bag)
    types = all_types()
    writer = Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with writer:
        answers = writer.add_connection(TOPIC, SegmentationMessage, typestore=types)
        masks = [writer.add_connection(f'/mask/{name}', Image, typestore=types) for name in names]
        for line in lines:
            time, final = line.place.recorded, line.frame == frames - 1
            for result, topic in zip(line.segmentations(), masks, strict=True):
                assert result.mask is not None
                answer = segmentation_message(result, line.place, final=final)
                mask = mask_message(result.mask, line.place)
                writer.write(answers, time, types.serialize_cdr(answer, SegmentationMessage))
                writer.write(topic, time, types.serialize_cdr(mask, Image))
