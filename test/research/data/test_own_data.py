"""A user's own data: a folder, COCO JSON or a bag."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from rosbags.rosbag2 import Reader, Writer
from rosbags.rosbag2.enums import StoragePlugin

from instructseg_ros.research.data import coco
from instructseg_ros.research.data import image_folder as folder
from instructseg_ros.research.data import labelled_bag as bag
from instructseg_ros.research.data.check import check
from instructseg_ros.research.data.dataset import data_set
from instructseg_ros.research.data.reading import DataError, MissingError
from instructseg_ros.research.data.sample import SampleTask
from instructseg_ros.streaming.image_files import write_mask
from instructseg_ros.tabletop import dataset as tabletop
from instructseg_ros.video.bag import standard_types


def test_a_line_of_a_folder_describes_an_image_or_a_video(tmp_path: Path) -> None:
    folder.make_sample(tmp_path, 0)
    samples = folder.read(tmp_path, 'train').samples
    assert [sample.task for sample in samples] == [
        *[SampleTask.IMAGE_REFERRING] * 3,
        SampleTask.IMAGE_REASONING,
        SampleTask.VIDEO_REASONING,
        SampleTask.VIDEO_REFERRING,
        SampleTask.IMAGE_REFERRING,
    ]
    assert samples[0].targets[0].mask().any()
    assert not samples[-1].targets[0].mask().any()
    assert samples[3].explanation


@pytest.mark.parametrize(
    ('change', 'reason'),
    [
        ({'image': None}, 'a file name must be a text, not None'),
        ({'sentences': []}, 'sentences must be a list of at least one text'),
        ({'sentences': 'mug'}, 'sentences must be a list of at least one text'),
        ({'value': '255'}, "value must be a whole number, not '255'"),
        ({'explanation': 5}, 'explanation must be a text, not 5'),
        ({'mask': 'masks/../../../passwd'}, 'passwd is not in'),
        ({'image': '/etc/passwd'}, 'passwd is not in'),
        ({'sentence': ['x']}, "'sentence' is an unknown key; valid keys are explanation"),
        ({'mask': '../../etc/passwd'}, 'passwd is not in'),
        ({'image': 'gone.jpg', 'mask': None}, 'gone.jpg'),
        ({'frames': ['a.jpg'], 'masks': []}, '1 frames and 0 masks'),
    ],
)
def test_a_wrong_line_is_named_with_what_is_wrong(
    tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    folder.make_sample(tmp_path, 0)
    file = tmp_path / 'train' / folder.FILE
    lines = file.read_text().splitlines()
    lines[1] = json.dumps(json.loads(lines[1]) | change)
    file.write_text('\n'.join([*lines, 'no JSON']))
    reading = folder.read(tmp_path, 'train')
    first, second = sorted(str(problem) for problem in reading.problems)
    assert first.startswith(f'{file} line 2: ') and reason in first
    assert second.startswith(f'{file} line 8: not JSON')
    assert len(reading.samples) == 6


def test_pixels_of_one_value_may_be_the_object(tmp_path: Path) -> None:
    folder.make_sample(tmp_path, 0)
    file = tmp_path / 'train' / folder.FILE
    entry = json.loads(file.read_text().splitlines()[0])
    file.write_text('\n'.join(json.dumps(entry | {'value': value}) for value in (255, 7)))
    right, wrong = folder.read(tmp_path, 'train').samples
    assert right.targets[0].mask().any()
    with pytest.raises(ValueError, match=r'0\.png has no pixel of the value 7 .*\(null\)'):
        wrong.targets[0].mask()


def test_coco_objects_are_named_by_sentence_or_category(tmp_path: Path) -> None:
    coco.make_sample(tmp_path, 0)
    samples = coco.read(tmp_path, 'train').samples
    texts = [text for sample in samples for text in sample.instructions]
    assert any(len(text.split()) == 3 for text in texts)  # the red circle
    assert any(text.startswith('all ') for text in texts)


def test_several_objects_of_a_category_are_one_target(tmp_path: Path) -> None:
    coco.make_sample(tmp_path, 0)
    for sample in coco.read(tmp_path, 'train').samples:
        parts = sample.targets[0].target.parts  # type: ignore[union-attr]
        assert (len(parts) > 1) == sample.instructions[0].startswith('all ')


def test_boxes_alone_are_refused(tmp_path: Path) -> None:
    coco.make_sample(tmp_path, 0)
    file = tmp_path / 'annotations' / 'instances_train.json'
    content = json.loads(file.read_text())
    for annotation in content['annotations']:
        annotation['segmentation'] = []
    file.write_text(json.dumps(content))
    reading = coco.read(tmp_path, 'train')
    assert not reading.samples
    assert 'boxes alone teach no masks' in str(reading.problems[0])


def test_labels_of_a_bag_are_videos(tmp_path: Path) -> None:
    bag.write_sample(tmp_path / 'bag', 0)
    first, second = bag.read(tmp_path / 'bag', 'train').samples
    assert len(first.frames) == len(first.targets) == 6
    assert not (first.targets[3].mask() & second.targets[3].mask()).any()
    picture = np.array(first.frames[3].load())
    assert picture.shape[:2] == first.targets[3].mask().shape


def test_a_folder_may_have_a_bag_per_split_and_a_single_bag_is_train(tmp_path: Path) -> None:
    bag.make_sample(tmp_path / 'bags', 0)
    train, val = (bag.read(tmp_path / 'bags', split).samples for split in ('train', 'val'))
    assert train[0].instructions != val[0].instructions
    alone = bag.read(tmp_path / 'bags' / 'train', 'train').samples
    assert [each.frames for each in alone] == [each.frames for each in train]
    with pytest.raises(MissingError, match='val is missing'):
        bag.read(tmp_path / 'bags' / 'train', 'val')


def test_a_bag_is_opened_once_for_all_of_its_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bag.write_sample(tmp_path / 'bag', 0)
    opened = []
    open_reader = bag.BagReader
    monkeypatch.setattr(bag, 'BagReader', lambda path: (opened.append(path), open_reader(path))[1])
    samples = bag.read(tmp_path / 'bag', 'train').samples
    assert len(opened) == 1  # both topics in one pass
    for sample in samples:
        for frame, target in zip(sample.frames, sample.targets, strict=True):
            assert target is not None
            assert target.mask().shape == target.size == frame.load().size[::-1]
    assert len(opened) == 2


def test_a_label_image_is_decoded_once_for_all_of_its_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bag.write_sample(tmp_path / 'bag', 0)
    samples = bag.read(tmp_path / 'bag', 'train').samples
    read = []
    read_message = bag.BagMessage.read
    monkeypatch.setattr(
        bag.BagMessage, 'read', lambda self: (read.append(self), read_message(self))[1]
    )
    masks = [sample.targets[0].mask() for sample in samples]  # type: ignore[union-attr]
    assert len(masks) == 2 and len(read) == 1


def rewritten(bag_folder: Path, change: Callable[[str, int, Any], tuple[int, bytes]]) -> Path:
    """Copy a bag; `change` makes (log time, content) of a message of (topic, log time, value)."""
    copy = bag_folder.with_name('copy')
    types = standard_types()
    with (
        Reader(bag_folder) as source,
        Writer(copy, version=9, storage_plugin=StoragePlugin.MCAP) as writer,
    ):
        topics = {
            each.topic: writer.add_connection(each.topic, each.msgtype, typestore=types)
            for each in source.connections
        }
        for each, logged, raw in source.messages():
            value = types.deserialize_cdr(raw, each.msgtype)
            writer.write(topics[each.topic], *change(each.topic, logged, value))
    shutil.copy(bag_folder / 'labels.yaml', copy)
    return copy


def serialized(message: Any) -> bytes:
    return bytes(standard_types().serialize_cdr(message, 'sensor_msgs/msg/Image'))


def test_images_with_the_same_log_time_are_distinguished_by_their_stamps(tmp_path: Path) -> None:
    bag.write_sample(tmp_path / 'bag', 0)
    copy = rewritten(tmp_path / 'bag', lambda topic, logged, value: (0, serialized(value)))
    expected = bag.read(tmp_path / 'bag', 'train').samples
    for mine, theirs in zip(bag.read(copy, 'train').samples, expected, strict=True):
        assert len(mine.frames) == len(theirs.frames) == 6
        for index in range(6):
            np.testing.assert_array_equal(mine.frames[index].load(), theirs.frames[index].load())
            np.testing.assert_array_equal(mine.targets[index].mask(), theirs.targets[index].mask())  # type: ignore[union-attr]


def test_images_with_repeated_stamps_are_left_out_as_a_problem(tmp_path: Path) -> None:
    bag.write_sample(tmp_path / 'bag', 0)

    def unstamped(topic: str, logged: int, value: Any) -> tuple[int, bytes]:
        value.header.stamp.nanosec = 0
        return logged, serialized(value)

    copy = rewritten(tmp_path / 'bag', unstamped)
    reading = bag.read(copy, 'train')
    assert [len(sample.frames) for sample in reading.samples] == [1, 1]
    assert sorted(map(str, reading.problems)) == [
        f'{copy} {topic}: 5 messages have the stamp of an earlier one and are left out: let the '
        f'driver stamp each image'
        for topic in ('/camera/image', '/camera/truth/labels')
    ]


@pytest.mark.parametrize('topic', ['/camera/image', '/camera/truth/labels'])
def test_a_damaged_message_of_a_bag_is_named_and_the_rest_is_used(
    tmp_path: Path, topic: str
) -> None:
    bag.write_sample(tmp_path / 'bag', 0)

    def damaged(name: str, logged: int, value: Any) -> tuple[int, bytes]:
        content = serialized(value)
        return logged, content[:9] if (name, logged) == (topic, 2 * 10**8) else content

    copy = rewritten(tmp_path / 'bag', damaged)
    [findings] = check(data_set('bag'), copy, ('train',))
    [problem] = findings.problems
    assert problem.where == f'{copy} {topic} at 200000000 ns'
    assert 'a message is damaged' in problem.what
    assert findings.samples == 2 and findings.frames == 10


def test_a_bag_with_only_damaged_messages_is_refused_with_the_first_problem(tmp_path: Path) -> None:
    bag.write_sample(tmp_path / 'bag', 0)
    copy = rewritten(tmp_path / 'bag', lambda topic, logged, value: (logged, b'damaged'))
    with pytest.raises(DataError, match=r'has the stamp .*/camera/.* at 0 ns: a message is damag'):
        bag.read(copy, 'train')


@pytest.mark.parametrize('damage', ['step', 'encoding'])
def test_a_label_image_that_contradicts_itself_is_named(tmp_path: Path, damage: str) -> None:
    bag.write_sample(tmp_path / 'bag', 0)

    def contradicting(topic: str, logged: int, value: Any) -> tuple[int, bytes]:
        if topic == '/camera/truth/labels' and logged == 0:
            setattr(value, damage, {'step': 3, 'encoding': 'rgb8'}[damage])
        return logged, serialized(value)

    copy = rewritten(tmp_path / 'bag', contradicting)
    [findings] = check(data_set('bag'), copy, ('train',))
    assert len(findings.problems) == 2  # each label of the image
    for problem in findings.problems:
        assert problem.what.startswith(
            f'{copy} /camera/truth/labels at 0 ns: a label image cannot be read ('
        )


@pytest.mark.parametrize('bigendian', [False, True])
def test_16_bit_labels_are_read_in_either_byte_order(tmp_path: Path, bigendian: bool) -> None:
    bag.write_sample(tmp_path / 'bag', 0)

    def widened(topic: str, logged: int, value: Any) -> tuple[int, bytes]:
        if topic == '/camera/truth/labels':
            wide = value.data.astype('>u2' if bigendian else '<u2')
            value.data, value.step = wide.view(np.uint8), 2 * value.step
            value.encoding, value.is_bigendian = '16UC1', int(bigendian)
        return logged, serialized(value)

    copy = rewritten(tmp_path / 'bag', widened)
    expected = bag.read(tmp_path / 'bag', 'train').samples
    for mine, theirs in zip(bag.read(copy, 'train').samples, expected, strict=True):
        np.testing.assert_array_equal(mine.targets[3].mask(), theirs.targets[3].mask())  # type: ignore[union-attr]


def test_a_missing_bag_is_a_missing_split_but_a_bag_without_sentences_is_an_error(
    tmp_path: Path,
) -> None:
    with pytest.raises(MissingError, match='is missing'):
        bag.read(tmp_path / 'none', 'train')
    bag.make_sample(tmp_path / 'bags', 0)
    (tmp_path / 'bags' / 'val' / 'labels.yaml').unlink()
    with pytest.raises(DataError, match=r'labels\.yaml is missing') as refusal:
        bag.read(tmp_path / 'bags', 'val')
    assert not isinstance(refusal.value, MissingError)


def test_forked_processes_do_not_share_an_open_bag(tmp_path: Path) -> None:
    bag.write_sample(tmp_path / 'bag', 0)
    frames = bag.read(tmp_path / 'bag', 'train').samples[0].frames
    expected = [np.array(frame.load()) for frame in frames]  # opened before the fork
    with multiprocessing.get_context('fork').Pool(3) as pool:
        for _ in range(5):
            for index, mine in enumerate(pool.map(loaded, frames, chunksize=1)):
                np.testing.assert_array_equal(mine, expected[index])


def loaded(frame: bag.BagImage) -> np.ndarray:
    """Pixels of a frame."""
    return np.array(frame.load())


@pytest.mark.parametrize('text', ['no', 'on', 'null', '1.10', '7'])
def test_sentences_of_a_bag_are_kept_literally(tmp_path: Path, text: str) -> None:
    bag.write_sample(tmp_path / 'bag', 0)
    (tmp_path / 'bag' / 'labels.yaml').write_text(f'sentences: {{1: [{text}], 2: {text}}}')
    samples = bag.read(tmp_path / 'bag', 'train').samples
    assert [sample.instructions for sample in samples] == [(text,), (text,)]


@pytest.mark.parametrize('sentences', ['[]', "['']", '[[red, mug]]', '{a: b}', 'x: [the mug]'])
def test_invalid_labels_and_sentences_of_a_bag_are_problems(tmp_path: Path, sentences: str) -> None:
    bag.write_sample(tmp_path / 'bag', 0)
    entry = sentences if sentences.startswith('x') else f'1: {sentences}'
    (tmp_path / 'bag' / 'labels.yaml').write_text(f'sentences: {{{entry}, 2: the bowl}}')
    reading = bag.read(tmp_path / 'bag', 'train')
    assert len(reading.samples) == len(reading.problems) == 1


def read_without_topics(folder: Path) -> list[str]:
    """The topics of the label images that are read where labels.yaml names none."""
    words = yaml.safe_load((folder / 'labels.yaml').read_text())
    (folder / 'labels.yaml').write_text(yaml.safe_dump({'sentences': words['sentences']}))
    samples = bag.read(folder, 'train').samples
    return [target.target.message.topic for sample in samples for target in sample.targets]


def test_the_ground_truth_topic_is_the_default(tmp_path: Path) -> None:
    bag.write_sample(tmp_path / 'bag', 0)
    assert set(read_without_topics(tmp_path / 'bag')) == {'/camera/truth/labels'}


def test_the_plain_label_topic_is_read_if_there_is_no_ground_truth(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(bag._TOPICS, 'labels', '/camera/labels')
        bag.write_sample(tmp_path / 'bag', 0)
    assert set(read_without_topics(tmp_path / 'bag')) == {'/camera/labels'}


def test_images_and_labels_with_different_stamps_are_not_paired(tmp_path: Path) -> None:
    bag.write_sample(tmp_path / 'bag', 0)
    words = yaml.safe_load((tmp_path / 'bag' / 'labels.yaml').read_text())
    (tmp_path / 'bag' / 'labels.yaml').write_text(yaml.safe_dump(words | {'labels': '/other'}))
    with pytest.raises(DataError, match='no image of /camera/image has the stamp'):
        bag.read(tmp_path / 'bag', 'train')


@pytest.mark.parametrize('text', ['', '[1, 2]', 'sentences: [a]', '{:'])
def test_an_invalid_labels_file_is_refused(tmp_path: Path, text: str) -> None:
    bag.write_sample(tmp_path / 'bag', 0)
    (tmp_path / 'bag' / 'labels.yaml').write_text(text)
    with pytest.raises(DataError, match=r'labels\.yaml'):
        bag.read(tmp_path / 'bag', 'train')


def test_the_tabletop_is_a_folder_of_short_videos(tmp_path: Path) -> None:
    tabletop.write_tabletop(tmp_path / 'train', [3, 4], size=(96, 72), instructions=20)
    samples = folder.read(tmp_path, 'train').samples
    assert samples and all(len(sample.frames) == 3 for sample in samples)
    assert {sample.targets[-1].mask().any() for sample in samples} == {True, False}


def test_labels_of_another_type_are_refused(tmp_path: Path) -> None:
    bag.write_sample(tmp_path / 'bag', 0)
    file = tmp_path / 'bag' / 'labels.yaml'
    words = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump(words | {'labels': '/chatter'}))
    types = standard_types()
    with Writer(tmp_path / 'other', version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topic = writer.add_connection('/chatter', 'std_msgs/msg/String', typestore=types)
        said = types.types['std_msgs/msg/String'](data='hello')
        writer.write(topic, 0, types.serialize_cdr(said, 'std_msgs/msg/String'))
    shutil.copy(file, tmp_path / 'other')
    with pytest.raises(DataError, match='/chatter has std_msgs/msg/String, not sensor_msgs'):
        bag.read(tmp_path / 'other', 'train')


def test_coco_annotations_with_sentences_need_no_category(tmp_path: Path) -> None:
    coco.make_sample(tmp_path, 0)
    file = tmp_path / 'annotations' / 'instances_train.json'
    content = json.loads(file.read_text())
    named = [each for each in content['annotations'] if 'sentences' in each]
    for each in named:
        del each['category_id']
    file.write_text(json.dumps({'images': content['images'], 'annotations': [*named, 'broken']}))
    reading = coco.read(tmp_path, 'train')
    assert len(reading.samples) == len(named)
    assert [each.where for each in reading.problems] == [f'{file} annotation {len(named)}']


def line_with(folder_: Path, **change: object) -> Path:
    """Write a set whose training split has one line, changed so; return the split's folder."""
    folder.make_sample(folder_, 0)
    file = folder_ / 'train' / folder.FILE
    file.write_text(json.dumps(json.loads(file.read_text().splitlines()[0]) | change))
    return file.parent


def masks(split: Path) -> list[np.ndarray]:
    [sample] = folder.read(split.parent, 'train').samples
    return [target.mask() for target in sample.targets if target is not None]


@pytest.mark.parametrize('kind', ['alpha only', 'black', 'probabilities', 'colours for a value'])
def test_an_empty_mask_is_a_problem(tmp_path: Path, kind: str) -> None:
    split = line_with(tmp_path)
    thing = np.array(Image.open(split / 'masks/0.png'))
    empty = np.zeros_like(thing)
    pixels, change = {
        'alpha only': (np.stack([empty, empty, empty, thing], axis=2), {}),
        'black': (empty, {}),
        'probabilities': (np.float32(thing / 255), {'mask': 'masks/0.tif'}),
        'colours for a value': (np.stack([thing // 255, empty, empty], axis=2), {'value': 1}),
    }[kind]
    split = line_with(tmp_path, **change)
    Image.fromarray(pixels).save(split / str(change.get('mask', 'masks/0.png')))
    with pytest.raises(ValueError, match=r'masks/0\.(png|tif)'):
        masks(split)


@pytest.mark.parametrize(('value', 'right'), [(None, True), (1, True), (255, False)])
def test_a_1_bit_mask_has_no_value_255(tmp_path: Path, value: int | None, right: bool) -> None:
    split = line_with(tmp_path, value=value)
    thing = np.array(Image.open(split / 'masks/0.png'))
    Image.fromarray(thing).convert('1').save(split / 'masks/0.png')
    if right:
        assert np.array_equal(masks(split)[0], thing > 0)
        return
    with pytest.raises(ValueError, match=r'no pixel of the value 255 .a mask of 1 bit has'):
        masks(split)


def test_a_mask_with_ids_in_one_channel_shows_the_object(tmp_path: Path) -> None:
    split = line_with(tmp_path)
    thing = np.array(Image.open(split / 'masks/0.png')) > 0
    Image.fromarray(np.stack([thing * 0, thing * 0, thing * 1], axis=2).astype(np.uint8)).save(
        split / 'masks/0.png'
    )
    assert np.array_equal(masks(split)[0], thing)


def test_an_object_may_leave_a_video_but_must_appear_in_it(tmp_path: Path) -> None:
    folder.make_sample(tmp_path, 0)
    file = tmp_path / 'train' / folder.FILE
    video = json.loads(file.read_text().splitlines()[4])
    file.write_text(json.dumps(video))
    for name in video['masks'][1:]:
        write_mask(file.parent / name, np.zeros((96, 128), bool))
    assert [mask.any() for mask in masks(file.parent)] == [True] + 5 * [False]
    write_mask(file.parent / video['masks'][0], np.zeros((96, 128), bool))
    [findings] = check(data_set('folder'), tmp_path, ('train',))
    [problem] = findings.problems  # not one for each frame
    assert problem.where == f'{file} line 1 frame 0' and 'is all 0' in problem.what


def test_a_jpeg_mask_is_a_warning(tmp_path: Path) -> None:
    split = line_with(tmp_path, mask='masks/0.jpg')
    Image.open(split / 'masks/0.png').save(split / 'masks/0.jpg')
    [findings] = check(data_set('folder'), tmp_path, ('train',))
    assert findings.problems == () and findings.samples == 1
    [warning] = findings.warnings
    assert warning.where == f'{split / folder.FILE} line 1'
    assert warning.what.endswith(
        'masks/0.jpg is a JPEG, which changes pixels near edges: save masks as PNG'
    )


def test_images_behind_a_link_belong_to_the_folder(tmp_path: Path) -> None:
    split = line_with(tmp_path / 'set')
    (split / 'images').rename(tmp_path / 'elsewhere')
    (split / 'images').symlink_to(tmp_path / 'elsewhere')
    [findings] = check(data_set('folder'), tmp_path / 'set', ('train',))
    assert findings.problems == () and findings.samples == 1


def test_file_names_may_be_absolute_paths_into_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = line_with(tmp_path / 'set')
    line_with(tmp_path / 'set', image=str(split / 'images/0.jpg'), mask='masks/../masks/0.png')
    monkeypatch.chdir(tmp_path)
    [findings] = check(data_set('folder'), Path('set'), ('train',))
    assert findings.problems == () and findings.samples == 1


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig'])
def test_lines_may_begin_with_a_byte_order_mark(tmp_path: Path, encoding: str) -> None:
    split = line_with(tmp_path, sentences=['die grüne Tür'])
    file = split / folder.FILE
    text = file.read_text().encode().decode('unicode_escape')
    file.write_text(text, encoding=encoding)
    reading = folder.read(tmp_path, 'train')
    assert reading.problems == []
    assert reading.samples[0].instructions == ('die grüne Tür',)


def test_lines_in_another_encoding_are_refused_with_the_remedy(tmp_path: Path) -> None:
    split = line_with(tmp_path)
    file = split / folder.FILE
    file.write_text(file.read_text(), encoding='utf-16')
    with pytest.raises(DataError, match='save it as UTF-8'):
        folder.read(tmp_path, 'train')


def test_endless_brackets_are_a_problem_of_their_line(tmp_path: Path) -> None:
    split = line_with(tmp_path)
    with (split / folder.FILE).open('a') as file:
        file.write('\n' + '[' * 200_000)
    reading = folder.read(tmp_path, 'train')
    assert len(reading.samples) == len(reading.problems) == 1


def test_a_mask_that_does_not_follow_the_exif_rotation_is_explained(tmp_path: Path) -> None:
    split = line_with(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(split / 'images/0.jpg').save(split / 'images/0.jpg', exif=exif)
    [findings] = check(data_set('folder'), tmp_path, ('train',))
    [problem] = findings.problems
    assert 'a mask of 96 x 128 pixels' in problem.what and 'of 128 x 96' in problem.what
    assert 'by its EXIF data' in problem.what and str(split / 'images/0.jpg') in problem.what


def test_a_label_that_never_occurs_in_a_bag_is_a_problem(tmp_path: Path) -> None:
    bag.write_sample(tmp_path / 'bag', 0)
    file = tmp_path / 'bag' / 'labels.yaml'
    words = yaml.safe_load(file.read_text())
    words['sentences'] = {1: ['the mug'], 9: ['the bowl']}
    file.write_text(yaml.safe_dump(words), encoding='utf-8-sig')
    [findings] = check(data_set('bag'), tmp_path / 'bag', ('train',))
    assert findings.samples == 1
    [problem] = findings.problems
    assert problem.where == f'{file} label 9 frame 0' and 'has the value 9' in problem.what
