from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from typing import Any

import pytest
from color_stream import ColorModel, frame

from instructseg_ros.model.frame_buffer import Frame
from instructseg_ros.model.prediction import Prediction
from instructseg_ros.model.query import Query
from instructseg_ros.model.session import VideoSession
from instructseg_ros.model.video_stream import ComputeBudget, FrameTask, ReferencePolicy


@pytest.fixture
def model() -> ColorModel:
    model = ColorModel()
    model.gate.set()
    return model


def session_of(model: Any, **options: Any) -> VideoSession:
    return VideoSession(model, **options)


def queries(*texts: str) -> list[Query]:
    return [Query(text=text) for text in texts]


def task(
    shown: Frame, given: Sequence[Query], references: Sequence[Frame] = ()
) -> FrameTask[Query]:
    return FrameTask(frame=shown, queries=given, to_reason=given, references=references)


def found(result: Prediction | Exception) -> bool:
    assert isinstance(result, Prediction)
    return result.found


def test_the_tasks_of_several_streams_are_one_batch(model: ColorModel) -> None:
    first, second = queries('find red', 'find green'), queries('find red')
    [results] = session_of(model).step([task(frame(1), first), task(frame(2, red=False), second)])
    assert [query for _, query, _ in results] == [*first, *second]
    assert [found(result) for _, _, result in results] == [True, False, False]
    assert model.batches == model.decoded == [['find red', 'find green', 'find red']]


def test_a_frame_that_is_its_own_reference_is_encoded_once(model: ColorModel) -> None:
    shown = frame(1)
    list(session_of(model).step([task(shown, queries('find red'), [shown])]))
    assert model.encoded == 1


@pytest.mark.parametrize(('moves', 'encoded'), [(False, 3 + 1), (True, 3 + 3)])
def test_reference_frames_are_encoded_again_only_if_the_camera_moves(
    model: ColorModel, moves: bool, encoded: int
) -> None:
    model.moves = moves
    first, second, third, fourth = map(frame, (1, 2, 3, 4))
    session = session_of(model)
    list(session.step([task(third, queries('find red'), [first, second])]))
    list(session.step([task(fourth, queries('find red'), [second, third])]))
    assert model.encoded == encoded
    assert model.references == [2, 2]
    assert (first.features is None) == moves


def test_many_queries_of_a_frame_take_several_passes_but_one_of_the_pixels(
    model: ColorModel,
) -> None:
    given = queries('find red', 'find green', 'see red', 'see green', 'the red')
    [results] = session_of(model, queries_per_pass=2).step([task(frame(1), given)])
    assert [query for _, query, _ in results] == given
    assert [found(result) for _, _, result in results] == [True, False, True, False, True]
    assert [len(batch) for batch in model.batches] == [2, 2, 1]
    assert (len(model.scales), model.encoded) == (1, 1)


def test_a_failure_holds_nothing_of_the_attempt(
    model: ColorModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Tensor:
        pass

    made: list[weakref.ref[Tensor]] = []

    def fail(*_: Any, **__: Any) -> Any:
        tensor = Tensor()
        made.append(weakref.ref(tensor))
        raise RuntimeError('broken')

    monkeypatch.setattr(model, 'decode', fail)
    [[(_, query, error)]] = session_of(model).step([task(frame(1), queries('find red'))])
    gc.collect()
    assert isinstance(error, RuntimeError) and str(error) == 'broken'
    assert query.failed and query.embedding is None
    assert [tensor() for tensor in made] == [None]


def test_clearing_a_session_releases_what_was_computed_for_streams_and_queries(
    model: ColorModel,
) -> None:
    session = session_of(model, policy=ReferencePolicy(count=2))
    stream, [query] = session.open_stream(), queries('find red')
    shown = frame(1)
    stream.frames.add(shown)
    list(session.step([stream.plan(shown, [query], ComputeBudget())]))
    assert shown.features is not None and query.embedding is not None
    session.clear()
    assert shown.features is None and query.embedding is None


def test_streams_and_queries_leave_a_session_when_nothing_else_holds_them(
    model: ColorModel,
) -> None:
    session = session_of(model)
    stream, given = session.open_stream(), queries('find red')
    list(session.step([task(frame(1), given)]))
    left = [weakref.ref(stream), weakref.ref(given[0])]
    del stream, given
    gc.collect()
    assert [each() for each in left] == [None, None]
