from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.streaming.instruction import Instruction, InstructionError
from instructseg_ros.streaming.overlay import draw_overlay
from instructseg_ros.streaming.segmentation import Segmentation, State
from instructseg_ros.tabletop.world.recording import Recording
from instructseg_ros.tabletop.world.simulator import Observation
from instructseg_ros.video.segment_image import check_output, segment_still, summary, write_pictures


@pytest.fixture(scope='module')
def segmenter() -> Segmenter:
    return Segmenter.from_pretrained('embedded', device='cpu')


@pytest.fixture(scope='module')
def frames() -> list[Observation]:
    """Three of a recorded scene with a black car, and without anything green."""
    with Recording() as recording:
        return [recording.observe(time) for time in (0.0, 0.25, 0.5)]


def truth(frame: Observation, color: str, kind: str) -> np.ndarray:
    """(H, W) bool pixels of a thing."""
    label = next(one.label for one in frame.graph if (one.color, one.category) == (color, kind))
    assert frame.labels is not None
    return frame.labels == label


def draw_image(size: tuple[int, int] = (20, 40)) -> np.ndarray:
    """(H, W, 3), the left half red and the right half blue."""
    height, width = size
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = 255
    pixels[:, width // 2 :, 2] = 255
    return pixels


def result(state: State, size: tuple[int, int] = (20, 40)) -> Segmentation:
    mask = np.zeros(size, bool)
    mask[2:8, 5:15] = True
    return Segmentation(
        instruction=Instruction(text='the mug'),
        state=state,
        reason='so faint',
        score=0.25,
        image=draw_image(size),
        mask=mask,
    )


def test_what_is_there_is_found_with_its_pixels_and_region(
    segmenter: Segmenter, frames: list[Observation]
) -> None:
    found = segment_still(segmenter, frames[0].rgb, '  the black   car ')
    assert found.state is State.FOUND and found.reason == ''
    assert found.instruction.text == 'the black car'
    assert found.score >= segmenter.threshold
    assert found.mask is not None and found.mask.shape == frames[0].rgb.shape[:2]
    car = truth(frames[0], 'black', 'car')
    assert (found.mask & car).sum() > 0.8 * (found.mask | car).sum()
    assert found.pixels == found.mask.sum()
    x, y, width, height = found.region
    assert found.mask[y : y + height, x : x + width].sum() == found.pixels
    assert np.array_equal(found.image, frames[0].rgb)


def test_what_is_not_there_is_not_found_and_the_reason_is_given(
    segmenter: Segmenter, frames: list[Observation]
) -> None:
    missing = segment_still(segmenter, frames[0].rgb, 'the green bowl')
    assert missing.state is State.NOT_FOUND
    assert 'nothing in the image matches' in missing.reason
    assert missing.pixels == 0 and missing.region == (0, 0, 0, 0)


@pytest.mark.parametrize('count', [0, 1, 2])
def test_reference_frames_are_counted(
    segmenter: Segmenter, frames: list[Observation], count: int
) -> None:
    *earlier, key = [frame.rgb for frame in frames[: count + 1]]
    answer = segment_still(segmenter, key, 'the black car', earlier)
    assert answer.state is State.FOUND and answer.reference_frames == count


def test_reference_frames_may_have_sizes_of_their_own(
    segmenter: Segmenter, frames: list[Observation]
) -> None:
    smaller = frames[0].rgb[::2, ::2]
    answer = segment_still(segmenter, frames[1].rgb, 'the black car', [smaller])
    assert answer.mask is not None and answer.mask.shape == frames[1].rgb.shape[:2]


def test_a_text_that_is_no_instruction_is_refused(
    segmenter: Segmenter, frames: list[Observation]
) -> None:
    with pytest.raises(InstructionError, match='empty'):
        segment_still(segmenter, frames[0].rgb, '  ')


def test_a_summary_is_ready_for_json(segmenter: Segmenter, frames: list[Observation]) -> None:
    found = segment_still(segmenter, frames[1].rgb, 'the black car', [frames[0].rgb])
    read = json.loads(json.dumps(summary(found)))
    assert read == {
        'instruction': 'the black car',
        'state': 'FOUND',
        'reason': '',
        'score': pytest.approx(found.score, abs=1e-4),
        'pixels': found.pixels,
        'region': list(found.region),
        'reference_frames': 1,
    }


def test_the_overlay_is_written_and_the_mask_beside_it(tmp_path: Path) -> None:
    found = result(State.FOUND)
    file = tmp_path / 'new' / 'answer.png'
    names = write_pictures(found, file)
    assert names == {'overlay': str(file), 'mask': str(tmp_path / 'new' / 'answer_mask.png')}
    assert found.image is not None and found.mask is not None
    assert np.array_equal(Image.open(file), draw_overlay(found.image, found))
    with Image.open(names['mask']) as mask:
        assert mask.mode == 'L' and mask.size == (40, 20)
        assert np.array_equal(np.array(mask), np.where(found.mask, 255, 0))


def test_the_mask_of_what_is_not_found_is_black(tmp_path: Path) -> None:
    names = write_pictures(result(State.NOT_FOUND), tmp_path / 'answer.png')
    with Image.open(names['mask']) as mask:
        assert mask.size == (40, 20) and mask.getextrema() == (0, 0)


def test_the_mask_is_a_png_whatever_the_overlay_is(tmp_path: Path) -> None:
    names = write_pictures(result(State.FOUND), tmp_path / 'answer.jpg')
    with Image.open(names['overlay']) as overlay, Image.open(names['mask']) as mask:
        assert overlay.format == 'JPEG' and mask.format == 'PNG'
        assert names['mask'].endswith('answer_mask.png')


@pytest.mark.parametrize('name', ['answer.png', 'answer.jpg', 'answer.JPEG', 'a.b.webp'])
def test_an_output_may_be_any_image(name: str, tmp_path: Path) -> None:
    check_output(tmp_path / name, inputs=[])
    write_pictures(result(State.FOUND), tmp_path / name)


# Pillow knows the last three, but only to read them.
@pytest.mark.parametrize(
    'name', ['answer', 'answer.', 'answer.txt', '.png', 'answer.psd', 'answer.mpg', 'answer.xpm']
)
def test_an_output_that_no_image_can_be_written_to_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r'name a file for an image, such as .*\.png') as refusal:
        check_output(Path(name), inputs=[])
    assert name in str(refusal.value)


@pytest.mark.parametrize('name', ['frame.png', 'mug_mask.png'])
def test_an_output_never_overwrites_an_input(name: str, tmp_path: Path) -> None:
    output = tmp_path / name.replace('_mask', '')
    with pytest.raises(ValueError, match='would be overwritten'):
        check_output(output, inputs=[tmp_path / 'other.png', tmp_path / '.' / name])
