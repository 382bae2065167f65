from __future__ import annotations

import numpy as np
import pytest

from instructseg_ros.streaming.active_instruction import TRACK_MEMORY, TargetTracker

STEP = 100_000_000


class Sightings:
    """A presence with a threshold of 0.6 that is released below 0.4, frame by frame."""

    def __init__(self) -> None:
        self.presence = TargetTracker()
        self.stamp = 0

    def see(self, score: float, mask: np.ndarray | None = None, *, step: int = STEP) -> bool:
        self.stamp += step
        return self.presence.update(
            square() if mask is None else mask, score, stamp=self.stamp, threshold=0.6, release=0.4
        )

    def track(self, *arguments: np.ndarray, step: int = STEP) -> int:
        """See it for sure; return its identity."""
        assert self.see(0.9, *arguments, step=step)
        return self.presence.track_id


@pytest.fixture
def sightings() -> Sightings:
    return Sightings()


def square(left: int = 2, *, shape: tuple[int, int] = (12, 16)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[4:8, left : left + 4] = True
    return mask


def test_a_target_is_found_from_the_threshold_on(sightings: Sightings) -> None:
    assert not sightings.see(0.59)
    assert sightings.see(0.6)


def test_between_the_thresholds_what_was_there_stays_and_what_was_not_stays_away(
    sightings: Sightings,
) -> None:
    assert [sightings.see(score) for score in (0.5, 0.7, 0.5, 0.4, 0.39, 0.5, 0.59, 0.6)] == [
        False,
        True,
        True,
        True,
        False,
        False,
        False,
        True,
    ]


def test_a_score_that_wavers_around_the_threshold_does_not_flicker(sightings: Sightings) -> None:
    assert sightings.see(0.61)
    assert all(sightings.see(score) for score in (0.59, 0.62, 0.58, 0.61) * 10)


def test_a_sure_answer_without_a_pixel_is_not_found(sightings: Sightings) -> None:
    assert not sightings.see(0.99, np.zeros((12, 16), bool))


def test_an_empty_mask_takes_what_was_there_away(sightings: Sightings) -> None:
    sightings.see(0.9)
    assert not sightings.see(0.9, np.zeros((12, 16), bool))
    assert not sightings.see(0.5)


def test_a_score_that_is_no_number_is_not_found(sightings: Sightings) -> None:
    sightings.see(0.9)
    assert not sightings.see(float('nan'))


def test_equal_thresholds_have_no_memory() -> None:
    presence = TargetTracker()
    assert [
        presence.update(square(), score, stamp=0, threshold=0.5, release=0.5)
        for score in (0.5, 0.49, 0.5)
    ] == [True, False, True]


def test_a_target_keeps_its_identity_while_its_masks_overlap(sightings: Sightings) -> None:
    first = sightings.track()
    assert first > 0
    assert [sightings.track(square(left)) for left in (4, 6, 8, 10)] == [first] * 4


def test_a_mask_elsewhere_is_another_target(sightings: Sightings) -> None:
    assert sightings.track(square(2)) != sightings.track(square(8))


def test_a_target_keeps_its_identity_when_it_was_out_of_sight_for_a_moment(
    sightings: Sightings,
) -> None:
    first = sightings.track()
    for _ in range(5):
        sightings.see(0.1)
    assert sightings.track() == first


def test_a_target_that_was_away_for_long_is_another_one(sightings: Sightings) -> None:
    first = sightings.track()
    sightings.see(0.1, step=TRACK_MEMORY)
    assert sightings.track() != first


def test_a_target_that_stays_in_sight_keeps_its_identity_however_slow_the_model_is(
    sightings: Sightings,
) -> None:
    first = sightings.track()
    assert sightings.track(step=2 * TRACK_MEMORY) == first


def test_a_target_after_a_jump_far_back_in_time_is_another_one(sightings: Sightings) -> None:
    sightings.stamp = 100 * TRACK_MEMORY
    first = sightings.track()
    assert sightings.track(step=-50 * TRACK_MEMORY) != first


def test_a_picture_of_another_size_begins_another_identity(sightings: Sightings) -> None:
    assert sightings.track() != sightings.track(square(shape=(24, 32)))


def test_identities_are_never_shared() -> None:
    assert len({Sightings().track() for _ in range(20)}) == 20
