from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.research.data.dataset import Procedure
from instructseg_ros.research.data.sample import ImageFile, Sample, SampleTask
from instructseg_ros.research.data.targets import EmptyMask
from instructseg_ros.research.evaluation.predictor import Predictor
from instructseg_ros.research.evaluation.work_units import WorkUnit, work_units


@pytest.fixture(scope='module')
def predictor() -> Predictor:
    return Predictor(Segmenter.from_pretrained('embedded', device='cpu'))


def picture(folder: Path, name: str, colour: int = 90) -> ImageFile:
    rng = np.random.default_rng(colour)
    pixels = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / f'{name}.png')
    return ImageFile(folder / f'{name}.png')


def still(key: str, image: ImageFile, *sentences: str) -> Sample:
    return Sample(
        key=key,
        task=SampleTask.IMAGE_REFERRING,
        frames=(image,),
        joined=True,
        instructions=sentences or ('the red mug', 'red'),
    )


def clip(folder: Path, number: str, video: str = 'clip', group: str = '') -> Sample:
    frames = tuple(picture(folder, f'{video}{index}', index) for index in range(3))
    return Sample(
        key=f'{video}/{number}',
        task=SampleTask.VIDEO_REFERRING,
        frames=frames,
        joined=True,
        instructions=('the blue mug',),
        group=group,
        details={'video': video, 'names': ('00000', '00001', '00002')},
    )


def files(folder: Path) -> list[str]:
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob('*.*'))


def test_all_objects_of_an_image_are_one_unit(tmp_path: Path) -> None:
    first, second = picture(tmp_path, 'first'), picture(tmp_path, 'second')
    samples = [still('0', first), still('1', second), still('2', first)]
    keys = [
        [sample.key for sample in unit.samples]
        for unit in work_units(Procedure.JOINED_AND_SINGLE, samples)
    ]
    assert keys == [['0', '2'], ['1']]


def test_an_image_gives_a_file_for_all_sentences_and_one_for_each(
    predictor: Predictor, tmp_path: Path
) -> None:
    image = picture(tmp_path, 'image')
    [unit] = work_units(Procedure.JOINED_AND_SINGLE, [still('0', image), still('1', image)])
    unit.run(predictor, tmp_path / 'out')
    assert files(tmp_path / 'out') == ['0.png', '0_0.png', '0_1.png', '1.png', '1_0.png', '1_1.png']
    [unit] = work_units(Procedure.JOINED, [still('0', image)])
    unit.run(predictor, tmp_path / 'joined')
    assert files(tmp_path / 'joined') == ['0.png']


def test_objects_of_an_image_have_the_masks_that_each_has_alone(
    predictor: Predictor, tmp_path: Path
) -> None:
    rgb = np.full((96, 128, 3), 90, np.uint8)
    rgb[20:60, 10:50], rgb[30:80, 70:120] = (220, 40, 40), (30, 60, 200)
    Image.fromarray(rgb).save(tmp_path / 'image.png')
    image = ImageFile(tmp_path / 'image.png')
    samples = [
        still('0', image, 'the red thing', 'the blue thing'),
        still('1', image, 'the blue thing'),
    ]
    [unit] = work_units(Procedure.JOINED_AND_SINGLE, samples)
    unit.run(predictor, tmp_path / 'together')
    for sample in samples:
        [unit] = work_units(Procedure.JOINED_AND_SINGLE, [sample])
        unit.run(predictor, tmp_path / 'alone')
    for name in files(tmp_path / 'together'):
        together, alone = (
            np.array(Image.open(tmp_path / folder / name)) for folder in ('together', 'alone')
        )
        np.testing.assert_array_equal(together, alone)
    # Masks that were mixed up would be seen: the things have 1600 and 2500 pixels.
    red, blue, same = (
        int((np.array(Image.open(tmp_path / 'together' / name)) > 0).sum())
        for name in ('0_0.png', '0_1.png', '1_0.png')
    )
    assert red == pytest.approx(1600, abs=50) and blue == same == pytest.approx(2500, abs=50)


def test_only_files_that_are_missing_are_written(predictor: Predictor, tmp_path: Path) -> None:
    [unit] = work_units(Procedure.JOINED_AND_SINGLE, [still('0', picture(tmp_path, 'image'))])
    out = tmp_path / 'out'
    unit.run(predictor, out)
    (out / '0_1.png').unlink()
    (out / '0.png').write_bytes(b'as it was')
    unit.run(predictor, out)
    assert (out / '0.png').read_bytes() == b'as it was'
    assert (out / '0_1.png').is_file()


def test_a_video_is_one_unit_or_one_per_annotator(tmp_path: Path) -> None:
    samples = [
        clip(tmp_path, '0', 'a', 'x'),
        clip(tmp_path, '0', 'b', 'x'),
        clip(tmp_path, '1', 'a', 'x'),
        clip(tmp_path, '0', 'a', 'y'),
    ]
    assert [len(unit.samples) for unit in work_units(Procedure.VIDEO, samples)] == [3, 1]
    assert [len(unit.samples) for unit in work_units(Procedure.VIDEO_LABELS, samples)] == [2, 1, 1]


def test_a_video_gives_a_file_for_each_sentence_or_one_for_all(
    predictor: Predictor, tmp_path: Path
) -> None:
    samples = [clip(tmp_path, '0', group='annot1'), clip(tmp_path, '1', group='annot1')]
    [apart] = work_units(Procedure.VIDEO, samples)
    apart.run(predictor, tmp_path / 'apart')
    assert files(tmp_path / 'apart') == [
        f'Annotations/clip/{number}/0000{frame}.png' for number in range(2) for frame in range(3)
    ]
    [merged] = work_units(Procedure.VIDEO_LABELS, samples)
    merged.run(predictor, tmp_path / 'merged')
    assert files(tmp_path / 'merged') == [f'annot1/clip/0000{frame}.png' for frame in range(3)]


@pytest.mark.parametrize('key', ['../../0', 'a/../../0'])
def test_nothing_is_written_outside_of_the_folder(
    key: str, predictor: Predictor, tmp_path: Path
) -> None:
    folder = tmp_path / 'deep' / 'out'
    video = dataclasses.replace(
        clip(tmp_path, '0'), key=key, details={'video': key, 'names': ('00000', '00001', '00002')}
    )
    units: list[WorkUnit] = [
        *work_units(Procedure.JOINED_AND_SINGLE, [still(key, picture(tmp_path, 'image'))]),
        *work_units(Procedure.VIDEO, [video]),
        *work_units(Procedure.VIDEO_LABELS, [video]),
    ]
    for unit in units:
        with pytest.raises(ValueError, match='would be written outside of'):
            unit.run(predictor, folder)
    assert not folder.parent.exists()


def test_an_absolute_name_is_refused_too(predictor: Predictor, tmp_path: Path) -> None:
    sample = still(str(tmp_path / 'elsewhere'), picture(tmp_path, 'image'))
    [unit] = work_units(Procedure.JOINED, [sample])
    with pytest.raises(ValueError, match='would be written outside of'):
        unit.run(predictor, tmp_path / 'out')
    assert not (tmp_path / 'elsewhere.png').exists()


class Counted:
    """A target that counts how often it is rasterised."""

    size = (48, 64)

    def __init__(self) -> None:
        self.rasterised = 0

    def mask(self) -> np.ndarray:
        """See `Target.mask`."""
        self.rasterised += 1
        return np.zeros(self.size, bool)


def own(key: str, frames: tuple[ImageFile, ...], *sentences: str, video: bool = False) -> Sample:
    task = SampleTask.VIDEO_REFERRING if video else SampleTask.IMAGE_REFERRING
    return Sample(key=key, task=task, frames=frames, instructions=sentences)


def test_own_data_of_the_same_frames_is_one_unit(tmp_path: Path) -> None:
    first, second = (picture(tmp_path, name, n) for n, name in enumerate('ab'))
    samples = [
        own('1', (first,), 'x'),
        own('2', (second,), 'x'),
        own('3', (first,), 'y'),
        own('4', (first,), 'x', video=True),
        own('5', (first, second), 'x', video=True),
    ]
    keys = [
        [sample.key for sample in unit.samples] for unit in work_units(Procedure.ROBOT, samples)
    ]
    assert keys == [['1', '3'], ['2'], ['4'], ['5']]


def test_own_data_gets_a_mask_for_every_sentence_and_an_empty_one_for_absent_targets(
    predictor: Predictor, tmp_path: Path
) -> None:
    rgb = np.full((96, 128, 3), 120, np.uint8)
    rgb[20:60, 10:50] = (220, 40, 40)
    Image.fromarray(rgb).save(tmp_path / 'image.png')
    image = ImageFile(tmp_path / 'image.png')
    [unit] = work_units(
        Procedure.ROBOT,
        [own('1', (image,), 'the red thing', 'the zzyzx'), own('2', (image,), 'the red thing')],
    )
    unit.run(predictor, tmp_path / 'out')
    assert files(tmp_path / 'out') == ['1_0.png', '1_1.png', '2_0.png']
    red, unknown, same = (
        int((np.array(Image.open(tmp_path / 'out' / name)) > 0).sum())
        for name in files(tmp_path / 'out')
    )
    [answer, _] = predictor.still(
        image, [predictor.segmenter.query(text) for text in ('the red thing', 'the zzyzx')]
    )
    assert red == same == (int(answer.mask.sum()) if answer.found else 0)
    assert unknown == 0  # the model has no word for it


def test_a_video_of_own_data_has_a_file_for_every_frame_and_only_missing_ones_are_written(
    predictor: Predictor, tmp_path: Path
) -> None:
    frames = tuple(picture(tmp_path, str(index), index) for index in range(3))
    [unit] = work_units(Procedure.ROBOT, [own('1', frames, 'the red mug', video=True)])
    out = tmp_path / 'out'
    unit.run(predictor, out)
    names = [f'1_0/0000{frame}.png' for frame in range(3)]
    assert files(out) == names
    (out / names[1]).unlink()
    (out / names[0]).write_bytes(b'as it was')
    unit.run(predictor, out)
    assert files(out) == names and (out / names[0]).read_bytes() == b'as it was'


def test_sizes_are_compared_without_rasterising_a_target(
    predictor: Predictor, tmp_path: Path
) -> None:
    targets = [Counted() for _ in range(3)]
    sample = dataclasses.replace(clip(tmp_path, '0'), targets=tuple(targets))
    still_one = dataclasses.replace(still('0', picture(tmp_path, 'it')), targets=(targets[0],))
    units: list[WorkUnit] = [
        *work_units(Procedure.VIDEO, [sample]),
        *work_units(Procedure.JOINED_AND_SINGLE, [still_one]),
    ]
    for unit in units:
        unit.run(predictor, tmp_path / 'out')
    assert [target.rasterised for target in targets] == [0, 0, 0]


def test_an_image_of_another_size_than_its_targets_is_refused_before_anything_is_written(
    predictor: Predictor, tmp_path: Path
) -> None:
    sample = dataclasses.replace(
        still('0', picture(tmp_path, 'it')), targets=(EmptyMask((64, 48)),)
    )
    [unit] = work_units(Procedure.JOINED, [sample])
    with pytest.raises(ValueError, match=r'0 has masks of \(64, 48\) for frames of \(48, 64\)'):
        unit.run(predictor, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
