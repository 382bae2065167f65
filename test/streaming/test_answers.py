from __future__ import annotations

import itertools
from typing import Any

import pytest
from color_stream import ColorModel, follow, frame, make_camera

from instructseg_ros.model.session import VideoSession
from instructseg_ros.model.video_stream import FrameTask
from instructseg_ros.streaming.active_instruction import ActiveInstruction
from instructseg_ros.streaming.camera import CameraTask, answer
from instructseg_ros.streaming.schedule import EngineSettings
from instructseg_ros.streaming.segmentation import Segmentation, Source, State

SECOND = 1_000_000_000


@pytest.fixture
def model() -> ColorModel:
    model = ColorModel()
    model.gate.set()
    return model


def ask(
    model: ColorModel,
    active: list[ActiveInstruction],
    *,
    stamp: int = SECOND,
    red: bool = True,
    reason: bool = True,
    references: int = 0,
    scale: float = 1.0,
) -> list[Segmentation]:
    ticks = itertools.count(2 * SECOND)
    frame_task = FrameTask(
        frame=frame(stamp, red=red),
        queries=active,
        to_reason=active if reason else [],
        references=[frame(stamp - back) for back in range(references, 0, -1)],
        scale=scale,
    )
    results = answer(
        VideoSession(model), [on_wrist(frame_task, dropped=7)], clock=lambda: next(ticks)
    )
    return [results[each] for each in active]


def on_wrist(task: FrameTask[ActiveInstruction], *, dropped: int = 0) -> CameraTask:
    camera = make_camera(EngineSettings(topics={'wrist': 'wrist'}), 'wrist')
    return CameraTask(camera=camera, frame_task=task, dropped=dropped)


def states(results: list[Segmentation]) -> list[str]:
    return [result.state.name for result in results]


def test_all_instructions_go_through_the_model_in_one_batch_and_keep_their_order(
    model: ColorModel,
) -> None:
    active = [follow('find green'), follow('find red'), follow('the red')]
    results = ask(model, active)
    assert [result.instruction for result in results] == [each.instruction for each in active]
    assert states(results) == ['NOT_FOUND', 'FOUND', 'FOUND']
    assert model.batches == model.decoded == [['find green', 'find red', 'the red']]
    assert model.encoded == 1


def test_an_answer_tells_where_it_is_from_and_how_long_it_took(model: ColorModel) -> None:
    [result] = ask(model, [follow()], references=2)
    assert (result.camera, result.header, result.dropped) == ('wrist', ('header', SECOND), 7)
    assert (result.source, result.mask_age, result.reference_frames) == (Source.INFERRED, 0.0, 2)
    assert result.image is not None and result.mask is not None and result.probability is not None
    assert result.timing is not None
    assert (result.timing.captured, result.timing.started) == (SECOND, 2 * SECOND)
    assert result.timing.finished > result.timing.started
    assert result.timing.latency >= 0.0


def test_the_model_sees_the_references_and_the_scale_of_the_plan(model: ColorModel) -> None:
    ask(model, [follow()], references=3, scale=0.75)
    assert (model.references, model.scales, model.encoded) == ([3], [0.75], 4)


def test_without_reasoning_a_new_frame_is_decoded_with_the_last_embedding(
    model: ColorModel,
) -> None:
    active = follow()
    ask(model, [active], references=2)
    [result] = ask(model, [active], stamp=3 * SECOND, reason=False)
    assert (result.state, result.source) == (State.FOUND, Source.PROPAGATED)
    assert (result.mask_age, result.reference_frames) == (2.0, 2)
    assert result.header == ('header', 3 * SECOND)
    assert (len(model.batches), len(model.decoded), model.encoded) == (1, 2, 3)
    assert ask(model, [active], stamp=4 * SECOND)[0].mask_age == 0.0


def test_a_batch_may_hold_new_instructions_beside_old_ones(model: ColorModel) -> None:
    old, new = follow('find red'), follow('the red')
    ask(model, [old])
    task = FrameTask(frame=frame(2 * SECOND), queries=[old, new], to_reason=[new])
    results = answer(VideoSession(model), [on_wrist(task)], clock=lambda: 0)
    assert [(results[each].source, results[each].mask_age) for each in (old, new)] == [
        (Source.PROPAGATED, 1.0),
        (Source.INFERRED, 0.0),
    ]
    assert model.batches[-1] == ['the red']
    assert model.decoded[-1] == ['find red', 'the red']


def test_an_instruction_is_prepared_once(model: ColorModel) -> None:
    active = follow()
    ask(model, [active])
    active.prompt_text = 'see red'
    ask(model, [active])
    assert model.batches == [['find red'], ['see red']]


@pytest.mark.parametrize('bad', ['explode red', 'doubt red'])
def test_one_that_fails_does_not_keep_the_others_from_their_answers(
    model: ColorModel, bad: str
) -> None:
    results = ask(model, [follow('find red'), follow(bad), follow('find green')])
    assert states(results) == ['FOUND', 'FAILED', 'NOT_FOUND']
    assert results[1].reason.startswith('the model failed: ')
    assert results[1].header == ('header', SECOND) and results[1].timing is not None
    assert results[1].mask is None and results[1].source is Source.NONE


def test_one_that_fails_is_kept_apart_afterwards(model: ColorModel) -> None:
    active = [follow('find red'), follow('explode red'), follow('find green')]
    ask(model, active)
    assert model.batches == [
        ['find red', 'explode red', 'find green'],
        ['find red'],
        ['explode red'],
        ['find green'],
    ]
    model.batches.clear()
    results = ask(model, active)
    assert states(results) == ['FOUND', 'FAILED', 'NOT_FOUND']
    assert model.batches == [['find red', 'find green'], ['explode red']]


def test_one_that_works_again_comes_back_to_the_others(model: ColorModel) -> None:
    active = [follow('explode red'), follow('find green')]
    ask(model, active)
    model.explosive = False
    assert states(ask(model, active)) == ['FOUND', 'NOT_FOUND']
    model.batches.clear()
    assert states(ask(model, active)) == ['FOUND', 'NOT_FOUND']
    assert model.batches == [['explode red', 'find green']]


def test_all_of_them_may_fail(model: ColorModel) -> None:
    active = [follow('explode red'), follow('explode green')]
    for _ in range(2):
        assert states(ask(model, active)) == ['FAILED', 'FAILED']
    model.explosive = False
    assert states(ask(model, active)) == ['FOUND', 'NOT_FOUND']


def test_one_that_was_tried_twice_on_a_frame_remembers_its_target_once(model: ColorModel) -> None:
    active = [follow('find red'), follow('doubt red')]
    tracks = {ask(model, active)[0].track_id for _ in range(3)}
    assert len(tracks) == 1 and tracks != {0}


def test_one_that_could_not_be_read_anew_is_not_answered_with_what_it_meant_before(
    model: ColorModel,
) -> None:
    model.explosive = False
    active = follow('explode red')
    ask(model, [active], stamp=9 * SECOND)
    model.explosive = True
    [result] = ask(model, [active], stamp=SECOND)  # time jumped back
    assert result.state is State.FAILED
    # The language model runs next for queries without an embedding.
    assert active.embedding is None


def test_memory_that_runs_out_is_not_the_fault_of_an_instruction(model: ColorModel) -> None:
    model.room = -1
    active = follow()
    with pytest.raises(MemoryError):
        ask(model, [active, follow('find green')])
    assert not active.failed
    assert states(ask(model, [active])) == ['FOUND']


def test_memory_that_runs_out_when_one_is_tried_alone_is_reported_as_well(
    model: ColorModel,
) -> None:
    active = [follow('explode red'), follow('find green')]
    ask(model, active)
    model.room = -1
    with pytest.raises(MemoryError):
        ask(model, active)


def test_a_target_is_released_only_below_the_lower_threshold(model: ColorModel) -> None:
    model.threshold, model.release_threshold = 0.6, 0.4
    active = follow()
    states_of_scores = []
    for score in (0.5, 0.7, 0.5, 0.3, 0.5):
        model.score = score
        [result] = ask(model, [active])
        states_of_scores.append(result.state.name)
        assert (result.track_id > 0) is (result.state is State.FOUND)
        assert result.score == score
    assert states_of_scores == ['NOT_FOUND', 'FOUND', 'FOUND', 'NOT_FOUND', 'NOT_FOUND']


def test_each_instruction_has_a_target_of_its_own(model: ColorModel) -> None:
    first, second = ask(model, [follow('find red'), follow('the red')])
    assert first.track_id != second.track_id


def test_an_embedding_is_kept_with_its_stamp_and_number_of_references(model: ColorModel) -> None:
    active = follow()
    ask(model, [active], references=1)
    assert active.embedding is not None
    assert (active.reasoned_at, active.reference_frames) == (SECOND, 1)


def test_the_reason_of_a_model_that_fails_names_no_address(model: ColorModel) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError(f'cannot use {object()}')

    model.decode = fail  # type: ignore[method-assign]
    [result] = ask(model, [follow()])
    assert result.reason == 'the model failed: RuntimeError: cannot use <object object>'
