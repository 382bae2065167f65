"""Tiny synthetic data sets in the layouts of the published benchmarks."""

from __future__ import annotations

import base64
import csv
import io
import json
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from instructseg_ros.research.data.dataset import data_set
from instructseg_ros.research.data.synthetic import COLORS, Shape, clip, save_jpeg, scene
from instructseg_ros.research.published.questions import LETTERS, SHORT_ANSWER
from instructseg_ros.research.published.ref_davis import ANNOTATIONS
from instructseg_ros.video.rle import encode_mask

VQA_LLAVA = 'llava_vqav2_mscoco_test-dev2015.jsonl'
VQA_TEST = 'v2_OpenEnded_mscoco_test-dev2015_questions.json'
VQA_VAL = 'v2_OpenEnded_mscoco_val2014_questions.json'
VQA_ANSWERS = 'v2_mscoco_val2014_annotations.json'
_SPLIT_BY = {'refcoco': 'unc', 'refcoco+': 'unc', 'refcocog': 'umd'}
_MMBENCH_COLUMNS = 'index question hint A B C D answer category image l2-category'


def make_sample(name: str, folder: Path, seed: int = 0) -> Path:
    """Write a tiny data set in the layout of any data set; return its folder."""
    make = data_set(name).make_sample or _WRITERS[name]
    make(folder, seed)
    return folder


def _write_refcoco(name: str, folder: Path, seed: int) -> None:
    """Write a tiny set: the authors' JSON of every split, and the published files of them all."""
    rng = np.random.default_rng(seed)
    instances: dict[str, list[Any]] = {'images': [], 'annotations': []}
    refs: list[dict[str, Any]] = []
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    for split in data_set(name).splits:
        items: list[dict[str, Any]] = []
        for _ in range(4):
            rgb, shapes = scene(rng)
            image = _write_image(folder, rgb, len(instances['images']))
            instances['images'].append(image)
            for shape in shapes:
                ref = _ref(shape, image, split, len(refs))
                refs.append(ref)
                instances['annotations'].append(_annotation(shape, ref))
                items.append(_authors_item(shape, ref, image, len(items)))
        (place / f'{name}_{split}.json').write_text(json.dumps(items))
    (place / 'instances.json').write_text(json.dumps(instances))
    (place / f'refs({_SPLIT_BY[name]}).p').write_bytes(pickle.dumps(refs, 2))


def _write_image(folder: Path, rgb: np.ndarray, number: int) -> dict[str, Any]:
    name = f'COCO_train2014_{number + 1:012}.jpg'
    save_jpeg(folder / 'images/train2014' / name, rgb)
    return {'id': number + 1, 'file_name': name, 'height': rgb.shape[0], 'width': rgb.shape[1]}


def _ref(shape: Shape, image: Mapping[str, Any], split: str, number: int) -> dict[str, Any]:
    sentences = [f'the {shape.name}', f'{shape.form} in {shape.color}']
    return {
        'ref_id': number,
        'ann_id': number + 100,
        'image_id': image['id'],
        'file_name': image['file_name'].replace('.jpg', f'_{number}.jpg'),
        'category_id': 1,
        'split': split,
        'sent_ids': [2 * number, 2 * number + 1],
        'sentences': [
            {'sent': text, 'raw': text, 'tokens': text.split(), 'sent_id': 2 * number + index}
            for index, text in enumerate(sentences)
        ],
    }


def _annotation(shape: Shape, ref: Mapping[str, Any]) -> dict[str, Any]:
    return {
        'id': ref['ann_id'],
        'image_id': ref['image_id'],
        'category_id': 1,
        'iscrowd': 0,
        'area': int(shape.mask.sum()),
        'bbox': list(shape.box),
        'segmentation': [list(shape.polygon)],
    }


def _authors_item(
    shape: Shape, ref: Mapping[str, Any], image: Mapping[str, Any], number: int
) -> dict[str, Any]:
    x, y, width, height = shape.box
    annotation = _annotation(shape, ref) | {'bbox': [x, y, x + width, y + height]}
    return {
        'image_info': dict(image),
        'new_img_id': number,
        'anns': [annotation],
        'instruction': ref['sentences'],
    }


def _write_reasonseg(folder: Path, seed: int) -> None:
    """Write a tiny set: images with labelme's files, and explanations of the training split."""
    rng = np.random.default_rng(seed)
    explanations = []
    for split in ('val', 'train', 'test'):
        for number in range(4):
            rgb, shapes = scene(rng)
            image = folder / split / f'{number:03}.jpg'
            save_jpeg(image, rgb)
            target, other = shapes[-1], shapes[0]
            shapes = [
                _shape('target', target.polygon),
                _shape('ignore', other.polygon),
                _shape('flag', other.polygon),
            ]
            sentence = f'What has the color {target.color} and {_corners(target.form)}?'
            annotation = {'shapes': shapes, 'text': [sentence], 'is_sentence': True}
            image.with_suffix('.json').write_text(json.dumps(annotation))
            if split == 'train':
                reason = f'It is the {target.form}, because only that is {target.color}.'
                explanations.append({'image': image.name, 'query': sentence, 'outputs': reason})
    file = folder / 'explanatory/train.json'
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(explanations))


def _shape(label: str, polygon: Sequence[float]) -> dict[str, Any]:
    points = np.reshape(polygon, (-1, 2)).tolist()
    return {'label': label, 'labels': [label], 'shape_type': 'polygon', 'points': points}


def _corners(form: str) -> str:
    return {'triangle': 'three corners', 'square': 'four corners'}.get(form, 'no corners')


def _write_ref_youtube_vos(folder: Path, seed: int) -> None:
    """Write a tiny set in the published layout."""
    rng = np.random.default_rng(seed)
    for split in ('valid', 'train'):
        videos = {}
        for number in range(2):
            images, seen = clip(rng)
            name = f'{split}{number:06x}'
            frames = [f'{5 * index:05}' for index in range(len(images))]
            for frame, rgb, shapes in zip(frames, images, seen, strict=True):
                save_jpeg(folder / split / 'JPEGImages' / name / f'{frame}.jpg', rgb)
                if split == 'train':
                    save_labels(folder / split / 'Annotations' / name / f'{frame}.png', shapes)
            videos[name] = {'frames': frames, 'expressions': _expressions(seen[0], split)}
        file = folder / 'meta_expressions' / split / 'meta_expressions.json'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({'videos': videos}))


def save_labels(path: Path, shapes: Sequence[Shape]) -> None:
    """Write a image whose pixels have the number of their shape, from 1 on."""
    labels = np.zeros(shapes[0].mask.shape, dtype=np.uint8)
    for number, shape in enumerate(shapes, start=1):
        labels[shape.mask] = number
    image = Image.fromarray(labels, mode='P')
    image.putpalette([0, 0, 0, 220, 40, 40, 40, 180, 60, 40, 80, 220])
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def _expressions(shapes: Sequence[Shape], split: str) -> dict[str, Any]:
    sentences = [(f'the {shape.name}', number) for number, shape in enumerate(shapes, start=1)]
    sentences += [(f'a {t.form} that is {t.color}', n) for n, t in enumerate(shapes, start=1)]
    return {
        str(index): {'exp': text} | ({'obj_id': str(shape)} if split == 'train' else {})
        for index, (text, shape) in enumerate(sentences)
    }


def _write_ref_davis(folder: Path, seed: int) -> None:
    """Write a tiny set in the published layout, with two annotators."""
    rng = np.random.default_rng(seed)
    lines: dict[str, list[str]] = {annotator: [] for annotator in ('annot1', 'annot2')}
    for split in ('val', 'train'):
        names = [f'{split}-{number}' for number in range(2)]
        listed = folder / 'ImageSets' / '2017' / f'{split}.txt'
        listed.parent.mkdir(parents=True, exist_ok=True)
        listed.write_text('\n'.join(names) + '\n')
        for name in names:
            images, seen = clip(rng)
            for index, (rgb, shapes) in enumerate(zip(images, seen, strict=True)):
                save_jpeg(folder / 'JPEGImages' / '480p' / name / f'{index:05}.jpg', rgb)
                save_labels(folder / ANNOTATIONS[0] / name / f'{index:05}.png', shapes)
            for number, shape in enumerate(seen[0], start=1):
                lines['annot1'].append(f'{name} {number} "a {shape.name}"')
                lines['annot2'].append(f'{name} {number} "the {shape.form} in {shape.color}"')
    for annotator, text in lines.items():
        file = folder / 'davis_text_annotations' / f'Davis17_{annotator}.txt'
        file.parent.mkdir(exist_ok=True)
        file.write_text('\n'.join(text) + '\n')


def _write_revos(folder: Path, seed: int) -> None:
    """Write a tiny set: frames, sentences, and run lengths of every shape and of all together."""
    rng = np.random.default_rng(seed)
    masks: dict[str, list[Any]] = {}
    foreground: dict[str, Any] = {}
    for split in ('valid', 'train'):
        videos = {}
        for number in range(2):
            name = f'{split}/clip{number}'
            videos[name] = _make_video(folder, name, number, rng, masks, foreground)
        file = folder / f'meta_expressions_{split}_.json'
        file.write_text(json.dumps({'videos': videos}))
    (folder / 'mask_dict.json').write_text(json.dumps(masks))
    (folder / 'mask_dict_foreground.json').write_text(json.dumps(foreground))


def _make_video(
    folder: Path,
    name: str,
    number: int,
    rng: np.random.Generator,
    masks: dict[str, list[Any]],
    foreground: dict[str, Any],
) -> dict[str, Any]:
    images, seen = clip(rng)
    names = [f'{index:05}' for index in range(len(images))]
    for frame, rgb in zip(names, images, strict=True):
        save_jpeg(folder / 'JPEGImages' / name / f'{frame}.jpg', rgb)
    start = len(masks)
    for place in range(len(seen[0])):
        masks[str(start + place)] = [encode_mask(shapes[place].mask) for shapes in seen]
    together = [np.logical_or.reduce([shape.mask for shape in shapes]) for shapes in seen]
    foreground[name] = {'masks_rle': [encode_mask(mask) for mask in together]}
    first, second = seen[0]
    sentences = [
        (f'the {first.name}', [start], 0),
        (f'what has the color {second.color}?', [start + 1], 1),
        ('everything that is not the ground(s)', [start, start + 1], 1),
    ]
    return {
        'frames': names,
        'height': images[0].shape[0],
        'width': images[0].shape[1],
        'vid_id': number,
        'expressions': {
            str(index): {
                'exp': text,
                'obj_id': [each - start for each in shapes],
                'anno_id': shapes,
                'type_id': type_id,
            }
            for index, (text, shapes, type_id) in enumerate(sentences)
        },
    }


def _write_vqav2(folder: Path, seed: int) -> None:
    """Write a tiny set of both splits."""
    rng = np.random.default_rng(seed)
    tests, questions, annotations = [], [], []
    for number in range(1, 5):
        rgb, shapes = scene(rng)
        shape = shapes[-1]
        text = f'What color is the {shape.form}?'
        save_jpeg(folder / 'test2015' / f'COCO_test2015_{number:012}.jpg', rgb)
        save_jpeg(folder / 'val2014' / f'COCO_val2014_{number:012}.jpg', rgb)
        tests.append(
            {
                'question_id': number,
                'image': f'COCO_test2015_{number:012}.jpg',
                'text': f'{text}\n{SHORT_ANSWER}',
                'category': 'default',
            }
        )
        questions.append({'question_id': number, 'image_id': number, 'question': text})
        said = [shape.color] * 8 + [f'dark {shape.color}'] * 2
        annotations.append(
            {
                'question_id': number,
                'image_id': number,
                'multiple_choice_answer': shape.color,
                'answer_type': 'other',
                'answers': [
                    {'answer_id': i, 'answer': each} for i, each in enumerate(said, start=1)
                ],
            }
        )
    write_lines(folder / VQA_LLAVA, tests)
    for file in (VQA_TEST, VQA_VAL):
        (folder / file).write_text(json.dumps({'questions': questions}))
    (folder / VQA_ANSWERS).write_text(json.dumps({'annotations': annotations}))


def _write_gqa(folder: Path, seed: int) -> None:
    """Write a tiny set of all splits."""
    rng = np.random.default_rng(seed)
    for split in ('testdev_balanced', 'val_balanced'):
        rows = {}
        for number in range(4):
            rgb, shapes = scene(rng)
            name = f'n{split[0]}{number}'
            save_jpeg(folder / 'images' / f'{name}.jpg', rgb)
            rows[f'{number:08}'] = {
                'imageId': name,
                'question': f'Is there a {shapes[0].name}?',
                'answer': 'yes',
                'types': {'structural': 'verify'},
            }
        (folder / f'{split}_questions.json').write_text(json.dumps(rows))


def _write_mmbench(folder: Path, seed: int) -> None:
    """Write a tiny set of both splits; one question of dev comes with its options rotated."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for split in ('dev', 'test'):
        with (folder / f'mmbench_{split}_20230712.tsv').open('w', newline='') as stream:
            table = csv.DictWriter(stream, _MMBENCH_COLUMNS.split(), delimiter='\t')
            table.writeheader()
            for number in range(4):
                table.writerows(_made_rows(rng, split, number))


def _made_rows(rng: np.random.Generator, split: str, number: int) -> Iterator[dict[str, Any]]:
    rgb, shapes = scene(rng)
    encoded = io.BytesIO()
    Image.fromarray(rgb).save(encoded, 'JPEG')
    shape = shapes[-1]
    options = [shape.color, *(each for each in COLORS if each != shape.color)][:4]
    for rotation in range(2 if split == 'dev' and number == 0 else 1):
        turned = options[rotation:] + options[:rotation]
        yield {
            'index': number + 1_000_000 * rotation,
            'question': f'What color is the {shape.form}?',
            'hint': 'nan',
            **dict(zip('ABCD', turned, strict=True)),
            'answer': LETTERS[turned.index(shape.color)] if split == 'dev' else '',
            'category': 'attribute_recognition',
            'image': base64.b64encode(encoded.getvalue()).decode(),
            'l2-category': 'finegrained_perception (instance-level)',
        }


def _write_pope(folder: Path, seed: int) -> None:
    """Write a tiny set: what is there, and what is not."""
    rng = np.random.default_rng(seed)
    for subset in ('random', 'popular', 'adversarial'):
        rows: list[dict[str, Any]] = []
        for _ in range(2):
            rgb, shapes = scene(rng)
            image = f'COCO_val2014_{rng.integers(10**6):012}.jpg'
            save_jpeg(folder / 'val2014' / image, rgb)
            for name, label in ((shapes[0].name, 'yes'), ('black star', 'no')):
                text = f'Is there a {name} in the image?'
                rows.append(
                    {'question_id': len(rows) + 1, 'image': image, 'text': text, 'label': label}
                )
        write_lines(folder / 'coco' / f'coco_pope_{subset}.json', rows)


def _write_scienceqa(folder: Path, seed: int) -> None:
    """Write a tiny set of all splits, with a question that has no image."""
    rng = np.random.default_rng(seed)
    problems: dict[str, Any] = {}
    splits: dict[str, list[str]] = {split: [] for split in ('test', 'val', 'train')}
    for split, keys in splits.items():
        for _ in range(3):
            rgb, shapes = scene(rng)
            key = str(len(problems) + 1)
            save_jpeg(folder / 'images' / split / key / 'image.png', rgb)
            options = list(COLORS)[:4]
            shape = next((each for each in shapes if each.color in options), None)
            problems[key] = {
                'question': 'Which of these colors is in the image?',
                'choices': options,
                'answer': options.index(shape.color) if shape else 0,
                'hint': 'The image shows some shapes.' if int(key) % 2 else '',
                'image': 'image.png',
                'subject': 'natural science',
                'split': split,
            }
            keys.append(key)
    problems['text'] = {
        'question': 'What is 2 + 2?',
        'choices': ['3', '4'],
        'answer': 1,
        'hint': '',
        'image': None,
        'subject': 'language science',
        'split': 'test',
    }
    splits['test'].append('text')
    (folder / 'problems.json').write_text(json.dumps(problems))
    (folder / 'pid_splits.json').write_text(json.dumps(splits))


def write_lines(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a file that `read_lines` reads."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(''.join(f'{json.dumps(row)}\n' for row in rows))


_WRITERS: dict[str, Callable[[Path, int], None]] = {
    **{name: partial(_write_refcoco, name) for name in _SPLIT_BY},
    'reasonseg': _write_reasonseg,
    'ref-youtube-vos': _write_ref_youtube_vos,
    'ref-davis17': _write_ref_davis,
    'revos': _write_revos,
    'vqav2': _write_vqav2,
    'gqa': _write_gqa,
    'mmbench': _write_mmbench,
    'pope': _write_pope,
    'scienceqa': _write_scienceqa,
}
