"""Removes the motion of the camera from earlier frames, so that only objects move in them.

The motion perceiver of a small model compares frames cell by cell. While the camera drifts,
everything moves, and the motion of an object is a small difference. A homography maps the plane
that most corners of the image lie on, such as a table, from one frame to another.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from instructseg_ros.model.model_files import ModelError

if TYPE_CHECKING:
    from instructseg_ros.model.query import ImageInput

_SIDE: Final = 320  # the longer one of the images in which corners are tracked
_CORNERS: Final = 250
_CORNER_QUALITY: Final = 0.005  # of the best corner
_CORNER_DISTANCE: Final = 5  # pixels
_WINDOW: Final = (21, 21)
_RETURN_ERROR: Final = 0.7  # pixels by which a corner tracked there and back may be off
_MIN_TRACKED: Final = 12
_INLIER: Final = 2.0  # pixels
_AGREEING: Final = 0.5  # share of the tracked corners that must move with the camera
# The camera stands still if a fifth of the corners moves by less than so many pixels: objects may
# have all others.
_STILL: Final = 0.7
_STILL_SHARE: Final = 0.2
# It also stands still if less than this share of the pixels changes by more than noise.
_UNCHANGED: Final = 0.015
_CHANGED: Final = 12
_FEW: Final = 4  # every so many corners are enough to see whether it stands still


def remove_camera_motion(earlier: Sequence[ImageInput], image: ImageInput) -> list[ImageInput]:
    """Warp earlier frames of a camera to where it is now.

    Corners of the newest frame are tracked backwards (Lucas-Kanade), and a homography is fitted to
    them by RANSAC. What the camera did not see earlier repeats the edge of its image.

    Args:
        earlier: (H, W, 3) uint8 RGB or PIL images.
        image: The newest frame, likewise.

    Returns:
        The warped frames. A frame is returned as it is if the camera stood still, if it has another
        size than the newest one, or if too few corners could be tracked or agree.

    Raises:
        ModelError: OpenCV is missing.
    """
    if not earlier:
        return []
    newest, *pictures = map(np.asarray, (image, *earlier))
    scale = _SIDE / max(newest.shape[:2])
    now = _small_gray(newest, scale)
    grays = [
        _small_gray(picture, scale) if picture.shape == newest.shape else now
        for picture in pictures
    ]
    return [
        frame if motion is None else _warped(picture, motion, scale)
        for frame, picture, motion in zip(earlier, pictures, _motions(grays, now), strict=True)
    ]


def _motions(images: Sequence[Any], now: Any) -> list[np.ndarray | None]:
    """Return the homography from each image to `now`, or None if there is nothing to undo."""
    cv2 = _opencv()
    changed = [(cv2.absdiff(image, now) > _CHANGED).mean() >= _UNCHANGED for image in images]
    corners = None
    if any(changed):
        corners = cv2.goodFeaturesToTrack(now, _CORNERS, _CORNER_QUALITY, _CORNER_DISTANCE)
    return [
        _homography(image, now, corners) if is_changed and corners is not None else None
        for image, is_changed in zip(images, changed, strict=True)
    ]


def _opencv() -> ModuleType:
    try:
        import cv2
    except ImportError as error:
        raise ModelError(
            f'this model needs OpenCV to compare frames ({error}): apt install python3-opencv, or '
            f'pip install opencv-python-headless'
        ) from error
    return cv2


def _warped(picture: np.ndarray, motion: np.ndarray, scale: float) -> np.ndarray:
    """Apply a motion between images of `scale` times the size."""
    cv2 = _opencv()
    resize = np.diag([scale, scale, 1.0])
    whole = np.linalg.inv(resize) @ motion @ resize
    size = (picture.shape[1], picture.shape[0])
    return np.asarray(cv2.warpPerspective(picture, whole, size, borderMode=cv2.BORDER_REPLICATE))


def _small_gray(image: np.ndarray, scale: float) -> Any:
    cv2 = _opencv()
    size = [max(1, round(scale * side)) for side in (image.shape[1], image.shape[0])]
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)


def _homography(before: Any, now: Any, corners: Any) -> np.ndarray | None:
    """Return the (3, 3) homography that moves most corners; None if the camera stood still."""
    cv2 = _opencv()
    few = np.ascontiguousarray(corners[::_FEW])
    if np.quantile(_distance(_tracked(now, before, few)[0], few), _STILL_SHARE) < _STILL:
        return None
    there, found = _tracked(now, before, corners)
    back, returned = _tracked(before, now, there)
    good = found & returned & (_distance(back, corners) < _RETURN_ERROR)
    if np.count_nonzero(good) < _MIN_TRACKED:
        return None
    motion, agrees = cv2.findHomography(there[good], corners[good], cv2.RANSAC, _INLIER)
    is_clear = motion is not None and np.mean(agrees) >= _AGREEING
    return np.asarray(motion) if is_clear else None


def _tracked(image: Any, other: Any, points: Any) -> tuple[Any, np.ndarray]:
    """Return where (N, 1, 2) points of an image are in another one, and which were found."""
    cv2 = _opencv()
    there, found, _ = cv2.calcOpticalFlowPyrLK(image, other, points, None, winSize=_WINDOW)
    return there, np.asarray(found)[:, 0] == 1


def _distance(points: Any, others: Any) -> np.ndarray:
    """Larger of the distances in x and in y between (N, 1, 2) points."""
    return np.asarray(np.abs(points - others).max(axis=(1, 2)))
