"""Which frames of a video are shown beside the one that is segmented (spec 1.5)."""

from __future__ import annotations


def references_of(frame: int, frames: int, count: int = 4) -> tuple[int, ...]:
    """The neighbours of a frame, half of them before it where there are as many.

    At the ends of a video the others come from the one side that has them. A video of one frame
    has only itself to show.

    Args:
        frame: the one that is segmented.
        frames: of the video.
        count: of references; a shorter video gives what it has.

    Returns:
        indices, rising, without the frame itself.
    """
    if frames == 1:
        return (frame,)
    wanted = min(count, frames - 1)
    first = min(max(0, frame - count // 2), frames - 1 - wanted)
    window = range(max(0, first), max(0, first) + wanted + 1)
    return tuple(index for index in window if index != frame)


def references_before(frame: int, count: int) -> tuple[int, ...]:
    """The last `count` frames before a frame; at the start of a video fewer."""
    return tuple(range(max(0, frame - count), frame))
