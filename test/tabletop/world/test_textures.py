from __future__ import annotations

import numpy as np

from instructseg_ros.tabletop.world.world_model import SIDE, texture


def test_textures_fill_their_square_within_the_brightness_asked_for() -> None:
    for seed in range(60):
        image = texture(np.random.default_rng(seed), darkest=0.4, brightest=0.7)
        assert image.shape == (SIDE, SIDE, 3) and image.dtype == np.uint8
        assert 0.25 * 255 < image.max(-1).mean() < 0.85 * 255


def test_a_texture_depends_on_its_random_numbers_alone() -> None:
    first, again, other = (
        texture(np.random.default_rng(seed), darkest=0.2, brightest=0.8) for seed in (3, 3, 4)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
