"""Which frames of a video are learned from together (spec 1.5)."""

from __future__ import annotations

import dataclasses

import numpy as np

_REACHES = range(2, 10)  # frames; drawn for each clip


@dataclasses.dataclass(frozen=True)
class Clip:
    """Frames of a video, by index.

    Args:
        key: the frame that is segmented.
        references: in the order in which they are shown.
    """

    key: int
    references: tuple[int, ...]


def draw_clip(
    frames: int,
    references: int,
    rng: np.random.Generator,
    *,
    causal: bool = False,
    reversed_share: float = 0.3,
) -> Clip:
    """Draw a key frame and frames near it, in one order of time or the other.

    The authors walk at random: every frame is within a reach of one that was drawn before. The key
    frame is in the middle of the clip.

    Args:
        frames: of the video, at least 1.
        references: wanted; a shorter video gives what it has.
        causal: the key frame is the last, and time is not reversed: what a robot sees.
        reversed_share: of the clips, in which time runs backwards.
    """
    wanted = min(references + 1, frames)
    drawn = sorted(_walk(frames, wanted, rng))
    if causal:
        return Clip(drawn[-1], tuple(drawn[:-1]))
    if rng.random() < reversed_share:
        drawn.reverse()
    key = drawn.pop(wanted // 2)
    return Clip(key, tuple(drawn))


def _walk(frames: int, wanted: int, rng: np.random.Generator) -> set[int]:
    reach = int(rng.choice(_REACHES))
    drawn = {int(rng.integers(frames))}
    while len(drawn) < wanted:
        near = {
            place
            for frame in drawn
            for place in range(max(0, frame - reach), min(frames, frame + reach + 1))
        }
        drawn.add(int(rng.choice(sorted(near - drawn))))
    return drawn
