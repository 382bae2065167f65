from __future__ import annotations

import numpy as np
import pytest

from instructseg_ros.research.training.examples import draw_clip


@pytest.mark.parametrize('frames', [5, 6, 12, 100])
def test_the_key_frame_is_in_the_middle_of_four_others(frames: int) -> None:
    turned = 0
    for seed in range(300):
        clip = draw_clip(frames, 4, np.random.default_rng(seed))
        shown = [*clip.references[:2], clip.key, *clip.references[2:]]
        assert len(set(shown)) == 5 and set(shown) <= set(range(frames))
        assert shown in (sorted(shown), sorted(shown, reverse=True))
        gaps = np.abs(np.diff(shown))
        assert gaps.max() <= 9
        turned += shown[0] > shown[-1]
    assert 0.2 < turned / 300 < 0.4


@pytest.mark.parametrize(('frames', 'references'), [(1, 0), (2, 1), (3, 2), (4, 3)])
def test_a_short_video_gives_what_it_has(frames: int, references: int) -> None:
    clip = draw_clip(frames, 4, np.random.default_rng(0))
    assert len(clip.references) == references
    assert {clip.key, *clip.references} == set(range(frames))


def test_a_robot_has_seen_only_what_came_before() -> None:
    for seed in range(50):
        clip = draw_clip(20, 4, np.random.default_rng(seed), causal=True)
        assert list(clip.references) == sorted(clip.references)
        assert clip.references[-1] < clip.key
