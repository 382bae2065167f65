"""Reads the JSON files of labelling programs: labelme, VGG Image Annotator (VIA) and COCO."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from instructseg_ros.research.data.coco import index_by_id, read_id, read_rings
from instructseg_ros.research.data.reading import DataError, Reading
from instructseg_ros.research.data.sample import ImageBytes, ImageFile, ImageSource
from instructseg_ros.research.data.targets import Ring, RunLengths, Size
from instructseg_ros.streaming.image_files import read_rgb
from instructseg_ros.teaching.annotated_image import AnnotatedImage, Region, draw_outlines
from instructseg_ros.video.rle import checked_size

LABELME: Final = 'labelme'
_CORNERS: Final = 72  # of a polygon in place of an ellipse
_CLASS_KEYS: Final = ('name', 'class', 'label', 'object', 'category', 'type')  # in VIA, best first
_Reader = Callable[[Path, Any, Reading], list[AnnotatedImage]]


def recognise_tool(content: Any) -> str:
    """Return the program that wrote a JSON value, a key of `READERS`; '' if it is another one."""
    if isinstance(content, dict):
        if 'shapes' in content and ('imagePath' in content or 'imageData' in content):
            return LABELME
        if 'images' in content and ('annotations' in content or 'categories' in content):
            return 'COCO'
    entries = _via_entries(content)
    known = all(
        isinstance(each, dict) and {'filename', 'regions'} <= each.keys() for each in entries
    )
    return 'VIA' if entries and known else ''


def _read_labelme(file: Path, content: Mapping[str, Any], reading: Reading) -> list[AnnotatedImage]:
    """Read the annotations of one image; shapes that share a label and a group are one object."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for number, shape in enumerate(content['shapes']):
        with reading.noting(f'{file} shape {number}'):
            group = shape.get('group_id')
            key = f'shape {number}' if group is None else f'group {group}'
            groups[str(shape['label']), key].append(shape)
    with reading.noting(str(file)):
        image = _labelme_image(file, content)
        regions = [
            Region(
                nouns=(label,),
                draw=partial(_draw_labelme, shapes),
                where=f'{file} {where} ({label!r})',
            )
            for (label, where), shapes in groups.items()
        ]
        size = _size(content.get('imageHeight'), content.get('imageWidth'))
        source = _short_name(image, file)
        return [AnnotatedImage(image=image, source=source, size=size, regions=regions)]
    return []


def _labelme_image(file: Path, content: Mapping[str, Any]) -> ImageSource:
    """Return the image file or, if that is missing, the image embedded in the annotations."""
    name = str(content.get('imagePath') or f'{file.stem}.jpg').replace('\\', '/')
    try:
        return ImageFile(_find(name, [file.parent]))
    except ValueError:
        if not content.get('imageData'):
            raise
    return ImageBytes(name, base64.b64decode(content['imageData']))


def _draw_labelme(shapes: Sequence[Mapping[str, Any]], size: Size) -> np.ndarray:
    return np.any([_draw_labelme_shape(shape, size) for shape in shapes], axis=0)


def _draw_labelme_shape(shape: Mapping[str, Any], size: Size) -> np.ndarray:
    points = np.asarray(shape['points'], float).reshape(-1, 2)
    form = shape.get('shape_type') or 'polygon'
    if form == 'mask':
        return _paste(shape['mask'], points, size)
    if form in ('rectangle', 'circle') and len(points) == 2:
        (x, y), (right, bottom) = points
        if form == 'rectangle':
            return draw_outlines([_rectangle(x, y, right, bottom)], size)
        radius = float(np.hypot(right - x, bottom - y))
        return draw_outlines([_ellipse(x, y, radius, radius)], size)
    if form not in ('polygon', 'rectangle', 'oriented_rectangle'):
        raise ValueError(_without_area(form))
    return draw_outlines([tuple(points.ravel().tolist())], size)


def _paste(encoded: str, points: np.ndarray, size: Size) -> np.ndarray:
    """Place a mask, a PNG of the bounding box that starts at the first point, in the image."""
    part = np.asarray(read_rgb(base64.b64decode(encoded), 'the mask')).any(axis=2)
    left, top = points[0].round().astype(int).tolist()
    mask = np.zeros(size, bool)
    place = mask[max(top, 0) : top + part.shape[0], max(left, 0) : left + part.shape[1]]
    if place.shape != part.shape:
        raise ValueError('its mask reaches over the edge of the image: draw it again')
    place[:] = part
    return mask


def _read_via(file: Path, content: Any, reading: Reading) -> list[AnnotatedImage]:
    settings = content.get('_via_settings') if isinstance(content, dict) else None
    folder = ((settings or {}).get('core') or {}).get('default_filepath') or ''
    places = [file.parent, file.parent / folder, file.parent / 'images']
    images = []
    for entry in _via_entries(content):
        where = f'{file} {entry["filename"]}'
        with reading.noting(where):
            image = ImageFile(_find(entry['filename'], places))
            annotated = AnnotatedImage(image=image, source=_short_name(image, file))
            for number, region in _numbered(entry['regions']):
                with reading.noting(f'{where} region {number}'):
                    annotated.regions.append(_via_region(region, f'{where} region {number}'))
            images.append(annotated)
    return images


def _via_entries(content: Any) -> list[Any]:
    """Return the entries of a project or an export of VIA, one for each image."""
    if isinstance(content, dict):
        content = content.get('_via_img_metadata', content)
    if isinstance(content, dict):
        return [*content.values()]
    return content if isinstance(content, list) else []


def _numbered(regions: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (number, region); VIA 1 writes an object, VIA 2 a list."""
    return iter(regions.items() if isinstance(regions, dict) else enumerate(regions))


def _via_region(region: Mapping[str, Any], where: str) -> Region:
    attributes = region.get('region_attributes') or {}
    ranks = {key: rank for rank, key in enumerate(_CLASS_KEYS)}
    keys = sorted(attributes, key=lambda key: ranks.get(key.lower(), len(ranks)))
    nouns = tuple(noun for key in keys for noun in _via_values(attributes[key]))
    if not nouns:
        raise ValueError('it has no name: give it one in the attribute "name", or remove it')
    draw = partial(_draw_via, region['shape_attributes'])
    return Region(nouns=nouns, draw=draw, where=f'{where} ({nouns[0]!r})')


def _via_values(value: Any) -> list[str]:
    """Return the texts of an attribute: a text field, or the boxes that are ticked."""
    texts: Iterable[Any] = [value]
    if isinstance(value, dict):
        texts = (key for key, ticked in value.items() if ticked)
    return [text for text in texts if isinstance(text, str) and text.strip()]


def _draw_via(shape: Mapping[str, Any], size: Size) -> np.ndarray:
    return draw_outlines([_via_outline(shape)], size)


def _via_outline(shape: Mapping[str, Any]) -> Ring:
    form = shape['name']
    if form == 'polygon':
        pairs = zip(shape['all_points_x'], shape['all_points_y'], strict=True)
        return tuple(float(number) for pair in pairs for number in pair)
    if form == 'rect':
        x, y = shape['x'], shape['y']
        return _rectangle(x, y, x + shape['width'], y + shape['height'])
    if form == 'circle':
        return _ellipse(shape['cx'], shape['cy'], shape['r'], shape['r'])
    if form == 'ellipse':
        angle = shape.get('theta') or 0
        return _ellipse(shape['cx'], shape['cy'], shape['rx'], shape['ry'], angle)
    raise ValueError(_without_area(form))


def _read_coco(file: Path, content: Mapping[str, Any], reading: Reading) -> list[AnnotatedImage]:
    entries = index_by_id(content.get('images'), 'image', 'file_name', file, reading)
    categories = index_by_id(content.get('categories', []), 'category', 'name', file, reading)
    if not isinstance(content.get('annotations'), list):
        raise DataError(f'{file} is not COCO JSON: it has no list of annotations')
    images: dict[str, AnnotatedImage | None] = dict.fromkeys(entries)
    for identity, entry in entries.items():
        if entry is not None:
            with reading.noting(f'{file} image {identity}'):
                images[identity] = _coco_image(file, identity, entry)
    for number, annotation in enumerate(content['annotations']):
        where = f'{file} annotation {number}'
        with reading.noting(where):
            identity = read_id(annotation['image_id'])
            if identity not in images:
                raise ValueError(f'there is no image with the id {identity}')
            region = _coco_region(annotation, categories, where)
            if (image := images[identity]) is not None:
                image.regions.append(region)
    return [image for image in images.values() if image is not None]


def _coco_image(file: Path, identity: str, entry: Mapping[str, Any]) -> AnnotatedImage:
    split = file.stem.removeprefix('instances_')
    roots = [file.parent]
    if file.parent.name == 'annotations':
        roots.append(file.parent.parent)
    folders = ('', 'images', f'images/{split}', split)
    image = ImageFile(
        _find(entry['file_name'], [root / each for root in roots for each in folders])
    )
    return AnnotatedImage(
        image=image,
        source=f'{_short_name(image, file)} (image {identity})',
        size=_size(entry.get('height'), entry.get('width')),
    )


def _coco_region(
    annotation: Mapping[str, Any], categories: Mapping[str, Mapping[str, Any] | None], where: str
) -> Region:
    identity = read_id(annotation['category_id'])
    name = str((categories.get(identity) or {}).get('name') or '')
    if not name:
        raise ValueError(f'category {identity} has no name: add it to "categories"')
    draw = partial(_draw_coco, annotation.get('segmentation'))
    return Region(nouns=(name,), draw=draw, where=f'{where} ({name!r})')


def _draw_coco(segmentation: Any, size: Size) -> np.ndarray:
    if isinstance(segmentation, Mapping):
        return RunLengths.parse(segmentation).mask()
    if not segmentation:
        raise ValueError('it has no segmentation: draw its outline; a box alone is not enough')
    return draw_outlines(read_rings(segmentation), size)


def _size(height: Any, width: Any) -> Size | None:
    return checked_size([int(height), int(width)]) if height and width else None


def _rectangle(left: float, top: float, right: float, bottom: float) -> Ring:
    return tuple(map(float, (left, top, right, top, right, bottom, left, bottom)))


def _ellipse(x: float, y: float, rx: float, ry: float, angle: float = 0) -> Ring:
    """Return a polygon for an ellipse that is turned clockwise by an angle in radians."""
    turn = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    points = np.stack([rx * np.cos(turn), ry * np.sin(turn)], axis=1)
    cos, sin = np.cos(angle), np.sin(angle)
    points = points @ np.array([[cos, sin], [-sin, cos]]) + (x, y)
    return tuple(points.ravel().tolist())


def _without_area(form: str) -> str:
    return f'a {form} has no area: draw a polygon'


def _find(name: str, places: Sequence[Path]) -> Path:
    """Return the image file of an entry: its path in one of the places, or else its name there.

    Raises:
        ValueError: The file is missing.
    """
    path = Path(name.replace('\\', '/'))
    files = [place / each for each in (path, path.name) for place in places]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        raise ValueError(f'{name} is missing: put it into {places[0]}')
    return found


def _short_name(image: ImageSource, file: Path) -> str:
    """Return the path of an image below the folder of its annotation file, or else its name."""
    path = Path(str(image))
    return str(path.relative_to(file.parent)) if path.is_relative_to(file.parent) else path.name


READERS: Final[Mapping[str, _Reader]] = {
    LABELME: _read_labelme,
    'VIA': _read_via,
    'COCO': _read_coco,
}
