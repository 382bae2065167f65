from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import GetParameters
from ros_nodes import active_node
from ros_probe import TIMEOUT, NodeProcess, Probe

from instructseg_ros.cli.main import main
from instructseg_ros.model.model_files import ModelError, find_model, write_manifest
from instructseg_ros.msg import Command, Segmentation
from instructseg_ros.ros.transport import localhost_setting
from instructseg_ros.ros.use_command import checked_model, take_node_name

ROBOT = ['--ros-args', '-r', '__ns:=/changing']
NODE = '/changing/segmentation_node'
STRICT = 0.98
PATIENCE = ['--timeout', str(TIMEOUT)]


def use(model: object, *ros_args: str) -> int:
    return main(['use', str(model), *PATIENCE, *(ros_args or ROBOT)])


def change_config(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Change the configuration of a model, with a valid manifest."""
    config = json.loads((folder / 'config.json').read_text())
    change(config)
    (folder / 'config.json').write_text(json.dumps(config))
    write_manifest(folder)
    return folder


def embedded_threshold() -> str:
    """Return the words with which results name the threshold of the embedded model."""
    config = json.loads((find_model('embedded') / 'config.json').read_text())
    return f'threshold {config["score_threshold"]:.2f}'


@pytest.fixture
def strict_model(tmp_path: Path) -> Path:
    """The embedded model with another threshold, which its results name."""
    folder = tmp_path / 'strict'
    shutil.copytree(find_model('embedded'), folder)
    return change_config(folder, lambda config: config.update(score_threshold=STRICT))


@pytest.fixture
def unloadable_model(tiny_model_dir: Path, tmp_path: Path) -> Path:
    """A model whose files are complete, but whose weights do not fit its configuration."""
    folder = tmp_path / 'unloadable'
    shutil.copytree(tiny_model_dir, folder)

    def widen(config: dict[str, Any]) -> None:
        config['text_config']['intermediate_size'] *= 2

    return change_config(folder, widen)


@pytest.fixture
def damaged_model(tiny_model_dir: Path, tmp_path: Path) -> Path:
    """A model with a file that is not the one in its manifest."""
    folder = tmp_path / 'damaged'
    shutil.copytree(tiny_model_dir, folder)
    write_manifest(folder)
    (folder / 'config.json').write_text('{}')
    return folder


@pytest.fixture(scope='module')
def changing(domain: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node whose model the tests change."""
    output = tmp_path_factory.mktemp('changing') / 'output.txt'
    with active_node(output, '/changing') as node:
        yield node


@pytest.fixture
def probe(changing: NodeProcess) -> Iterator[Probe]:
    """A probe of the node, which is active with the embedded model and follows a mug."""
    probe = Probe('/changing')
    try:
        probe.wait_for_node()
        probe.begin_test()
        probe.request(id='mug', instruction='the red mug', slot=Command.PERSON)
        assert embedded_threshold() in probe.show_until_answered().reason
        yield probe
    finally:
        probe.close()
    if model_of(changing) != 'embedded':
        assert use('embedded') == 0
    assert changing.process.poll() is None, changing.output()


def model_of(node: NodeProcess) -> str:
    """Return the parameter `model` of the node."""
    asking = Probe('/changing')
    try:
        request = GetParameters.Request(names=['model'])
        response = asking.call(GetParameters, f'{NODE}/get_parameters', request)
        return str(response.values[0].string_value)
    finally:
        asking.close()


def state_of(probe: Probe) -> int:
    return int(probe.call(GetState, f'{NODE}/get_state', GetState.Request()).current_state.id)


def change_state(probe: Probe, transition: int) -> None:
    request = ChangeState.Request(transition=Transition(id=transition))
    assert probe.call(ChangeState, f'{NODE}/change_state', request).success


@pytest.mark.ros
def test_an_active_node_runs_another_model_for_the_same_instruction(
    changing: NodeProcess,
    probe: Probe,
    strict_model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(strict_model.parent)
    probe.results.clear()
    assert use(strict_model.name) == 0
    assert capsys.readouterr().out == (
        f'{NODE} is active with the model {strict_model} (before: embedded)\n'
    )
    result = probe.show_until_answered()
    assert f'threshold {STRICT}' in result.reason
    assert (result.command_id, result.instruction) == ('mug', 'the red mug')

    assert use('embedded') == 0
    result = probe.show_until_answered()
    assert embedded_threshold() in result.reason
    assert result.command_id == 'mug'
    probe.settle()
    assert not [each for each in probe.results if each.final]


@pytest.mark.ros
def test_observers_learn_that_the_instruction_waits_and_its_slot_can_be_stopped_afterwards(
    changing: NodeProcess, probe: Probe
) -> None:
    probe.results.clear()
    assert use('embedded') == 0
    waiting = probe.answer()
    assert (waiting.state, waiting.command_id) == (Segmentation.FAILED, 'mug')
    assert 'it continues this instruction when it is activated again' in waiting.reason
    assert not waiting.final
    probe.wait_for_node()
    probe.request(slot=Command.PERSON)
    ended = probe.answer(lambda result: result.final)
    assert (ended.state, ended.command_id) == (Segmentation.EXPIRED, 'mug')


@pytest.mark.ros
def test_an_inactive_node_stays_inactive_and_gets_no_ended_instruction_back(
    changing: NodeProcess, probe: Probe, strict_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change_state(probe, Transition.TRANSITION_DEACTIVATE)
    assert probe.answer(lambda result: result.final).command_id == 'mug'
    assert use(strict_model) == 0
    assert capsys.readouterr().out == (
        f'{NODE} is inactive with the model {strict_model} (before: embedded); to activate it: '
        f'ros2 lifecycle set {NODE} activate\n'
    )
    assert state_of(probe) == State.PRIMARY_STATE_INACTIVE
    assert use('embedded') == 0
    change_state(probe, Transition.TRANSITION_ACTIVATE)
    probe.wait_for_node()
    probe.results.clear()
    probe.show()
    probe.settle()
    assert probe.results == []


@pytest.mark.ros
@pytest.mark.parametrize('is_there', [True, False])
def test_a_damaged_or_missing_folder_is_refused_and_the_node_is_left_alone(
    changing: NodeProcess,
    probe: Probe,
    damaged_model: Path,
    capsys: pytest.CaptureFixture[str],
    is_there: bool,
) -> None:
    before = changing.output()
    folder = damaged_model if is_there else damaged_model / 'missing'
    assert use(folder) == 1
    error = capsys.readouterr().err
    assert error.startswith('error: ')
    assert str(folder) in error
    assert error.count('\n') == 1
    result = probe.show_until_answered()
    assert (result.command_id, result.state) == ('mug', Segmentation.NOT_FOUND)
    assert 'deactivate' not in changing.output().removeprefix(before)
    assert model_of(changing) == 'embedded'


@pytest.mark.ros
def test_a_node_that_cannot_load_the_model_gets_its_old_one_and_its_instruction_back(
    changing: NodeProcess, probe: Probe, unloadable_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert use(unloadable_model) == 1
    error = capsys.readouterr().err
    assert error.startswith(f'error: {NODE}: cannot configure: {unloadable_model}')
    assert error.endswith(f'. {NODE} is active with its old model embedded again\n')
    assert error.count('\n') == 1
    probe.results.clear()
    result = probe.show_until_answered()
    assert embedded_threshold() in result.reason
    assert result.command_id == 'mug'


@pytest.mark.ros
def test_an_inactive_node_that_cannot_load_the_model_is_inactive_with_its_old_one(
    changing: NodeProcess, probe: Probe, unloadable_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change_state(probe, Transition.TRANSITION_DEACTIVATE)
    assert use(unloadable_model) == 1
    assert 'is inactive with its old model embedded again' in capsys.readouterr().err
    assert state_of(probe) == State.PRIMARY_STATE_INACTIVE
    change_state(probe, Transition.TRANSITION_ACTIVATE)


@pytest.mark.ros
def test_a_node_that_could_not_load_its_first_model_starts_with_another_one(
    run_process: Callable[..., NodeProcess],
    unloadable_model: Path,
    tiny_model_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    node = run_process(
        'segmentation_node', namespace='/failed', model=unloadable_model, device='cpu'
    )
    node.wait_for_output('cannot configure')
    failed = ['--ros-args', '-r', '__ns:=/failed']
    assert use(unloadable_model, *failed) == 1
    assert 'is unconfigured as before' in capsys.readouterr().err
    assert use(tiny_model_dir, *failed) == 0
    assert 'is active with the model' in capsys.readouterr().out
    assert 'activate: done' in node.output()


@pytest.mark.ros
@pytest.mark.usefixtures('domain')
@pytest.mark.parametrize('is_local', [True, False])
def test_without_a_node_the_error_names_it_and_the_remedy_for_networks_without_multicast(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, is_local: bool
) -> None:
    name, value = localhost_setting()
    monkeypatch.setenv(name, value if is_local else '')
    rules = ['--ros-args', '-r', '__ns:=/nobody', '-r', '__node:=eye']
    assert main(['use', 'embedded', '--timeout', '0.2', *rules]) == 1
    error = capsys.readouterr().err
    assert 'no node offers /nobody/eye/change_state' in error
    assert (f'set {name}={value} for every process' in error) is not is_local


@pytest.mark.parametrize(
    ('rules', 'name', 'others'),
    [
        ([], 'segmentation_node', []),
        (['-r', '__ns:=/robot'], 'segmentation_node', ['-r', '__ns:=/robot']),
        (['-r', '__node:=eye', '-r', '__ns:=/robot'], 'eye', ['-r', '__ns:=/robot']),
        (['--remap', 'segmentation_node:__name:=eye'], 'eye', []),
    ],
)
def test_the_name_of_the_node_is_taken_from_its_ros_arguments(
    rules: list[str], name: str, others: list[str]
) -> None:
    assert take_node_name(['--ros-args', *rules]) == (name, ['--ros-args', *others])


def test_a_relative_folder_is_made_absolute_and_a_name_is_kept(
    tiny_model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_model_dir.parent)
    assert checked_model(tiny_model_dir.name) == str(tiny_model_dir)
    assert checked_model('embedded') == 'embedded'


def test_a_damaged_model_is_refused_before_a_node_is_looked_for(damaged_model: Path) -> None:
    with pytest.raises(ModelError, match=r'config\.json does not have the hash'):
        checked_model(str(damaged_model))
