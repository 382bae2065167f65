from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from small_models import SmallModel, compact_model

from instructseg_ros.model.checkpoints import load_model
from instructseg_ros.model.model_files import ModelError, find_model, write_manifest
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.precision import Precision
from instructseg_ros.model.segmenter import Segmenter

WEIGHTS = 'model.safetensors'
Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope='module')
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small model that loads."""
    folder = tmp_path_factory.mktemp('sound')
    small = compact_model()
    small.model.save_pretrained(folder)
    small.processor.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A copy of the folder, to be damaged."""
    return Path(shutil.copytree(sound, tmp_path / 'model'))


def refused(model: str | Path) -> str:
    """The message that a model is refused with."""
    with pytest.raises(ModelError) as refusal:
        Segmenter.from_pretrained(str(model), device='cpu')
    message = str(refusal.value)
    assert '\n' not in message and len(message) < 600
    return message


def assert_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    captured = capfd.readouterr()
    assert captured.out == '' and captured.err == ''


def change_weights(folder: Path, change: Callable[[Tensors], object]) -> None:
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS, {'format': 'pt'})


def test_a_complete_folder_loads_without_output(
    sound: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model, processor = load_model(find_model(str(sound)))
    assert_quiet(capfd)
    assert not model.training
    assert model.config.image_tokens == processor.config.image_tokens
    assert all(p.device.type == 'cpu' for p in model.parameters())


@pytest.mark.parametrize(
    'name',
    ['/no/such/folder', 'no/such', 'nosuch', 'a b?', '~/no such', '~nobody-here/model', 'x' * 300],
)
def test_a_missing_folder_is_named_with_the_remedy(
    name: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    message = refused(name)
    assert name in message
    assert 'existing folder' in message and '"embedded"' in message
    assert_quiet(capfd)


def test_a_file_is_not_a_model_folder(folder: Path) -> None:
    assert str(folder / 'config.json') in refused(folder / 'config.json')


@pytest.mark.parametrize('name', ['config.json', 'processor_config.json'])
def test_a_folder_without_a_description_is_no_model_folder(folder: Path, name: str) -> None:
    (folder / name).unlink()
    message = refused(folder)
    assert str(folder) in message and name in message and 'save_pretrained' in message


def test_a_folder_without_weights_is_refused_with_the_remedy(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    message = refused(folder)
    assert str(folder) in message and WEIGHTS in message and 'copy' in message


def test_a_folder_without_its_tokenizer_does_not_load(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / 'tokenizer.json').unlink()
    message = refused(folder)
    assert str(folder) in message and 'Copy the whole folder again' in message
    assert_quiet(capfd)


@pytest.mark.parametrize('share', [0.0, 0.001, 0.5, 0.999])
def test_truncated_weights_are_named(
    folder: Path, share: float, capfd: pytest.CaptureFixture[str]
) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: int(len(content) * share)])
    message = refused(folder)
    assert str(folder / WEIGHTS) in message
    assert 'truncated' in message and 'again' in message
    assert_quiet(capfd)


@pytest.mark.parametrize('pinned', [False, True])
@pytest.mark.parametrize(
    'name', [WEIGHTS, 'config.json', 'processor_config.json', 'tokenizer.json']
)
def test_a_pointer_of_git_lfs_is_named_with_its_remedy_alone(
    folder: Path, name: str, pinned: bool
) -> None:
    if pinned:
        write_manifest(folder)
    (folder / name).write_text('version https://git-lfs.github.com/spec/v1\noid sha256:0\n')
    assert refused(folder) == (
        f'{folder / name} is only a git-lfs pointer: run `git lfs pull` in {folder}.'
    )


@pytest.mark.parametrize('pinned', [False, True])
def test_files_that_macos_writes_next_to_those_of_a_model_are_not_read(
    folder: Path, pinned: bool
) -> None:
    if pinned:
        write_manifest(folder)
    for name in (WEIGHTS, 'config.json'):
        (folder / f'._{name}').write_bytes(b'\0\5\x16\7')
    model, _ = load_model(find_model(str(folder)))
    assert not model.training


def test_a_downloaded_checkpoint_of_the_authors_is_refused_with_the_command_that_converts_it(
    folder: Path,
) -> None:
    (folder / 'processor_config.json').unlink()
    (folder / 'config.json').write_text('{"model_type": "mipha_phi"}')
    assert 'instructseg convert' in refused(folder)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Let every connection fail; gives the addresses that were asked for."""
    asked: list[object] = []

    def connect(_: socket.socket, address: object) -> None:
        asked.append(address)
        raise OSError('no network')

    monkeypatch.setattr(socket.socket, 'connect', connect)
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    return asked


def test_a_model_is_loaded_by_folder_or_hub_id_without_a_network(
    sound: Path, no_network: list[object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path))
    downloaded = tmp_path / 'models--someone--small'
    (downloaded / 'refs').mkdir(parents=True)
    (downloaded / 'refs' / 'main').write_text('0' * 40)
    shutil.copytree(sound, downloaded / 'snapshots' / ('0' * 40))
    load_model(find_model(str(sound)))
    load_model(find_model('someone/small'))
    assert 'loading never uses the network' in refused('someone/other')
    assert no_network == []


def test_a_missing_tensor_is_named(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    change_weights(folder, lambda tensors: tensors.pop('seg_query_projector.bias'))
    message = refused(folder)
    assert 'missing' in message and 'seg_query_projector.bias' in message
    assert str(folder) in message and 'copy the whole folder again' in message
    assert_quiet(capfd)


def test_an_extra_tensor_is_named(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    change_weights(folder, lambda tensors: tensors.update(stranger=torch.zeros(3)))
    message = refused(folder)
    assert 'unexpected' in message and 'stranger' in message
    assert_quiet(capfd)


def test_a_tensor_of_another_shape_is_named(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wrong = {'seg_query_projector.weight': torch.zeros(7, 3)}
    change_weights(folder, lambda tensors: tensors.update(wrong))
    message = refused(folder)
    assert 'mismatched' in message and 'seg_query_projector.weight' in message
    assert_quiet(capfd)


def test_weights_of_another_configuration_do_not_load(folder: Path) -> None:
    values = json.loads((folder / 'config.json').read_text())
    values['mask_config']['num_queries'] += 1
    (folder / 'config.json').write_text(json.dumps(values))
    assert 'mismatched' in refused(folder)


@pytest.mark.parametrize('name', ['config.json', 'processor_config.json', 'tokenizer.json'])
@pytest.mark.parametrize('text', ['', '{"model_type": "instructseg",', '[1, 2]', '\x00\xff'])
def test_a_damaged_description_does_not_load(
    folder: Path, name: str, text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / name).write_text(text)
    message = refused(folder)
    assert str(folder) in message and 'Copy the whole folder again' in message
    assert_quiet(capfd)


@pytest.mark.parametrize('name', ['vision_size', 'image_tokens', 'num_latents', 'num_queries'])
def test_a_processor_of_another_model_does_not_load(folder: Path, name: str) -> None:
    values = json.loads((folder / 'processor_config.json').read_text())
    values[name] += 1
    (folder / 'processor_config.json').write_text(json.dumps(values))
    message = refused(folder)
    assert f'{name} {values[name]}' in message and 'Copy the whole folder again' in message


@pytest.mark.parametrize('values', [{}, {'model_type': 'bert'}, {'model_type': 'llava'}])
def test_a_model_of_another_type_is_refused_before_it_takes_memory(
    folder: Path, values: dict[str, str]
) -> None:
    (folder / 'config.json').write_text(json.dumps(values))
    message = refused(folder)
    assert str(folder) in message and 'instructseg' in message


def test_a_missing_part_of_the_weights_does_not_load(folder: Path, tmp_path: Path) -> None:
    small = compact_model()
    small.model.save_pretrained(folder, max_shard_size='40KB')
    (folder / WEIGHTS).unlink(missing_ok=True)
    load_model(find_model(str(folder)))
    part = sorted(folder.glob('model-*.safetensors'))[1]
    part.unlink()
    message = refused(folder)
    assert str(folder) in message and 'Copy the whole folder again' in message


@pytest.mark.parametrize('device', ['gpu', 'cuda:99', '', 'tpu:0', 'meta', 'cpu:x'])
def test_an_unknown_device_is_named_with_the_remedy(
    sound: Path, device: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError) as refusal:
        Segmenter.from_pretrained(str(sound), device=device)
    message = str(refusal.value)
    assert f'"{device}"' in message and '"cpu"' in message and '\n' not in message
    assert_quiet(capfd)


def test_a_threshold_given_by_name_comes_before_the_models_own(sound: Path) -> None:
    own = Segmenter.from_pretrained(str(sound), device='cpu')
    given = Segmenter.from_pretrained(str(sound), device='cpu', threshold=0.125)
    assert own.threshold == 0.5 and given.threshold == 0.125
    assert own.name == str(sound)


HALF = Precision(dtype=torch.bfloat16, language=torch.bfloat16)
MIXED = Precision(language=torch.bfloat16)
LANGUAGE_SIDE = ('vision_tower', 'projector', 'language_model')


def dtypes(model: InstructSegModel, *, language: bool) -> set[torch.dtype]:
    """Number formats of the parameters on one of the two sides."""
    return {
        parameter.dtype
        for name, parameter in model.named_parameters()
        if name.startswith(LANGUAGE_SIDE) == language
    }


def saved(small: SmallModel, folder: Path) -> Path:
    small.model.save_pretrained(folder)
    small.processor.save_pretrained(folder)
    return folder


def assert_near(model: InstructSegModel, small: SmallModel) -> None:
    """Masks and scores, of a still image and of moving ones, are those of float32 but for noise."""
    for references in (0, 2):
        inputs = small.inputs(references=references)
        prompt = small.prompt('the red mug', references=references)
        with torch.no_grad():
            mine, exact = (part(**inputs, prompt=prompt).final for part in (model, small.model))
        for name in ('mask_logits', 'score_logits'):
            noise = (getattr(mine, name).float() - getattr(exact, name)).abs().mean()
            assert noise < 0.2 * getattr(exact, name).std()


@pytest.mark.parametrize('precision', [None, HALF, MIXED], ids=['none', 'half', 'mixed'])
def test_a_model_is_loaded_in_the_precision_that_is_asked_for(
    small: SmallModel, precision: Precision | None, tmp_path: Path
) -> None:
    model, _ = load_model(saved(small, tmp_path), precision)
    precision = precision or Precision()
    assert dtypes(model, language=True) == {precision.language}
    assert dtypes(model, language=False) == {precision.dtype}
    assert_near(model, small)


@pytest.mark.parametrize('precision', [None, HALF, MIXED], ids=['none', 'half', 'mixed'])
def test_rotary_frequencies_stay_in_float32(
    small: SmallModel, precision: Precision | None, tmp_path: Path
) -> None:
    model, _ = load_model(saved(small, tmp_path), precision)
    mine, its = (x.language_model.rotary_emb.inv_freq for x in (model, small.model))
    assert mine.dtype == torch.float32 and torch.equal(mine, its)


def test_a_model_saved_in_half_precision_is_loaded_in_float32(
    released: SmallModel, tmp_path: Path
) -> None:
    half, processor = load_model(saved(released, tmp_path / 'full'), MIXED)
    folder = saved(SmallModel(model=half, processor=processor), tmp_path / 'half')
    model, _ = load_model(folder)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert_near(model, released)
