from __future__ import annotations

import pytest
import torch

from instructseg_ros.model.device import DeviceMemoryError, SideStream, on_device, upload

CPU = torch.device('cpu')


@on_device
def modes(first: bool, *, second: bool = False) -> tuple[bool, bool, bool]:
    """Return the arguments, and whether gradients are off."""
    return first, second, torch.is_inference_mode_enabled()


@on_device
def run_out_of_memory() -> None:
    raise torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 20.00 GiB.')


def test_work_on_a_device_runs_without_gradients_and_later_work_with_them() -> None:
    assert modes(True, second=True) == (True, True, True)
    assert not torch.is_inference_mode_enabled()
    assert modes.__name__ == 'modes' and modes.__doc__


def test_running_out_of_memory_is_reported_with_the_remedy() -> None:
    with pytest.raises(
        DeviceMemoryError, match='fewer instructions or reference frames'
    ) as refusal:
        run_out_of_memory()
    assert isinstance(refusal.value, MemoryError)
    assert isinstance(refusal.value.__cause__, torch.cuda.OutOfMemoryError)
    assert '"int8"' in str(refusal.value) and '\n' not in str(refusal.value)
    assert not torch.is_inference_mode_enabled()


def test_other_errors_pass_unchanged() -> None:
    @on_device
    def fail() -> None:
        raise ValueError('no image')

    with pytest.raises(ValueError, match=r'^no image$'):
        fail()


@torch.inference_mode()
def test_work_may_begin_where_gradients_are_off_already() -> None:
    assert modes(False) == (False, False, True)
    assert torch.is_inference_mode_enabled()


@pytest.mark.parametrize('shape', [(3, 4, 5), (1,), (0, 2)])
def test_values_arrive_on_a_cpu_unchanged(shape: tuple[int, ...]) -> None:
    values = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    moved = upload(values, CPU)
    assert torch.equal(moved, values) and moved.device == CPU


def test_on_a_cpu_side_work_runs_immediately() -> None:
    side = SideStream(CPU)
    done: list[int] = []
    assert side.run(lambda: done.append(1) or 'first') == 'first'  # type: ignore[func-returns-value]
    side.join()
    assert side.run(lambda: len(done)) == 1
    side.join()
    side.join()


def test_an_error_of_side_work_is_raised_at_once() -> None:
    def fail() -> None:
        raise ValueError('no image')

    side = SideStream(CPU)
    with pytest.raises(ValueError, match='no image'):
        side.run(fail)
    assert side.run(lambda: 2) == 2
