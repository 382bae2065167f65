from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from instructseg_ros.streaming.instruction import Instruction
from instructseg_ros.streaming.segmentation import Segmentation, Source, State
from instructseg_ros.video.record import (
    CompleteRecord,
    FrameRecord,
    RecordError,
    RecordWriter,
    answer_fields,
    read_records,
)
from instructseg_ros.video.source import FrameInfo

SIZE = (4, 6)


def result(state: State) -> Segmentation:
    mask = np.zeros(SIZE, bool)
    mask[1:3, 2:5] = True
    return Segmentation(
        instruction=Instruction(text='the müg'),
        state=state,
        score=0.25,
        mask=mask,
        reason='' if state is State.FOUND else 'so faint',
        source=Source.INFERRED,
        track_id=9,
        reference_frames=2,
    )


def line(frame: int, state: State = State.FOUND) -> FrameRecord:
    place = FrameInfo(stamp=frame * 10, recorded=frame * 20, name=f'{frame}.png', frame_id='camera')
    return FrameRecord(
        frame=frame, info=place, size=SIZE, answers=[answer_fields(result(state), SIZE, track_id=3)]
    )


def write(file: Path, count: int) -> None:
    with RecordWriter(file) as record:
        for frame in range(count):
            record.write(line(frame))


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / 'masks.jsonl'
    write(file, 3)
    lines = list(read_records(file))
    assert [one.frame for one in lines] == [0, 1, 2]
    assert lines[2].info == line(2).info and lines[2].size == SIZE
    [answer] = lines[2].segmentations()
    assert answer.state is State.FOUND and answer.instruction.text == 'the müg'
    assert answer.track_id == 3 and answer.score == 0.25 and answer.reference_frames == 2
    assert np.array_equal(answer.mask, result(State.FOUND).mask)


def test_a_record_has_the_fields_of_coco(tmp_path: Path) -> None:
    write(tmp_path / 'masks.jsonl', 1)
    [answer] = json.loads((tmp_path / 'masks.jsonl').read_text())['answers']
    assert answer['bbox'] == [2, 1, 3, 2] and answer['area'] == 6
    assert answer['segmentation'].keys() == {'size', 'counts'}


def test_only_a_found_target_has_pixels() -> None:
    [answer] = line(0, State.NOT_FOUND).segmentations()
    assert answer.mask is not None and answer.mask.shape == SIZE and not answer.mask.any()
    assert answer.state is State.NOT_FOUND and answer.reason == 'so faint'


def test_a_result_without_a_mask_has_no_pixels_either() -> None:
    failed = Segmentation(
        instruction=Instruction(text='the mug'), state=State.FAILED, reason='it broke'
    )
    assert answer_fields(failed, SIZE, track_id=0)['segmentation'] == {
        'size': [4, 6],
        'counts': 'h0',
    }


@pytest.mark.parametrize('cut', [1, 40, 200])
def test_an_incomplete_last_line_is_written_again(tmp_path: Path, cut: int) -> None:
    whole, file = tmp_path / 'whole.jsonl', tmp_path / 'masks.jsonl'
    write(whole, 4)
    write(file, 4)
    file.write_bytes(file.read_bytes()[:-cut])
    with RecordWriter(file) as record:
        assert [one.frame for one in read_records(file)] == [0, 1, 2]
        record.write(line(3))
    assert file.read_bytes() == whole.read_bytes()


def test_lines_are_read_from_any_frame_on(tmp_path: Path) -> None:
    write(tmp_path / 'masks.jsonl', 5)
    record = CompleteRecord(tmp_path / 'masks.jsonl', 5)
    assert [one.frame for one in record.read('test', 3)] == [3, 4]
    assert record.first().frame == 0


@pytest.mark.parametrize('damage', [b'{}', b'', b'\xff', b'[1]', b'{"frame": 7}'])
def test_a_damaged_line_is_named(tmp_path: Path, damage: bytes) -> None:
    file = tmp_path / 'masks.jsonl'
    write(file, 3)
    lines = file.read_bytes().splitlines()
    file.write_bytes(b'\n'.join([lines[0], damage, lines[2]]) + b'\n')
    with pytest.raises(RecordError, match=r'masks\.jsonl, line 2 is damaged .*--overwrite'):
        list(read_records(file))


def test_a_missing_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / 'masks.jsonl'
    write(file, 3)
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(lines[0] + lines[2])
    with pytest.raises(RecordError, match='line 2 is of frame 2, not 1'):
        list(read_records(file))


@pytest.mark.parametrize(
    'mask',
    [
        {'size': [4, 6], 'counts': [5]},
        {'size': [4, 6], 'counts': '0'},
        {'counts': '0'},
        None,
        {'size': [10**6] * 2, 'counts': [10**12]},
    ],
)
def test_a_damaged_mask_is_named_with_its_frame(tmp_path: Path, mask: object) -> None:
    write(tmp_path / 'masks.jsonl', 2)
    first, second = (tmp_path / 'masks.jsonl').read_text().splitlines()
    fields = json.loads(second)
    fields['answers'][0]['segmentation'] = mask
    (tmp_path / 'masks.jsonl').write_text(f'{first}\n{json.dumps(fields)}\n')
    _, damaged = read_records(tmp_path / 'masks.jsonl')
    with pytest.raises(RecordError, match=r'frame 1 is damaged .* --overwrite'):
        damaged.segmentations()
