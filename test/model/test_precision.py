from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from instructseg_ros.cli import arguments
from instructseg_ros.model import DTYPES, precision
from instructseg_ros.model.model_files import ModelError
from instructseg_ros.model.precision import Precision, choose_device, choose_precision, is_large
from instructseg_ros.ros import segmentation_parameters

CPU, CUDA = torch.device('cpu'), torch.device('cuda')

FULL_PRECISION = Precision(dtype=torch.float32, language=torch.float32)
BFLOAT16 = Precision(dtype=torch.bfloat16, language=torch.bfloat16)


def let_bfloat16_be_computed(monkeypatch: pytest.MonkeyPatch, computed: bool) -> None:
    monkeypatch.setattr(precision, 'computes_bfloat16', lambda device: computed)
    let_onednn_have_bfloat16(monkeypatch, computed)


def let_onednn_have_bfloat16(monkeypatch: pytest.MonkeyPatch, has_it: bool = True) -> None:
    monkeypatch.setattr(precision, 'onednn_has_bfloat16', lambda: has_it)


def refused(name: str, device: torch.device = CPU, *, large: bool = False) -> str:
    with pytest.raises(ModelError) as refusal:
        choose_precision(name, device, large=large)
    return str(refusal.value)


@pytest.mark.parametrize('device', [CPU, CUDA])
@pytest.mark.parametrize('computed', [True, False])
def test_a_small_model_is_float32_of_itself(
    device: torch.device, computed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_bfloat16_be_computed(monkeypatch, computed)
    assert choose_precision('auto', device, large=False) == FULL_PRECISION


@pytest.mark.parametrize(
    ('device', 'board', 'computed', 'expected'),
    [
        (CPU, False, True, BFLOAT16),
        (CPU, False, False, FULL_PRECISION),
        (CUDA, False, True, Precision(language=torch.bfloat16)),
        (CUDA, False, False, Precision(language=torch.float16)),
        (CUDA, True, True, BFLOAT16),
        (CUDA, True, False, Precision(language=torch.float16)),
    ],
)
def test_a_large_model_is_as_narrow_as_its_device_computes_well(
    device: torch.device,
    board: bool,
    computed: bool,
    expected: Precision,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    let_bfloat16_be_computed(monkeypatch, computed)
    monkeypatch.setattr(precision, '_is_board', lambda device: board)
    assert choose_precision('auto', device, large=True) == expected


@pytest.mark.parametrize(
    ('device', 'computed', 'language'),
    [
        (CPU, True, torch.bfloat16),
        (CPU, False, torch.bfloat16),
        (CUDA, True, torch.bfloat16),
        (CUDA, False, torch.float16),
    ],
)
def test_mixed_is_half_precision_of_the_language_side_alone(
    device: torch.device, computed: bool, language: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_bfloat16_be_computed(monkeypatch, computed)
    mixed = choose_precision('mixed', device, large=False)
    assert mixed == Precision(dtype=torch.float32, language=language)


@pytest.mark.parametrize('large', [False, True])
@pytest.mark.parametrize('device', [CPU, CUDA])
@pytest.mark.parametrize('board', [False, True])
def test_int8_computes_in_the_format_that_the_device_computes_well(
    device: torch.device, board: bool, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_bfloat16_be_computed(monkeypatch, True)
    monkeypatch.setattr(precision, '_is_board', lambda device: board)
    computed = choose_precision('auto', device, large=large)
    assert not computed.int8
    assert choose_precision('int8', device, large=large) == dataclasses.replace(computed, int8=True)


@pytest.mark.parametrize('device', [CPU, CUDA])
@pytest.mark.parametrize('board', [False, True])
def test_int8_is_never_computed_in_float16_which_cannot_hold_its_sums(
    device: torch.device, board: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_bfloat16_be_computed(monkeypatch, False)
    monkeypatch.setattr(precision, '_is_board', lambda device: board)
    expected = dataclasses.replace(FULL_PRECISION, int8=True)
    assert choose_precision('int8', device, large=True) == expected


@pytest.mark.parametrize('name', ['float32', 'bfloat16', 'float16'])
@pytest.mark.parametrize('size', [False, True])
def test_a_format_that_is_named_is_that_of_the_whole_model(
    name: str, size: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_onednn_have_bfloat16(monkeypatch)
    dtype = getattr(torch, name)
    expected = Precision(dtype=dtype, language=dtype)
    assert choose_precision(name, CUDA, large=size) == expected
    if name != 'float16':
        assert choose_precision(name, CPU, large=size) == expected


def test_float16_on_a_cpu_is_refused_with_the_remedy() -> None:
    message = refused('float16')
    assert 'float16' in message and 'CPU' in message and '"bfloat16"' in message


@pytest.mark.parametrize('name', ['bfloat16', 'mixed'])
def test_a_large_model_in_bfloat16_is_refused_by_a_cpu_that_has_only_loops_for_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_onednn_have_bfloat16(monkeypatch, False)
    message = refused(name, large=True)
    assert name in message and 'CPU' in message and '"float32"' in message
    choose_precision(name, CPU, large=False)


@pytest.mark.parametrize('large', [False, True])
@pytest.mark.parametrize('device', [CPU, CUDA])
def test_float16_weights_are_computed_in_float32_everywhere(
    device: torch.device, large: bool
) -> None:
    chosen = choose_precision('float16_weights', device, large=large)
    assert chosen == dataclasses.replace(FULL_PRECISION, rounded=True)
    assert chosen.name == 'float32 of float16 weights'


def test_commands_and_node_offer_every_dtype_and_a_few_short_names() -> None:
    assert segmentation_parameters.DTYPES is DTYPES
    assert {*arguments.DTYPES} == {*DTYPES, 'fp32', 'bf16', 'fp16'}
    assert {*arguments.DTYPES.values()} == {*DTYPES}


@pytest.mark.parametrize('name', ['', 'fp16', 'half', 'int4', 'Float32', 'float64', '__name__'])
def test_an_unknown_format_is_refused_with_the_choices(name: str) -> None:
    for device in (CPU, CUDA):
        message = refused(name, device)
        assert f'"{name}"' in message and all(dtype in message for dtype in DTYPES)


@pytest.mark.parametrize(
    ('text', 'computed'),
    [
        ('processor : 0\nflags\t\t: fpu avx2 avx512_bf16 amx_tile\nvmx flags : x\n', True),
        ('flags\t\t: fpu amx_bf16\n', True),
        ('Features\t: fp asimd bf16 i8mm\n', True),
        ('flags\t\t: fpu avx2 avx512f avx512bw\nvmx flags : avx512_bf16\n', False),
        ('Features\t: fp asimd\n', False),
        ('flags\t\t: fpu avx512_bf16_not\n', False),
        ('', False),
    ],
)
def test_the_flags_of_a_cpu_show_whether_it_computes_in_bfloat16(
    text: str, computed: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / 'cpuinfo'
    file.write_text(text)
    let_onednn_have_bfloat16(monkeypatch)
    monkeypatch.setattr(precision, 'Path', lambda _: file)
    expected = BFLOAT16 if computed else FULL_PRECISION
    assert choose_precision('auto', CPU, large=True) == expected


def test_a_system_that_does_not_describe_its_cpu_gets_float32(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    let_onednn_have_bfloat16(monkeypatch)
    monkeypatch.setattr(precision, 'Path', lambda _: tmp_path / 'cpuinfo')
    assert choose_precision('auto', CPU, large=True) == FULL_PRECISION


@pytest.mark.parametrize(
    ('capability', 'expected'),
    [
        ((7, 2), Precision(language=torch.float16)),
        ((7, 5), Precision(language=torch.float16)),
        ((8, 0), BFLOAT16),
        ((8, 7), BFLOAT16),
        ((12, 0), BFLOAT16),
    ],
)
def test_a_gpu_computes_in_bfloat16_from_ampere_on(
    capability: tuple[int, int], expected: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, 'get_device_capability', lambda device: capability)
    monkeypatch.setattr(precision, '_is_board', lambda device: True)
    assert choose_precision('auto', CUDA, large=True) == expected


def test_a_model_is_large_by_all_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, '_LARGE', 42)
    assert not is_large(tmp_path)
    for name, size in [('a.safetensors', 30), ('config.json', 90), ('._a.safetensors', 30)]:
        (tmp_path / name).write_bytes(bytes(size))
    assert not is_large(tmp_path)
    (tmp_path / 'b.safetensors').write_bytes(bytes(12))
    assert is_large(tmp_path)


def test_a_device_is_there_without_being_named() -> None:
    assert choose_device('auto').type in {'cpu', 'cuda'}
    assert choose_device('cpu') == CPU


@pytest.mark.parametrize(
    'name', ['gpu', '', 'meta', 'CPU', 'cpu:x', 'cuda:99', 'hpu', 'a\nb', 'x' * 300]
)
def test_a_device_that_is_not_there_is_refused_with_the_remedy(name: str) -> None:
    with pytest.raises(ModelError) as refusal:
        choose_device(name)
    message = str(refusal.value)
    assert f'"{name}"' in message and '"auto"' in message and '"cpu"' in message
