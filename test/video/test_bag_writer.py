from __future__ import annotations

import numpy as np
import pytest

from instructseg_ros.streaming.instruction import Instruction
from instructseg_ros.streaming.segmentation import Segmentation, Source, State
from instructseg_ros.video.bag_writer import SEGMENTATION, all_types, segmentation_message
from instructseg_ros.video.source import FrameInfo

INFO = FrameInfo(stamp=3_000_000_007, recorded=4, frame_id='camera')


def test_ros_reads_the_message_that_is_written() -> None:
    serialization = pytest.importorskip('rclpy.serialization')
    messages = pytest.importorskip('instructseg_ros.msg')
    mask = np.zeros((4, 6), bool)
    mask[1:3, 2:5] = True
    result = Segmentation(
        instruction=Instruction(text='what can I drink from?'),
        state=State.FOUND,
        score=0.75,
        mask=mask,
        track_id=3,
        reference_frames=2,
        source=Source.INFERRED,
    )
    raw = all_types().serialize_cdr(segmentation_message(result, INFO, final=True), SEGMENTATION)
    read = serialization.deserialize_message(bytes(raw), messages.Segmentation)
    assert (read.header.stamp.sec, read.header.stamp.nanosec) == (3, 7)
    assert read.header.frame_id == read.mask.header.frame_id == 'camera'
    assert read.instruction == read.command_id == 'what can I drink from?'
    assert read.task == 2 and read.state == 1 and read.source == 1 and read.final
    assert read.score == 0.75 and read.track_id == 3 and read.reference_frames == 2
    box = read.region_of_interest
    assert (box.x_offset, box.y_offset, box.width, box.height) == (2, 1, 3, 2)
    assert read.area == 6 and read.mask.encoding == 'mono8'
    assert np.array_equal(np.array(read.mask.data).reshape(4, 6), mask * 255)


def test_a_result_that_is_not_found_has_no_mask() -> None:
    result = Segmentation(
        instruction=Instruction(text='the mug'),
        state=State.NOT_FOUND,
        reason='so faint',
        mask=np.zeros((4, 6), bool),
        source=Source.INFERRED,
    )
    message = segmentation_message(result, INFO, final=False)
    assert message.mask.width == message.mask.height == message.area == 0
    assert message.reason == 'so faint' and message.state == 2
    all_types().serialize_cdr(message, SEGMENTATION)
