from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from instructseg_ros.streaming.instruction import Instruction
from instructseg_ros.streaming.segmentation import Segmentation, State
from instructseg_ros.tabletop.demo.report import COLUMNS, Answer, contact_sheet, save_video

IMAGE = np.full((48, 64, 3), 120, np.uint8)


def found() -> Answer:
    mask = np.zeros((48, 64), bool)
    mask[10:20, 10:30] = True
    result = Segmentation(
        instruction=Instruction(text='the mug'), state=State.FOUND, score=0.9, mask=mask
    )
    return Answer(
        text='the mug', category='use', image=IMAGE, truth=mask, result=result, latency=0.1
    )


def test_the_sheet_grows_by_rows_and_takes_answers_that_never_came() -> None:
    heights = [
        contact_sheet([found(), Answer(text='the bowl', category='use')] * pairs).height
        for pairs in (1, COLUMNS)
    ]
    assert heights[0] < heights[1] < 2 * heights[0]


def test_the_video_has_an_image_for_every_frame(tmp_path: Path) -> None:
    frames = [np.full((48, 64, 3), level, np.uint8) for level in (0, 100, 200)]
    save_video(frames, tmp_path / 'video.gif', seconds_per_frame=0.25)
    with Image.open(tmp_path / 'video.gif') as video:
        assert video.n_frames == 3
        assert video.info['duration'] == 250
