from __future__ import annotations

import pytest
from color_stream import follow, frame, make_camera

from instructseg_ros.model.video_stream import ComputeBudget
from instructseg_ros.streaming.schedule import EngineSettings, Schedule

SECOND = 1_000_000_000


@pytest.mark.parametrize('rate', [5, 10, 15, 30, 60, 200])
@pytest.mark.parametrize('reference_frames', [1, 2, 4, 8])
def test_a_buffer_holds_all_references_of_a_camera_of_any_rate(
    rate: int, reference_frames: int
) -> None:
    settings = EngineSettings(reference_frames=reference_frames, reference_stride=0.2)
    buffer = make_camera(settings).stream.frames
    stride = SECOND // 5
    for number in range(4 * rate):
        buffer.add(frame(number * SECOND // rate))
    newest = buffer.newest(now=0.0, max_age=1.0)
    assert newest is not None
    chosen = buffer.references(newest, count=reference_frames, stride=stride)
    assert len(chosen) == reference_frames
    for back, each in zip(range(reference_frames, 0, -1), chosen, strict=True):
        assert newest.stamp - each.stamp == pytest.approx(back * stride, abs=stride / 4 + 1)


@pytest.mark.parametrize('reference_frames', [0, 1, 4])
def test_a_fast_camera_needs_no_more_memory_than_a_slow_one(reference_frames: int) -> None:
    settings = EngineSettings(reference_frames=reference_frames, reference_stride=0.2)
    buffer = make_camera(settings).stream.frames
    for number in range(1000):
        buffer.add(frame(number * SECOND // 1000))
    assert len(buffer) <= 4 * reference_frames + 4


def test_each_camera_has_a_state_of_its_own() -> None:
    settings = EngineSettings(
        topics={'front': '/front/image', 'wrist': '/wrist/image'}, image_timeout=1.5
    )
    front, wrist = (make_camera(settings, name) for name in settings.topics)
    assert (front.name, front.topic, front.image_timeout) == ('front', '/front/image', 1.5)
    assert wrist.topic == '/wrist/image'
    front.add(frame(1))
    assert (len(front.stream.frames), len(wrist.stream.frames)) == (1, 0)


@pytest.mark.parametrize(
    ('schedule', 'budget'),
    [
        (Schedule.EXACT, ComputeBudget(reference_frames=2)),
        (Schedule.FIXED_REFERENCES, ComputeBudget(reference_frames=2, refresh_every=7)),
        (Schedule.TWO_RATE, ComputeBudget(reference_frames=2, reason_every=5)),
        (Schedule.AUTO, ComputeBudget(reference_frames=2)),
    ],
)
def test_the_budget_follows_the_schedule(schedule: Schedule, budget: ComputeBudget) -> None:
    settings = EngineSettings(
        schedule=schedule, reference_frames=2, reason_every=5, refresh_every=7
    )
    assert settings.make_rate_controller().budget == budget


@pytest.mark.parametrize(
    ('schedule', 'leaves'),
    [
        (Schedule.EXACT, False),
        (Schedule.FIXED_REFERENCES, False),
        (Schedule.TWO_RATE, False),
        (Schedule.AUTO, True),
    ],
)
def test_only_auto_leaves_its_budget(schedule: Schedule, leaves: bool) -> None:
    controller = EngineSettings(schedule=schedule, target_rate=10.0).make_rate_controller()
    first = controller.budget
    for _ in range(100):
        controller.note(1.0)
    assert (controller.budget != first) is leaves


@pytest.mark.parametrize(('rate', 'latency'), [(30.0, 0.0), (1.0, 0.04)])
def test_auto_holds_the_targets_of_the_settings(rate: float, latency: float) -> None:
    settings = EngineSettings(schedule=Schedule.AUTO, target_rate=rate, target_latency=latency)
    controller = settings.make_rate_controller()
    assert any(controller.note(0.05) for _ in range(20))


@pytest.mark.parametrize(('longest', 'shown'), [(None, [20, 30]), (3.0, [10, 25])])
def test_frames_read_further_apart_are_shown_up_to_the_longest_stride(
    longest: float | None, shown: list[int]
) -> None:
    settings = EngineSettings(
        reference_frames=2, reference_stride=1.0, max_reference_stride=longest
    )
    camera = make_camera(settings)
    budget = settings.make_rate_controller().budget
    references: list[int] = []
    for tenths in range(0, 45, 5):
        camera.add(frame(tenths * SECOND // 10))
        if tenths in (10, 25, 40):
            camera.active = [follow()]
            work = camera.next_task(now=0.0, budget=budget)
            assert work is not None
            references = [each.stamp * 10 // SECOND for each in work.frame_task.references]
    assert references == shown
