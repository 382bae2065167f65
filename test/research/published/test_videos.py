"""ReVOS, Ref-YouTube-VOS and Ref-DAVIS17."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from benchmark_samples import make_sample

from instructseg_ros.research.data.reading import DataError, Reading
from instructseg_ros.research.data.sample import SampleTask
from instructseg_ros.research.published import ref_davis, ref_youtube_vos, revos


def test_a_revos_sentence_may_mean_several_objects_or_none(tmp_path: Path) -> None:
    make_sample('revos', tmp_path)
    masks = json.loads((tmp_path / 'mask_dict.json').read_text())
    masks['0'][2] = masks['1'][2] = None
    (tmp_path / 'mask_dict.json').write_text(json.dumps(masks))
    first, second, both = revos.read(tmp_path, 'valid').samples[:3]
    assert both.instructions == ('everything that is not the ground',)
    union = first.targets[0].mask() | second.targets[0].mask()
    np.testing.assert_array_equal(both.targets[0].mask(), union)
    assert not both.targets[2].mask().any() and both.targets[3].mask().any()


def test_every_revos_sentence_uses_the_authors_one_prompt(tmp_path: Path) -> None:
    make_sample('revos', tmp_path)
    samples = revos.read(tmp_path, 'valid').samples
    assert {sample.group for sample in samples} == {'referring', 'reasoning'}
    assert {sample.task for sample in samples} == {SampleTask.VIDEO_REASONING}


def test_revos_frames_may_be_next_to_the_annotations(tmp_path: Path) -> None:
    make_sample('revos', tmp_path)
    (tmp_path / 'JPEGImages' / 'valid').rename(tmp_path / 'valid')
    sample = revos.read(tmp_path, 'valid').samples[0]
    assert sample.frames[0].load().size == (128, 96)


def test_an_object_of_a_training_video_has_all_of_its_sentences(tmp_path: Path) -> None:
    make_sample('ref-youtube-vos', tmp_path)
    things = ref_youtube_vos.read(tmp_path, 'train').samples
    assert all(len(thing.instructions) == 2 for thing in things)
    sentences = ref_youtube_vos.read(tmp_path, 'valid').samples
    assert all(len(sentence.instructions) == 1 for sentence in sentences)


def test_frames_without_a_mask_keep_their_place(tmp_path: Path) -> None:
    """The authors' loader drops them, and gives later frames the masks of others."""
    make_sample('ref-youtube-vos', tmp_path)
    sample = ref_youtube_vos.read(tmp_path, 'train').samples[0]
    video = sample.details['video']
    last = sample.targets[-1].mask()
    (tmp_path / 'train' / 'Annotations' / video / '00000.png').unlink()
    again = ref_youtube_vos.read(tmp_path, 'train').samples[0]
    with pytest.raises(OSError, match=r'00000\.png'):
        again.targets[0].mask()
    np.testing.assert_array_equal(again.targets[-1].mask(), last)


def test_each_annotator_of_davis_has_a_sample_of_every_object(tmp_path: Path) -> None:
    make_sample('ref-davis17', tmp_path)
    samples = ref_davis.read(tmp_path, 'val').samples
    assert {sample.group for sample in samples} == {'annot1', 'annot2'}
    assert len(samples) == 2 * 2 * 2
    assert all(len(sample.frames) == 6 for sample in samples)


def test_an_invalid_line_is_reported(tmp_path: Path) -> None:
    make_sample('ref-davis17', tmp_path)
    file = tmp_path / 'davis_text_annotations' / 'Davis17_annot1.txt'
    file.write_text('val-0 the red one\n' + file.read_text())
    [problem] = ref_davis.read(tmp_path, 'val').problems
    assert str(problem).endswith('Davis17_annot1.txt line 1: the line is not: video object "words"')


def test_sentences_of_davis_may_be_in_latin_1_with_empty_lines_between(tmp_path: Path) -> None:
    make_sample('ref-davis17', tmp_path)
    folder = tmp_path / 'davis_text_annotations'
    text = 'val-0 1 "a  café"\r\n\n  \nval-0 2 "a\x85naïve dog"\n\n'
    (folder / 'Davis17_annot1.txt').write_bytes(text.encode())
    (folder / 'Davis17_annot2.txt').write_bytes(text.encode('latin-1'))
    reading = ref_davis.read(tmp_path, 'val')
    assert reading.problems == []
    said = [sample.instructions for sample in reading.samples]
    assert said == [('a café',), ('a naïve dog',)] * 2


def test_misspelt_video_names_of_davis_are_corrected(tmp_path: Path) -> None:
    make_sample('ref-davis17', tmp_path)
    for folder in ('JPEGImages/480p', ref_davis.ANNOTATIONS[0]):
        (tmp_path / folder / 'train-0').rename(tmp_path / folder / 'dogs-scale')
    (tmp_path / 'ImageSets' / '2017' / 'train.txt').write_text('dogs-scale\n')
    for file in (tmp_path / 'davis_text_annotations').iterdir():
        file.write_text('dog-scale 1 "the left dog"\ndogs-scale 2 "the right dog"\n')
    samples = ref_davis.read(tmp_path, 'train').samples
    assert [sample.key for sample in samples] == [
        f'{annotator}/dogs-scale/{thing}' for annotator in ('annot1', 'annot2') for thing in (1, 2)
    ]


def test_davis_without_sentences_is_refused_with_their_place(tmp_path: Path) -> None:
    make_sample('ref-davis17', tmp_path)
    for file in (tmp_path / 'davis_text_annotations').iterdir():
        file.unlink()
    with pytest.raises(DataError, match='Davis17_annot1'):
        ref_davis.read(tmp_path, 'val')


@pytest.mark.parametrize('read', [revos.read, ref_youtube_vos.read])
def test_a_video_without_sentences_is_reported_and_the_others_are_read(
    tmp_path: Path, read: Callable[[Path, str], Reading]
) -> None:
    make_sample('revos' if read is revos.read else 'ref-youtube-vos', tmp_path)
    whole = len(read(tmp_path, 'valid').samples)
    [file] = [
        *tmp_path.glob('meta_expressions_valid_.json'),
        *tmp_path.glob('meta_expressions/valid/*.json'),
    ]
    content = json.loads(file.read_text())
    broken = next(iter(content['videos']))
    del content['videos'][broken]['expressions']
    file.write_text(json.dumps(content))
    reading = read(tmp_path, 'valid')
    assert 0 < len(reading.samples) < whole
    assert [str(each) for each in reading.problems if broken in each.where] != []


def test_videos_of_the_test_split_are_left_out_of_validation(tmp_path: Path) -> None:
    make_sample('ref-youtube-vos', tmp_path)
    valid = tmp_path / 'meta_expressions' / 'valid' / 'meta_expressions.json'
    later, mine = json.loads(valid.read_text())['videos']
    test = tmp_path / 'meta_expressions' / 'test' / 'meta_expressions.json'
    test.parent.mkdir()
    test.write_text(json.dumps({'videos': {later: {}}}))
    samples = ref_youtube_vos.read(tmp_path, 'valid').samples
    assert {sample.details['video'] for sample in samples} == {mine}
