"""Masks of an object that a person shows to a camera alone on a table, found without labels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from instructseg_ros.research.evaluation.metrics import intersection_over_union
from instructseg_ros.spatial.pinhole import Pinhole, bounding_window, deproject_window
from instructseg_ros.spatial.plane import Plane, denoise_depth, dilate, fit_plane
from instructseg_ros.teaching.click_mask import grab_cut, pixel_scale

MIN_HEIGHT: Final = 0.004  # of a surface above the table, m; noise of the depth raises it
MIN_AREA: Final = 2e-4  # of an object, as a share of the image
MIN_SHARE: Final = 0.03  # of the largest object's pixels; smaller ones are specks
TABLE_MARGIN: Final = 0.015  # width of the strip along the table's edge that is ignored, m
JUMP: Final = 0.02  # difference in depth between two separate surfaces, m
SAME_PLACE: Final = 0.9  # IoU of two masks of an object that stayed where it was
SAME_PIXELS: Final = 12.0  # mean difference of the colors of an object that was not turned
SHARP: Final = 0.168  # slope of a sharp edge per pixel, as a share of its contrast
MIN_CONTRAST: Final = 40  # of an edge whose sharpness is judged, grey levels
SHADOW: Final = (0.22, 1.1)  # brightness in a shadow, as a share of that without it
MAX_NOISE: Final = 8.0  # median difference between two pictures from the same place, levels
DIVIDED: Final = 0.2  # share of a region that may be a second object behind the first
SAME_HUE: Final = 0.2  # largest angle between RGB vectors of one hue, rad
SHADOW_TINT: Final = 0.12  # change of the color in a shadow, as a share of that of the brightness

NO_PLANE: Final = (
    'no table was found: point the camera at a flat table that fills most of the picture'
)
NOTHING: Final = 'nothing stands on the table: put the object into the picture'
SEVERAL: Final = 'several objects: leave only one on the table'
REACHING: Final = (
    'a hand or another object reaches in from the edge of the picture or table: take it away'
)
CUT_OFF: Final = (
    'the object is cut off by the edge of the picture or table, or a hand holds it: move it '
    'to the middle and take the hand away'
)
NOT_SEPARATE: Final = (
    'the object and the table look alike: use a table of another color, or more light'
)
CHANGED: Final = (
    'most of the picture differs from the empty table: keep the camera and the light as they '
    'are, or take the picture of the empty table again'
)
BLURRED: Final = 'the picture is blurred: hold the camera still, focus it, or add light'
MOVING: Final = 'the object is new here or still moves: let go of it and hold still'
REPEATED: Final = 'the object lies where it lay before: move or turn it'


@dataclass(frozen=True, kw_only=True, eq=False)
class Verdict:
    """The judgement of one frame.

    Attributes:
        mask: (H, W) bool, the object; None if it was not found. A refused frame can have a mask.
        problem: Why the frame is refused, and the remedy; empty if it is accepted.
    """

    mask: np.ndarray | None = field(default=None, repr=False)
    problem: str = ''


class Showing:
    """Judges the frames in which a person shows an object, one after another.

    With depth, the object is what stands on the table; without, what differs from the empty table.

    Args:
        empty_table: (H, W, 3) uint8 RGB picture of the table without the object, from the same
            place. It is used for frames without depth.
        live: Whether the frames are a video: a frame is then accepted only if the object was
            already at its place in the frame before. Otherwise, each frame counts for itself.
    """

    def __init__(self, empty_table: np.ndarray | None = None, *, live: bool = True) -> None:
        self._empty = empty_table
        self._live = live
        self._previous: np.ndarray | None = None
        self._accepted: list[tuple[np.ndarray, np.ndarray]] = []

    def judge(
        self, rgb: np.ndarray, depth: np.ndarray | None = None, pinhole: Pinhole | None = None
    ) -> Verdict:
        """Find the object in a frame, and decide whether the frame is a good example.

        Args:
            rgb: (H, W, 3) uint8.
            depth: (h, w) m along the optical axis, NaN or 0 without depth, of the same view; None
                to compare with the empty table.
            pinhole: The camera, at any resolution; needed with depth.

        Raises:
            ValueError: There is neither depth nor a picture of the empty table, or depth without
                a camera, or the sizes differ.
        """
        verdict = self._judge_place(rgb, _evidence(rgb, depth, pinhole, self._empty))
        self._previous = verdict.mask
        if not verdict.problem and verdict.mask is not None:
            self._accepted.append((verdict.mask, rgb.copy()))
        return verdict

    def _judge_place(self, rgb: np.ndarray, evidence: _Evidence | str) -> Verdict:
        found = evidence if isinstance(evidence, str) else _only_object(rgb, evidence)
        if isinstance(found, str) or isinstance(evidence, str):
            return Verdict(problem=str(found))
        mask = _cut_out(rgb, evidence, found)
        if not mask.any():
            return Verdict(problem=NOT_SEPARATE)
        return Verdict(mask=mask, problem=self._problem(rgb, mask))

    def _problem(self, rgb: np.ndarray, mask: np.ndarray) -> str:
        if _blurred(rgb, mask):
            return BLURRED
        if self._live and (self._previous is None or _moved(mask, self._previous)):
            return MOVING
        if any(_repeated(rgb, mask, *before) for before in self._accepted):
            return REPEATED
        return ''


@dataclass(frozen=True, kw_only=True, eq=False)
class _Evidence:
    """Evidence of a sensor about the pixels of a frame; all masks are (H, W) bool.

    Attributes:
        inside: Pixels of objects.
        background: Pixels that are certainly no object, except at its outline.
        unknown: Pixels without a measurement.
        border: Where an object is not seen completely.
        jumps: Steps of the depth, which can separate an object from one behind it.
        reach: Distance from `inside` at which there may still be pixels of the object, pixels.
        doubt: Width of the outline of `inside` that may be background, pixels.
    """

    inside: np.ndarray
    background: np.ndarray
    unknown: np.ndarray
    border: np.ndarray
    jumps: np.ndarray
    reach: int
    doubt: int


def _evidence(
    rgb: np.ndarray, depth: np.ndarray | None, pinhole: Pinhole | None, empty: np.ndarray | None
) -> _Evidence | str:
    if depth is not None:
        if pinhole is None:
            raise ValueError('depth needs the camera that took it: pass a pinhole, too')
        return _evidence_of_depth(depth, pinhole, rgb.shape[:2])
    if empty is None:
        raise ValueError(
            'an object is found by depth or by comparison with the empty table: use a camera with '
            'depth, or pass a picture of the table without the object (--empty-table)'
        )
    if empty.shape != rgb.shape:
        raise ValueError(
            f'the picture of the empty table has the shape {empty.shape}, and the frame '
            f'{rgb.shape}: take both with the same camera'
        )
    return _evidence_of_color(rgb, empty)


def _evidence_of_depth(
    depth: np.ndarray, pinhole: Pinhole, shape: tuple[int, ...]
) -> _Evidence | str:
    z = np.where(np.isfinite(depth) & (depth > 0), depth, np.nan)
    points = deproject_window((slice(0, shape[0]), slice(0, shape[1])), z, pinhole, shape)
    z = points[..., 2]
    with np.errstate(invalid='ignore'):
        points = points * (denoise_depth(z, np.isfinite(z)) / z)[..., None]
        plane = _table_plane(points)
        if plane is None:
            return NO_PLANE
        heights = plane.heights(points)
        heights = heights - _bow(heights, np.abs(heights) < 0.015 * z)
        limit = _noise_limit(heights[np.abs(heights) < 0.015 * z])
        above = heights > limit
        table = _over_table(points, plane, np.abs(heights) < limit)
        border = _frame(shape) | _beside(above & table, above & ~table, z)
    unknown = ~np.isfinite(heights)
    border[:, unknown.mean(0) > 0.97] = True
    return _Evidence(
        inside=above & table,
        background=(heights < 0.5 * limit) | (above & ~table),
        unknown=unknown,
        border=border,
        jumps=_jumps(z),
        reach=6,
        doubt=1,
    )


def _table_plane(points: np.ndarray) -> Plane | None:
    """Fit a plane to parts of the view, and return the one that covers its middle best."""
    height, width = points.shape[:2]
    rows, columns = np.ogrid[-1.1 : 0.9 : height * 1j, -1 : 1 : width * 1j]
    weight = np.exp(-2 * rows**2 - 2 * columns**2)
    best, most = None, 0.0
    for size in (1.0, 0.7, 0.45):
        part = points[(np.abs(rows) < size) & (np.abs(columns) < size)][::9]
        part = part[np.isfinite(part[:, 2])]
        plane = fit_plane(part, part)
        if plane is not None:
            votes = weight[np.abs(plane.heights(points)) < 0.006 * points[..., 2]].sum()
            best, most = (plane, votes) if votes > most else (best, most)
    return best


def _bow(heights: np.ndarray, flat: np.ndarray) -> np.ndarray:
    """Return the smooth error of the depth: a quadratic that is fitted to the table's heights."""
    rows, columns = np.mgrid[-1 : 1 : heights.shape[0] * 1j, -1 : 1 : heights.shape[1] * 1j]
    terms = np.stack([rows**0, rows, columns, rows**2, rows * columns, columns**2], -1)
    x, y = terms[flat][::17], heights[flat][::17]
    solution = np.zeros(6)
    for _ in range(3):
        solution = np.linalg.lstsq(x, y, rcond=None)[0]
        error = np.abs(x @ solution - y)
        kept = error <= max(5e-4, 4 * float(np.median(error)))
        x, y = x[kept], y[kept]
    return terms @ solution


def _noise_limit(heights: np.ndarray) -> float:
    return max(MIN_HEIGHT, 3.5 * 1.48 * float(np.median(np.abs(heights))))


def _over_table(points: np.ndarray, plane: Plane, flat: np.ndarray) -> np.ndarray:
    """Return the (H, W) mask of the points above the table, or between it and the camera."""
    import cv2

    _, labels, stats, _ = cv2.connectedComponentsWithStats(flat.astype(np.uint8))
    table = labels == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()
    right = np.cross(plane.normal, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    flat_points = points @ np.stack([right, np.cross(plane.normal, right)], 1)
    corners = np.concatenate([flat_points[table], np.zeros((1, 2))]).astype(np.float32)
    hull = cv2.convexHull(corners)[:, 0]
    low, cell = hull.min(0), float(np.ptp(hull, axis=0).max()) / 400
    ground = np.zeros((403, 403), np.uint8)
    cv2.fillConvexPoly(ground, np.rint((hull - low) / cell + 1).astype(np.int32), 1)
    margin = 2 * int(np.ceil(TABLE_MARGIN / cell)) + 1
    ground = cv2.erode(ground, np.ones((margin, margin), np.uint8))
    cells = np.nan_to_num(np.clip((flat_points - low) / cell + 1, 0, 402)).astype(int)
    return ground[cells[..., 1], cells[..., 0]] > 0


def _beside(inside: np.ndarray, outside: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the pixels of `inside` whose surface continues within two pixels in `outside`."""
    import cv2

    kernel = np.ones((5, 5), np.uint8)
    nearest = cv2.erode(np.where(outside, z, 1e3).astype(np.float32), kernel)
    farthest = cv2.dilate(np.where(outside, z, -1e3).astype(np.float32), kernel)
    return inside & (z > nearest - JUMP) & (z < farthest + JUMP)


def _jumps(z: np.ndarray) -> np.ndarray:
    import cv2

    kernel = np.ones((3, 3), np.uint8)
    farthest = cv2.dilate(np.nan_to_num(z, nan=-1e3).astype(np.float32), kernel)
    nearest = cv2.erode(np.nan_to_num(z, nan=1e3).astype(np.float32), kernel)
    return np.asarray(farthest - nearest > JUMP)


def _frame(shape: tuple[int, ...]) -> np.ndarray:
    frame = np.ones(shape[:2], bool)
    frame[2:-2, 2:-2] = False
    return frame


def _evidence_of_color(rgb: np.ndarray, empty: np.ndarray) -> _Evidence | str:
    """Compare with the empty table; a shadow dims all channels of a pixel by about the same."""
    import cv2

    now, before = (cv2.GaussianBlur(i, (0, 0), 0.7).astype(np.float32) + 2 for i in (rgb, empty))
    before *= np.median((now / before).reshape(-1, 3), axis=0)
    light = (now * before).sum(-1) / (before**2).sum(-1)
    tint = np.linalg.norm(now - light[..., None] * before, axis=-1)
    change = np.abs(light - 1) * np.linalg.norm(before, axis=-1)
    if np.median(tint) > MAX_NOISE or np.median(change) > MAX_NOISE:
        return CHANGED
    tinted = tint > np.maximum(max(9.0, 5 * float(np.median(tint))), SHADOW_TINT * change)
    changed = tinted | (change > max(12.0, 5 * float(np.median(change))))
    if changed.mean() > 0.4:
        return CHANGED
    shaded = changed & ~tinted & (light > SHADOW[0]) & (light < SHADOW[1])
    inside = (changed & ~shaded).astype(np.uint8)
    inside = cv2.morphologyEx(inside, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8)) > 0
    regions = cv2.connectedComponents(dilate(changed, 1).astype(np.uint8))[1]
    cut_off = np.unique(regions[_frame(rgb.shape) & changed])
    return _Evidence(
        inside=inside,
        background=~changed | _cast_shadow(light, shaded),
        unknown=np.zeros(changed.shape, bool),
        border=_frame(rgb.shape) | np.isin(regions, cut_off[cut_off > 0]),
        jumps=np.zeros(changed.shape, bool),
        reach=16,
        doubt=2,
    )


def _cast_shadow(light: np.ndarray, shaded: np.ndarray) -> np.ndarray:
    """Return the pixels with the most frequent brightness of those that may be in a shadow."""
    if not shaded.any():
        return shaded
    counts, bins = np.histogram(np.log(light[shaded]), bins=40, range=tuple(np.log(SHADOW)))
    peak = bins[np.convolve(counts, np.ones(5), 'same').argmax()] + (bins[1] - bins[0]) / 2
    return shaded & (np.abs(np.log(np.maximum(light, 1e-3)) - peak) < 0.15)


def _only_object(rgb: np.ndarray, evidence: _Evidence) -> np.ndarray | str:
    """Return the (H, W) mask of the only object, or the problem."""
    import cv2

    inside, scale = evidence.inside, pixel_scale(evidence.inside)
    joined = dilate(inside, (evidence.reach * scale) // 3)
    labels = np.where(inside, cv2.connectedComponents(joined.astype(np.uint8))[1], 0)
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    large = np.flatnonzero(areas > max(MIN_AREA * inside.size, MIN_SHARE * areas.max()))
    if not len(large):
        return NOTHING
    if (evidence.border & np.isin(labels, large)).any():
        return CUT_OFF if len(large) == 1 else REACHING
    part = labels == large[0]
    return SEVERAL if len(large) > 1 or _divided(rgb, part & ~evidence.jumps) else part


def _divided(rgb: np.ndarray, part: np.ndarray) -> bool:
    """Return whether a mask has two large separate regions of different hues.

    The outside and the inside of a mug are separate, too, but have the same hue.
    """
    import cv2

    _, labels, stats, _ = cv2.connectedComponentsWithStats(part.astype(np.uint8))
    areas = stats[1:, cv2.CC_STAT_AREA]
    largest = 1 + np.argsort(areas)[-2:]
    if len(largest) < 2 or areas[largest[0] - 1] < DIVIDED * areas.sum():
        return False
    one, other = (rgb[labels == label].mean(0) + 1e-3 for label in largest)
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other)) < np.cos(SAME_HUE)


def _cut_out(rgb: np.ndarray, evidence: _Evidence, part: np.ndarray) -> np.ndarray:
    """Move the outline of an object to edges of the colors, by GrabCut in a band around it."""
    import cv2

    scale = pixel_scale(part)
    size = max(side.stop - side.start for side in bounding_window(part))
    window = bounding_window(part, margin=max(16 * scale, size // 4))
    inside, unknown = part[window], evidence.unknown[window]
    known = cv2.blur((~unknown).astype(np.float32), (5, 5))
    share = cv2.blur(inside.astype(np.float32), (5, 5)) / np.maximum(known, 0.02)
    inside = inside | (unknown & (share > 0.5))
    background = evidence.background[window] & ~dilate(inside, scale)
    background |= ~dilate(inside, evidence.reach * scale)
    certain = ~dilate(~inside, evidence.doubt * scale)
    trimap = np.where(inside, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    trimap[background], trimap[certain] = cv2.GC_BGD, cv2.GC_FGD
    mask = np.zeros(part.shape, bool)
    mask[window] = grab_cut(rgb[window], trimap)
    return mask


def _moved(mask: np.ndarray, before: np.ndarray) -> bool:
    if mask.shape != before.shape or intersection_over_union(mask, before) < SAME_PLACE:
        return True
    shift = [np.argwhere(each).mean(0) for each in (mask, before)]
    return float(np.linalg.norm(shift[0] - shift[1])) > 1.0 * pixel_scale(mask)


def _repeated(rgb: np.ndarray, mask: np.ndarray, before: np.ndarray, colors: np.ndarray) -> bool:
    if mask.shape != before.shape or intersection_over_union(mask, before) < SAME_PLACE:
        return False
    both = mask & before
    return float(np.abs(rgb[both].astype(float) - colors[both]).mean()) < SAME_PIXELS


def _blurred(rgb: np.ndarray, mask: np.ndarray) -> bool:
    """Return whether the brightness changes slowly across the outline of an object."""
    import cv2

    scale = pixel_scale(mask)
    window = bounding_window(mask, margin=8 * scale)
    gray = cv2.cvtColor(np.ascontiguousarray(rgb[window]), cv2.COLOR_RGB2GRAY).astype(np.float32)
    gray = cv2.GaussianBlur(gray, (0, 0), 0.7 * scale)
    slope = np.hypot(cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1)) / 8
    around = np.ones((10 * scale + 1,) * 2, np.uint8)
    contrast = cv2.dilate(gray, around) - cv2.erode(gray, around)
    slope = scale * cv2.dilate(slope, np.ones((4 * scale + 1,) * 2, np.uint8))
    outline = dilate(mask[window], 2 * scale) & dilate(~mask[window], 2 * scale)
    chosen = outline & (contrast > MIN_CONTRAST)
    return bool(chosen.any() and np.median(slope[chosen] / contrast[chosen]) < SHARP)
