from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import Reader

from instructseg_ros.tabletop.world.mujoco_model import OpenGLError
from instructseg_ros.tabletop.world.recording import (
    SHIPPED,
    TOPICS,
    Recording,
    RecordingError,
    main,
    record,
    render_frames,
)

SCENES = (684, 1749)


@pytest.fixture(scope='module')
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('recording') / 'small.mcap'
    try:
        record(path, scenes=SCENES, seconds=1.0, rate=4.0, width=96, height=72)
    except OpenGLError as error:
        pytest.skip(str(error))
    return path


def test_truth_has_a_topic_of_its_own_in_recordings(small: Path) -> None:
    with Reader(small) as reader:
        assert set(reader.topics) == set(TOPICS)
        assert '/camera/truth/labels' in reader.topics
        assert '/camera/labels' not in reader.topics


def test_what_was_recorded_comes_back(small: Path) -> None:
    written = [
        seen for _, seen in render_frames(SCENES, seconds=1.0, rate=4.0, width=96, height=72)
    ]
    with Recording(small) as recording:
        read = list(recording)
    assert len(read) == len(written) == 8
    for before, after in zip(written, read, strict=True):
        assert before.depth is not None and after.depth is not None
        assert before.labels is not None and after.labels is not None
        assert np.array_equal(before.rgb, after.rgb)
        assert np.array_equal(before.labels, after.labels)
        assert np.allclose(before.depth, after.depth, atol=1e-3)
        assert after.depth.dtype == np.float32
        assert after.graph == before.graph
        assert after.pinhole == before.pinhole


def test_it_is_observed_like_a_tabletop_and_repeats_itself(small: Path) -> None:
    with Recording(small) as recording:
        assert recording.rate == pytest.approx(4.0)
        assert recording.duration == pytest.approx(2.0)
        all_frames = [seen.rgb for seen in recording]
        for time, number in ((0.0, 0), (0.3, 1), (1.9, 7), (2.0, 0), (-0.1, 7), (100.6, 2)):
            seen = recording.observe(time)
            assert np.array_equal(seen.rgb, all_frames[number])
            assert seen.time == time


def test_without_truth_only_the_image_is_read(small: Path) -> None:
    with Recording(small) as recording:
        seen = recording.observe(0.5, truth=False)
        assert seen.depth is None and seen.labels is None and seen.graph == ()
        assert np.array_equal(seen.rgb, recording.observe(0.5).rgb)


def test_a_missing_recording_names_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r'instructseg_ros\.tabletop\.world\.record'):
        Recording(tmp_path / 'none.mcap')


def test_a_truncated_recording_is_refused(small: Path, tmp_path: Path) -> None:
    broken = tmp_path / 'broken.mcap'
    broken.write_bytes(small.read_bytes()[:3000])
    with pytest.raises(RecordingError, match='not a readable'):
        Recording(broken)


def test_any_other_file_is_refused(tmp_path: Path) -> None:
    other = tmp_path / 'other.mcap'
    other.write_bytes(b'something else entirely')
    with pytest.raises(RecordingError, match='not a readable'):
        Recording(other)


def test_the_shipped_recording_is_small_and_shows_objects_of_all_sorts() -> None:
    assert SHIPPED.stat().st_size < 5e6
    with Recording() as recording:
        seen = [recording.observe(time) for time in np.arange(1.0, recording.duration, 2.0)]
    objects = [obj for frame in seen for obj in frame.graph]
    assert seen[0].rgb.shape == (480, 640, 3)
    assert len({obj.category for obj in objects}) >= 12
    assert len({obj.color for obj in objects}) >= 8
    assert any(t.motion for t in objects)
    assert any(t.on for t in objects) and any(t.inside for t in objects)


def test_a_command_makes_no_scenes_of_another_length_than_players_expect(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(['--output', str(tmp_path / 'short.mcap'), '--seconds', '1'])
    assert '--seconds' in capsys.readouterr().err


def test_reset_starts_at_another_scene() -> None:
    with Recording() as recording:
        first = recording.observe(0.0, truth=False)
        recording.reset(1)
        second = recording.observe(0.0, truth=False)
        recording.reset(round(recording.duration / 8))
        assert np.array_equal(first.rgb, recording.observe(0.0, truth=False).rgb)
    assert not np.array_equal(first.rgb, second.rgb)
