from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import numpy as np
import pytest

from instructseg_ros.model.prediction import Prediction, why_not_found

SMALL = {'Box', 'Plane', 'Rectangle'}  # hold vectors of three numbers


def prediction(*, found: bool, reason: str = '') -> Prediction:
    mask = np.zeros((480, 640), bool)
    mask[:2, :5] = True
    return Prediction(
        mask=mask, probability=mask.astype(np.float32), score=0.87654, found=found, reason=reason
    )


def test_a_prediction_prints_shortly_and_no_array() -> None:
    assert repr(prediction(found=True)) == (
        'Prediction(found=True, score=0.877, 10 of 640x480 pixels)'
    )
    assert repr(prediction(found=False, reason='too faint')).endswith("reason='too faint')")


def test_predictions_are_compared_without_an_error() -> None:
    first = prediction(found=True)
    assert first == first and first != prediction(found=True) and hash(first)


def test_the_reason_names_score_threshold_and_unknown_words() -> None:
    reason = why_not_found(0.256, 0.5, ['foo', 'bar', 'x' * 90, 'fourth'])
    assert '(score 0.26, threshold 0.50)' in reason
    assert f'unknown words: "foo", "bar", "{"x" * 40}"; rephrase them' in reason
    assert 'fourth' not in reason
    assert 'unknown' not in why_not_found(0.2, 0.5, [])
    assert 'an empty mask' in why_not_found(0.9, 0.5, [], is_empty=True)


def value_types() -> Iterator[type]:
    """The dataclasses of the layers that hand values to users."""
    for layer in ('model', 'spatial', 'streaming', 'video'):
        package = importlib.import_module(f'instructseg_ros.{layer}')
        for found in pkgutil.iter_modules(package.__path__, f'{package.__name__}.'):
            module = importlib.import_module(found.name)
            for _, kind in inspect.getmembers(module, inspect.isclass):
                if dataclasses.is_dataclass(kind) and kind.__module__ == module.__name__:
                    yield kind


@pytest.mark.parametrize('kind', value_types(), ids=lambda kind: kind.__name__)
def test_no_value_prints_its_arrays(kind: type) -> None:
    shown = [
        field.name
        for field in dataclasses.fields(kind)
        if field.repr
        and ('ndarray' in str(field.type) or 'Tensor' in str(field.type))
        and 'Callable' not in str(field.type)
    ]
    is_generated = hasattr(kind.__repr__, '__wrapped__')
    assert shown == [] or not is_generated or kind.__name__ in SMALL
