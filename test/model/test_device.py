from __future__ import annotations

import pytest
import torch

from instructseg_ros.model.device import DeviceMemoryError, SideStream, Upload, on_device

CPU = torch.device('cpu')


@on_device
def modes(first: bool, *, second: bool = False) -> tuple[bool, bool, bool]:
    """What was given, and whether gradients are off."""
    return first, second, torch.is_inference_mode_enabled()


@on_device
def run_out_of_memory() -> None:
    raise torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 20.00 GiB.')


def test_work_on_a_device_runs_without_gradients_and_what_follows_with_them() -> None:
    assert modes(True, second=True) == (True, True, True)
    assert not torch.is_inference_mode_enabled()
    assert modes.__name__ == 'modes' and modes.__doc__


def test_memory_that_runs_out_is_told_with_the_remedy() -> None:
    with pytest.raises(DeviceMemoryError, match='fewer instructions or reference frames') as told:
        run_out_of_memory()
    assert isinstance(told.value, MemoryError)
    assert isinstance(told.value.__cause__, torch.cuda.OutOfMemoryError)
    assert '"int8"' in str(told.value) and '\n' not in str(told.value)
    assert not torch.is_inference_mode_enabled()


def test_other_errors_pass_as_they_are() -> None:
    @on_device
    def fail() -> None:
        raise ValueError('no picture')

    with pytest.raises(ValueError, match=r'^no picture$'):
        fail()


@torch.inference_mode()
def test_work_may_begin_where_gradients_are_off_already() -> None:
    assert modes(False) == (False, False, True)
    assert torch.is_inference_mode_enabled()


@pytest.mark.parametrize('shape', [(3, 4, 5), (1,), (0, 2)])
def test_values_arrive_on_a_cpu_as_they_are(shape: tuple[int, ...]) -> None:
    upload = Upload(CPU)
    first = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    second = first + 1
    moved = [upload(first), upload(second)]
    assert torch.equal(moved[0], first) and torch.equal(moved[1], second)
    assert all(each.device == CPU for each in moved)


def test_any_memory_layout_is_copied() -> None:
    values = torch.arange(12.0).view(3, 4).t()
    assert torch.equal(Upload(CPU)(values), values)


def test_on_a_cpu_work_beside_other_work_is_done_in_turn() -> None:
    side = SideStream(CPU)
    done: list[int] = []
    assert side.run(lambda: done.append(1) or 'first') == 'first'  # type: ignore[func-returns-value]
    side.join()
    assert side.run(lambda: len(done)) == 1
    side.join()
    side.join()


def test_work_on_the_side_that_fails_says_so_at_once() -> None:
    def fail() -> None:
        raise ValueError('no picture')

    side = SideStream(CPU)
    with pytest.raises(ValueError, match='no picture'):
        side.run(fail)
    assert side.run(lambda: 2) == 2
