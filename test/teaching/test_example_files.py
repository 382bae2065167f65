"""Labelled images in the formats of labelling programs, and in those of the package."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from instructseg_ros.research.data import image_folder, labelled_bag
from instructseg_ros.research.data.reading import DataError
from instructseg_ros.streaming.image_files import write_mask
from instructseg_ros.teaching.annotated_image import NameFilter
from instructseg_ros.teaching.example_files import MAX_FRAMES, read_examples, select
from instructseg_ros.teaching.examples import MAX_SIDE, Example
from instructseg_ros.video.rle import encode_mask

SIZE = (40, 60)
BOX = [[10, 10], [30, 10], [30, 20], [10, 20]]
FLAT = [float(value) for point in BOX for value in point]


def box(top: int = 10, bottom: int = 20, left: int = 10, right: int = 30) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return mask


def save_image(file: Path, size: tuple[int, int] = SIZE) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), 90, np.uint8)).save(file)
    return file


def as_base64(pixels: np.ndarray) -> str:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, 'PNG')
    return base64.b64encode(stream.getvalue()).decode()


def write_json(file: Path, content: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))
    return file


def shape(label: str = 'mug', points: Any = BOX, form: str = 'polygon', **more: Any) -> Any:
    return {'label': label, 'points': points, 'shape_type': form} | more


def write_labelme(folder: Path, *shapes: Any, image: str = 'a.png', **more: Any) -> Path:
    save_image(folder / image)
    content = {'shapes': shapes, 'imagePath': image, 'imageData': None}
    content |= {'imageHeight': SIZE[0], 'imageWidth': SIZE[1]}
    write_json(folder / Path(image).with_suffix('.json'), content | more)
    return folder


def via(form: str = 'polygon', attributes: Any = None, **geometry: Any) -> Any:
    if not geometry:
        geometry = {'all_points_x': [10, 30, 30, 10], 'all_points_y': [10, 10, 20, 20]}
    attributes = {'name': 'mug'} if attributes is None else attributes
    return {'shape_attributes': {'name': form} | geometry, 'region_attributes': attributes}


def write_via(folder: Path, regions: Any, image: str = 'a.png') -> Path:
    save_image(folder / image)
    entry = {'filename': image, 'size': -1, 'regions': regions, 'file_attributes': {}}
    return write_json(folder / 'via.json', {f'{image}-1': entry})


def annotation(segmentation: Any = (FLAT,), image: Any = 1, category: int = 1) -> Any:
    return {'image_id': image, 'category_id': category, 'segmentation': segmentation}


def write_coco(
    folder: Path, *annotations: Any, file: str = 'labels.json', images: Sequence[str] = ('a.png',)
) -> Path:
    sizes = {'height': SIZE[0], 'width': SIZE[1]}
    entries = [{'id': n, 'file_name': name} | sizes for n, name in enumerate(images, 1)]
    for name in images:
        save_image(folder / name)
    categories = [{'id': 1, 'name': 'Mug'}, {'id': 2, 'name': 'coffee-pot'}]
    content = {'images': entries, 'annotations': annotations, 'categories': categories}
    return write_json(folder / file, content)


def contents(examples: Sequence[Example]) -> list[tuple[str, list[str]]]:
    return [(each.source, [one.name for one in each.objects]) for each in examples]


def only_mask(examples: Sequence[Example]) -> np.ndarray:
    [example] = examples
    [one] = example.objects
    assert one.mask.dtype == bool and one.mask.shape == example.image.shape[:2]
    return one.mask


def error_of(path: Path, *names: str) -> str:
    with pytest.raises(DataError) as raised:
        read_examples(path, names)
    return str(raised.value)


def test_a_folder_of_labelme_has_an_example_for_each_file(tmp_path: Path) -> None:
    write_labelme(tmp_path, shape(), shape('Bowl', [[0, 0], [5, 4]], 'rectangle'))
    write_labelme(tmp_path, image='b.png')
    save_image(tmp_path / 'not_labelled.png')
    examples = read_examples(tmp_path)
    assert contents(examples) == [('a.png', ['mug', 'bowl']), ('b.png', [])]
    assert examples[0].image.shape == (*SIZE, 3)
    assert (examples[0].union('mug') == box()).all()
    assert (examples[0].union('bowl') == box(0, 4, 0, 5)).all()
    assert contents(read_examples(tmp_path / 'a.json')) == contents(examples[:1])


def test_a_circle_of_labelme_has_its_center_and_a_point_on_it(tmp_path: Path) -> None:
    write_labelme(tmp_path, shape(points=[[30, 20], [30, 30]], form='circle'))
    mask = only_mask(read_examples(tmp_path))
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    distance = np.hypot(x + 0.5 - 30, y + 0.5 - 20)
    assert mask[distance < 9].all() and not mask[distance > 11].any()


def test_a_mask_of_labelme_is_placed_at_its_first_point(tmp_path: Path) -> None:
    part = np.array([[1, 0, 1], [1, 1, 1]], bool)
    points = [[7, 5], [9, 6]]
    write_labelme(tmp_path, shape(points=points, form='mask', mask=as_base64(part)))
    mask = only_mask(read_examples(tmp_path))
    assert (mask[5:7, 7:10] == part).all() and mask.sum() == part.sum()


def test_shapes_of_a_labelme_group_are_one_object(tmp_path: Path) -> None:
    parts = [[[0, 0], [5, 4]], [[20, 0], [25, 4]]]
    shapes = [shape(points=points, form='rectangle', group_id=1) for points in parts]
    write_labelme(tmp_path, *shapes, shape())
    [example] = read_examples(tmp_path)
    assert [int(one.mask.sum()) for one in example.objects] == [40, 200]


def test_labelme_may_embed_the_image(tmp_path: Path) -> None:
    pixels = np.full((*SIZE, 3), 17, np.uint8)
    write_labelme(tmp_path, shape(), imagePath='..\\gone.png', imageData=as_base64(pixels))
    [example] = read_examples(tmp_path)
    assert (example.image == pixels).all()
    assert select([example], ['gone']) == ([example], [])


def test_labels_fit_an_image_that_its_exif_orientation_turns(tmp_path: Path) -> None:
    write_labelme(tmp_path, shape(), image='a.jpg')
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'a.jpg', exif=exif)
    assert (only_mask(read_examples(tmp_path)) == box()).all()
    write_labelme(tmp_path, shape(), image='a.jpg', imageHeight=SIZE[1], imageWidth=SIZE[0])
    Image.fromarray(pixels).save(tmp_path / 'a.jpg', exif=exif)
    assert 'save the image upright without it' in error_of(tmp_path)


@pytest.mark.parametrize('as_dict', [False, True])
def test_via_exports_are_read_from_a_file_or_its_folder(tmp_path: Path, as_dict: bool) -> None:
    regions = [via(), via('rect', x=0, y=0, width=5, height=4)]
    file = write_via(
        tmp_path, {str(n): one for n, one in enumerate(regions)} if as_dict else regions
    )
    for path in (file, tmp_path):
        [example] = read_examples(path)
        masks = [one.mask for one in example.objects]
        assert contents([example]) == [('a.png', ['mug', 'mug'])]
        assert (masks[0] == box()).all() and (masks[1] == box(0, 4, 0, 5)).all()


def test_a_project_of_via_names_the_folder_of_its_images(tmp_path: Path) -> None:
    export = json.loads(write_via(tmp_path, [via()], 'photos/a.png').read_text())
    [entry] = export.values()
    settings = {'core': {'default_filepath': 'photos/'}}
    entry['filename'] = 'a.png'
    file = tmp_path / 'via.json'
    write_json(file, {'_via_settings': settings, '_via_img_metadata': {'a.png-1': entry}})
    assert contents(read_examples(tmp_path)) == [('photos/a.png', ['mug'])]


def test_an_ellipse_of_via_is_turned_by_its_angle(tmp_path: Path) -> None:
    upright = via('ellipse', cx=30, cy=20, rx=15, ry=5)
    turned = via('ellipse', cx=30, cy=20, rx=15, ry=5, theta=np.pi / 4)
    write_via(tmp_path, [upright, turned, via('circle', cx=30, cy=20, r=5)])
    [example] = read_examples(tmp_path)
    flat, diagonal, circle = (one.mask for one in example.objects)
    assert flat[20, 42] and not diagonal[20, 42]
    assert diagonal[28, 38] and not diagonal[12, 38]  # y points down: 45 degrees is to the right
    assert abs(int(flat.sum()) - np.pi * 75) < 12 and abs(int(circle.sum()) - np.pi * 25) < 8


@pytest.mark.parametrize(
    ('attributes', 'names', 'found'),
    [
        ({'colour': 'red', 'Class': 'Mug'}, (), 'mug'),
        ({'what': 'coffee_mug'}, (), 'coffee mug'),
        ({'colour': 'red', 'what': 'mugs'}, ('mug',), 'mug'),
        ({'type': {'bowl': False, 'mug': True}}, (), 'mug'),
    ],
)
def test_any_attribute_of_via_may_have_the_name(
    tmp_path: Path, attributes: Any, names: tuple[str, ...], found: str
) -> None:
    write_via(tmp_path, [via(attributes=attributes)])
    assert contents(read_examples(tmp_path, names)) == [('a.png', [found])]


def test_each_annotation_of_coco_is_an_object(tmp_path: Path) -> None:
    other = encode_mask(box(25, 30, 40, 50))
    file = write_coco(
        tmp_path, annotation(), annotation(other), annotation(other, category=2), annotation(other)
    )
    for path in (file, tmp_path):
        [example] = read_examples(path)
        assert contents([example]) == [('a.png (image 1)', ['mug', 'mug', 'coffee pot'])]
        assert (example.objects[0].mask == box()).all()
        assert (example.objects[1].mask == box(25, 30, 40, 50)).all()


@pytest.mark.parametrize(
    ('file', 'image'),
    [
        ('annotations.json', 'a.png'),
        ('annotations/instances_train.json', 'images/train/a.png'),
        ('train/_annotations.coco.json', 'train/a.png'),
    ],
)
def test_images_of_coco_are_found_where_tools_put_them(
    tmp_path: Path, file: str, image: str
) -> None:
    write_coco(tmp_path, annotation(), file=file, images=[image])
    content = json.loads((tmp_path / file).read_text())
    content['images'][0]['file_name'] = 'a.png'
    write_json(tmp_path / file, content)
    assert contents(read_examples(tmp_path)) == [('a.png (image 1)', ['mug'])]


def test_images_without_a_wanted_object_remain(tmp_path: Path) -> None:
    annotations = annotation(), annotation(image=2, category=2)
    write_coco(tmp_path, *annotations, images=['a.png', 'b.png', 'c.png'])
    assert contents(read_examples(tmp_path, ['Coffee Pots'])) == [
        ('a.png (image 1)', []),
        ('b.png (image 2)', ['coffee pot']),
        ('c.png (image 3)', []),
    ]


def write_folder(folder: Path, *entries: dict[str, Any]) -> Path:
    save_image(folder / 'a.png')
    write_mask(folder / 'mask.png', box())
    write_mask(folder / 'other.png', box(25, 30, 40, 50))
    common = {'image': 'a.png', 'mask': 'mask.png'}
    image_folder.write_entries(folder, [common | entry for entry in entries])
    return folder


@pytest.mark.parametrize('place', ['.', 'train'])
def test_the_lines_of_a_folder_name_objects_in_their_sentences(tmp_path: Path, place: str) -> None:
    save_image(tmp_path / place / 'b.png')
    write_folder(
        tmp_path / place,
        {'sentences': ['what can I drink from?', 'the red cup', 'the mug']},
        {'sentences': ['all the bowls'], 'mask': 'other.png'},
        {'sentences': ['the mug on the table'], 'mask': 'other.png'},
        {'sentences': ['the mug'], 'mask': None, 'image': 'b.png'},
    )
    examples = read_examples(tmp_path, ['mug', 'bowl'])
    assert contents(examples) == [('a.png', ['mug', 'bowl']), ('b.png', [])]
    assert (examples[0].union('mug') == box()).all()
    assert (examples[0].union('bowl') == box(25, 30, 40, 50)).all()
    assert contents(read_examples(tmp_path / place / 'annotations.jsonl', ['mug']))[1] == (
        'b.png',
        [],
    )


def test_frames_of_a_long_video_are_thinned_out(tmp_path: Path) -> None:
    write_folder(tmp_path, {'sentences': ['the mug']})
    names = [f'{number:03}.png' for number in range(MAX_FRAMES + 1)]
    for name in names:
        save_image(tmp_path / name)
    video = {'frames': names, 'masks': ['mask.png', *[None] * MAX_FRAMES], 'sentences': ['the mug']}
    image = {'image': 'a.png', 'mask': 'mask.png', 'sentences': ['the mug']}
    image_folder.write_entries(tmp_path, [video, image])
    examples = read_examples(tmp_path)
    assert contents(examples[:3]) == [('a.png', ['mug']), ('000.png', ['mug']), ('002.png', [])]
    assert len(examples) == 1 + MAX_FRAMES // 2 + 1


def test_labels_of_a_bag_have_names(tmp_path: Path) -> None:
    labelled_bag.write_sample(tmp_path / 'bag', 1)
    everything = read_examples(tmp_path / 'bag')
    assert {len(example.objects) for example in everything} == {2}
    name = everything[0].objects[1].name
    examples = read_examples(tmp_path / 'bag', [f'{name}s'])
    assert [example.objects[0].name for example in examples] == [name] * len(examples)
    assert examples[0].source == '/camera/image at 0 ns'
    assert examples[0].objects[0].mask.any()


def test_names_match_in_singular_and_plural() -> None:
    names = NameFilter(['Coffee-Mugs', 'cherry', 'knives', 'bus'])
    found = ['coffee_mug', 'COFFEE MUGS', 'cherries', 'knife', 'bus', 'mug', 'sherry']
    assert [names.choose([each]) for each in found] == [
        *('coffee mug', 'coffee mugs', 'cherry', 'knife', 'bus', None, None)
    ]
    assert NameFilter([]).choose(['Figs', 'date']) == 'figs'
    assert NameFilter([]).choose([]) is None


def test_large_images_are_scaled_down(tmp_path: Path) -> None:
    size = (MAX_SIDE, 2 * MAX_SIDE)
    write_labelme(tmp_path, shape(points=np.multiply(BOX, 20).tolist()), imageHeight=size[0])
    save_image(tmp_path / 'a.png', size)
    content = json.loads((tmp_path / 'a.json').read_text())
    write_json(tmp_path / 'a.json', content | {'imageWidth': size[1]})
    [example] = read_examples(tmp_path)
    assert example.image.shape == (MAX_SIDE // 2, MAX_SIDE, 3)
    assert (np.argwhere(example.union('mug')).min(0) == (100, 100)).all()


def test_all_problems_are_listed_with_their_remedies(tmp_path: Path) -> None:
    write_labelme(tmp_path, shape(points=BOX[:2]), shape('bowl', form='line'), shape(points=5))
    write_labelme(tmp_path, shape(), image='b.png', imageHeight=20)
    write_labelme(tmp_path, shape(), image='c.png')
    write_labelme(tmp_path, shape(), image='d.png')
    (tmp_path / 'c.png').unlink()
    (tmp_path / 'd.png').write_bytes(b'broken')
    (tmp_path / 'e.json').write_text('{')
    message = error_of(tmp_path)
    for expected in (
        "a.json shape 0 ('mug'): a polygon has 2 corners and needs three: draw it again",
        "a.json shape 1 ('bowl'): a line has no area: draw a polygon",
        "a.json shape 2 ('mug'):",
        'b.png: the labels are for 60 x 20 pixels, but the image has 60 x 40 (width x height): use',
        f'c.png is missing: put it into {tmp_path}',
        'd.png cannot be read as an image',
        'e.json is not readable as JSON',
    ):
        assert expected in message
    assert 'line has no area' not in error_of(tmp_path, 'mug')


def test_problems_of_via_and_coco_name_the_entry(tmp_path: Path) -> None:
    outside = via('rect', x=70, y=0, width=5, height=4)
    message = error_of(write_via(tmp_path / 'via', [via(attributes={}), outside, via('polyline')]))
    assert (
        "region 0: it has no name: give it one in the attribute 'name'".replace("'", '"') in message
    )
    assert "region 1 ('mug'): a polygon lies outside the image of 60 x 40 pixels" in message
    assert "region 2 ('mug'): a polyline has no area" in message
    small = encode_mask(np.ones((4, 5), bool))
    bad = annotation(small), annotation([]), annotation(image=9), annotation(category=7)
    message = error_of(write_coco(tmp_path / 'coco', *bad))
    assert "annotation 0 ('Mug'): the labels are for 5 x 4 pixels" in message
    assert "annotation 1 ('Mug'): it has no segmentation: draw its outline" in message
    assert 'annotation 2: there is no image with the id 9' in message
    assert 'annotation 3: category 7 has no name' in message


def test_masks_of_another_size_are_a_problem(tmp_path: Path) -> None:
    write_folder(tmp_path, {'sentences': ['the mug']})
    write_mask(tmp_path / 'mask.png', np.ones((4, 5), bool))
    assert 'line 1: the labels are for 5 x 4 pixels' in error_of(tmp_path)


def test_an_unknown_format_lists_the_known_ones(tmp_path: Path) -> None:
    write_json(tmp_path / 'other.json', [1, {'a': 2}])
    write_json(tmp_path / 'number.json', 5)
    for path in (tmp_path, tmp_path / 'other.json'):
        message = error_of(path)
        assert all(
            word in message for word in ('labelme', 'VIA', 'COCO', 'annotations.jsonl', 'bag')
        )
    assert 'gone is missing: name a folder' in error_of(tmp_path / 'gone')


def test_several_annotation_files_need_a_choice(tmp_path: Path) -> None:
    write_coco(tmp_path, annotation(), file='one.json')
    write_coco(tmp_path, annotation(), file='two.json')
    assert 'name one of one.json (COCO), two.json (COCO)' in error_of(tmp_path)
    assert len(read_examples(tmp_path / 'two.json')) == 1


def test_names_that_do_not_occur_are_answered_with_those_that_do(tmp_path: Path) -> None:
    write_labelme(tmp_path, shape('Mugs'), shape('coffee-pot'))
    assert "labels no 'fig' or 'date', but 'coffee pot', 'mugs'" in error_of(
        tmp_path, 'fig', 'date'
    )
    write_labelme(tmp_path)
    assert 'labels no objects' in error_of(tmp_path, 'fig')


def test_examples_are_selected_by_id_before_file_name(tmp_path: Path) -> None:
    write_coco(tmp_path, annotation(), images=['2.png', '7.png', '1.png', 'in/8.png'])
    examples = read_examples(tmp_path)
    for wanted, numbers in (
        (['2'], [1]),
        (['2.png', '7'], [0, 1]),
        (['8', '1'], [0, 3]),
        (['in/8.png'], [3]),
        ([], []),
    ):
        inside, others = select(examples, wanted)
        assert inside == [examples[number] for number in numbers]
        assert others == [each for each in examples if each not in inside]
    with pytest.raises(
        ValueError, match=r"called '9' or 'x.png'; the images are 2.png \(image 1\)"
    ):
        select(examples, ['2', '9', 'x.png'])
