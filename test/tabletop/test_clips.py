from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from instructseg_ros.research.benchmark.stream_runs import Clip
from instructseg_ros.tabletop.dataset import INSTRUCTIONS, tabletop_clips, timing_clip
from instructseg_ros.tabletop.world.recording import SCENE_SECONDS, Recording


@pytest.fixture(scope='module')
def clips() -> list[Clip]:
    return list(tabletop_clips(scenes=2, seconds=0.4))


def test_a_clip_for_timing_shows_the_first_frames_of_the_recording() -> None:
    clip = timing_clip(4, rate=8.0)
    with Recording() as recording:
        expected = [seen.rgb for seen, _ in zip(recording, range(4), strict=False)]
    assert len(clip) == 4 and clip.truths == ()
    for image, its in zip(clip.images, expected, strict=True):
        assert np.array_equal(image, its)
    assert list(clip.instructions) == list(INSTRUCTIONS) and len(INSTRUCTIONS) == 4


@pytest.mark.parametrize('rate', [8.0, 15.0])
def test_frames_for_timing_are_as_far_apart_as_the_camera_takes_them(rate: float) -> None:
    clip = timing_clip(4, rate=rate)
    assert clip.stamps[0] == 0
    for earlier, later in pairwise(clip.stamps):
        assert later - earlier == pytest.approx(1e9 / rate, abs=1)


def test_clips_of_the_tabletop_are_the_scenes_of_the_recording(clips: list[Clip]) -> None:
    with Recording() as recording:
        for scene, clip in enumerate(clips):
            recording.reset(scene)
            assert len(clip) == round(0.4 * recording.rate)
            for number, image in enumerate(clip.images):
                seen = recording.observe(number / recording.rate, truth=False)
                assert np.array_equal(image, seen.rgb)
                assert clip.stamps[number] == pytest.approx(number / recording.rate * 1e9, abs=1)


def test_every_instruction_of_a_clip_has_its_mask_on_every_frame(clips: list[Clip]) -> None:
    assert len(clips) == 2
    for clip in clips:
        assert 1 <= len(clip.instructions) == len(clip.truths) <= 5
        for masks in clip.truths:
            assert len(masks) == len(clip)
            assert all(mask.dtype == np.bool_ for mask in masks)
            assert all(mask.shape == clip.images[0].shape[:2] for mask in masks)
            assert masks[0].any() and not masks[0].all()


def test_clips_are_the_same_every_time_and_each_is_another(clips: list[Clip]) -> None:
    again = list(tabletop_clips(scenes=2, seconds=0.4))
    assert [clip.instructions for clip in again] == [clip.instructions for clip in clips]
    assert clips[0].instructions != clips[1].instructions
    assert np.array_equal(clips[1].truths[0][-1], again[1].truths[0][-1])


def test_there_are_no_more_clips_than_scenes_were_recorded() -> None:
    with Recording() as recording:
        scenes = round(recording.duration / SCENE_SECONDS)
    assert len(list(tabletop_clips(scenes=100, seconds=0.1))) == scenes
    assert list(tabletop_clips(scenes=0)) == []
