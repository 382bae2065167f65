from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.node import Node
from ros_probe import TIMEOUT, NodeProcess, Probe, wait_until

from instructseg_ros.msg import Segmentation
from instructseg_ros.ros import node_runner

pytestmark = pytest.mark.ros

Run = Callable[..., NodeProcess]
SEEN = (Segmentation.FOUND, Segmentation.NOT_FOUND)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_node_silently(
    run_process: Run, tiny_model_dir: Path, number: int
) -> None:
    before = shared_memory()
    node = run_process('segmentation_node', model=tiny_model_dir, device='cpu')
    node.wait_for_output('activate: done')
    mine = mapped(node.process.pid) & shared_memory() - before
    assert mine
    assert node.stop(number) == 0
    assert node.output().rstrip().endswith('activate: done')
    assert not mine & shared_memory()


def shared_memory() -> set[str]:
    """Shared-memory files of Fast DDS for participants, not for ports."""
    names = {file.name for file in Path('/dev/shm').iterdir()}
    return {
        name for name in names if name.startswith(('fastdds_', 'fastrtps_')) and 'port' not in name
    }


def mapped(process: int) -> set[str]:
    """Names of the files that a process has in its memory."""
    return {Path(line.split()[-1]).name for line in Path(f'/proc/{process}/maps').open()}


def open_files(process: int) -> set[str]:
    names = set()
    for file in Path(f'/proc/{process}/fd').iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed in the meantime
            names.add(Path(os.readlink(file)).name)
    return names


@pytest.mark.parametrize(
    ('parameters', 'complaint'),
    [
        ({'threshold': 7.0}, 'threshold'),
        ({'threshold': 'high'}, 'threshold'),
        ({'max_text_length': 0}, 'max_text_length'),
    ],
)
def test_a_parameter_that_cannot_be_ends_the_node_with_one_line(
    run_process: Run, parameters: dict[str, Any], complaint: str
) -> None:
    node = run_process('segmentation_node', **parameters)
    assert node.process.wait(TIMEOUT) == 1
    assert node.output().startswith('error: ')
    assert complaint in node.output()
    assert 'Traceback' not in node.output()


def test_a_missing_model_leaves_the_node_running_and_names_the_remedy(run_process: Run) -> None:
    node = run_process('segmentation_node', model='/nowhere', device='cpu')
    node.wait_for_output('cannot configure')
    assert '/nowhere' in node.output()
    assert 'ros2 lifecycle set /segmentation_node configure' in node.output()
    assert node.stop() == 0
    assert 'Traceback' not in node.output()


def test_a_missing_camera_and_a_camera_that_stops_are_reported(
    run_process: Run, tiny_model_dir: Path
) -> None:
    node = run_process(
        'segmentation_node',
        namespace='/quiet',
        model=tiny_model_dir,
        device='cpu',
        image_timeout=0.5,
        max_age=60.0,
    )
    node.wait_for_output('activate: done')
    probe = Probe('/quiet')
    probe.wait_for_node()
    probe.request(id='early', instruction='the red mug')
    never = probe.answer()
    assert (never.state, never.command_id) == (Segmentation.FAILED, 'early')
    assert 'no image has arrived on /quiet/image' in never.reason
    header = probe.show()
    # On a busy machine the camera may have stopped before its image is answered.
    probe.wait(lambda: len(probe.results) == 2)
    [seen] = [result for result in probe.results if result.header == header]
    [stopped] = [result for result in probe.results if result is not seen]
    assert (seen.command_id, seen.state in SEEN) == ('early', True)
    assert (stopped.state, stopped.final) == (Segmentation.FAILED, False)
    assert 'on /quiet/image; check that the camera still runs' in stopped.reason
    probe.spin(1.0)
    assert len(probe.results) == 2
    probe.close()
    assert node.stop() == 0


def test_without_autostart_services_walk_the_node(run_process: Run, tiny_model_dir: Path) -> None:
    node = run_process(
        'segmentation_node', namespace='/walk', model=tiny_model_dir, device='cpu', autostart=False
    )
    probe = Probe('/walk')
    client = probe.node.create_client(ChangeState, 'segmentation_node/change_state')
    for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
        probe.wait(client.service_is_ready)
        future = client.call_async(ChangeState.Request(transition=Transition(id=transition)))
        probe.wait(future.done)
        assert future.result().success
    probe.wait_for_node()
    probe.close()
    assert node.stop() == 0


def test_long_instructions_are_not_logged_in_full(run_process: Run, tiny_model_dir: Path) -> None:
    node = run_process('segmentation_node', namespace='/quiet', model=tiny_model_dir, device='cpu')
    node.wait_for_output('activate: done')
    probe = Probe('/quiet')
    probe.wait_for_node()
    secret = 'the letter on my desk that nobody else should know of, '
    for text in (secret * 7, secret * 100, f'<{"secret" * 50}>', secret * 3 + '\x07'):
        probe.insist(instruction=text, cameras=['front'] if text == secret * 7 else [])
    probe.request(id='good', instruction=secret * 7)
    probe.answer_to(probe.show())
    probe.close()
    assert 'REJECTED' in node.output()
    assert secret not in node.output() and 'secret' * 10 not in node.output()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_model_loads_ends_the_node_before_it_is_active(
    run_process: Run, tiny_model_dir: Path, number: int
) -> None:
    node = run_process('segmentation_node', model=tiny_model_dir, device='cpu')
    # Loading a model begins with torch.
    wait_until(lambda: any('libtorch_cpu' in name for name in mapped(node.process.pid)))
    assert node.stop(number) == 0
    assert 'configure: aborted, the process was asked to stop' in node.output()
    assert 'done' not in node.output()
    assert 'ERROR' not in node.output() and 'Traceback' not in node.output()


@pytest.mark.usefixtures('domain')
@pytest.mark.parametrize(
    'stage',
    [
        'instructseg_ros.model.modeling.InstructSegModel.from_pretrained',
        'instructseg_ros.model.segmenter.pack_linear_layers',
        'instructseg_ros.model.segmenter.Segmenter.segment',
    ],
)
def test_the_first_signal_ends_the_node_in_the_middle_of_each_stage_of_loading(
    tmp_path: Path, tiny_model_dir: Path, stage: str
) -> None:
    log = tmp_path / 'log.txt'
    with log.open('w') as stream:
        process = subprocess.Popen(
            [
                sys.executable,
                '-c',
                SLOW_LOADING,
                stage,
                '--ros-args',
                '-p',
                f'model:={tiny_model_dir}',
                '-p',
                'device:=cpu',
            ],
            stdout=stream,
            stderr=stream,
        )
    try:
        wait_until(lambda: 'still at it' in log.read_text())
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT) == 0
    finally:
        process.kill()
    assert 'configure: aborted, the process was asked to stop' in log.read_text()
    assert 'ERROR' not in log.read_text() and 'Traceback' not in log.read_text()


SLOW_LOADING = """
import sys
import time
from unittest.mock import patch
from instructseg_ros.ros.segmentation_node import main


def never_done(*args, **options):
    print('still at it', flush=True)
    while True:
        try:
            time.sleep(0.01)
        except Exception:  # as a library that handles errors would
            pass


with patch(sys.argv.pop(1), never_done):
    sys.exit(main())
"""


def test_a_signal_ends_the_node_while_the_files_of_a_model_are_read(
    run_process: Run, tiny_model_dir: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_model_dir, tmp_path / 'model'))
    (folder / 'SHA256SUMS').write_text(f'{"0" * 64}  vast.safetensors\n')
    with (folder / 'vast.safetensors').open('w') as file:
        file.truncate(2**42)
    node = run_process('segmentation_node', model=folder, device='cpu')
    wait_until(lambda: 'vast.safetensors' in open_files(node.process.pid))
    assert node.stop() == 0
    assert 'configure: aborted, the process was asked to stop' in node.output()
    assert 'ERROR' not in node.output() and 'Traceback' not in node.output()


NEVER_READY = """
import os
from dataclasses import dataclass
from rclpy.node import Node
from instructseg_ros.ros.node_runner import run_node


@dataclass
class NoParameters:
    pass


class NeverReady(Node):
    def __init__(self) -> None:
        super().__init__('never_ready')
        print('loading', flush=True)
        os.read(os.pipe()[0], 1)


run_node(NeverReady, name='never_ready', about='', table=NoParameters)
"""


@pytest.mark.usefixtures('domain')
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_a_node_at_once(tmp_path: Path, number: int) -> None:
    log = tmp_path / 'log.txt'
    with log.open('w') as stream:
        process = subprocess.Popen(
            [sys.executable, '-c', NEVER_READY], stdout=stream, stderr=stream
        )
    wait_until(lambda: 'loading' in log.read_text())
    process.send_signal(number)
    process.send_signal(number)  # as when a terminal and a parent process pass on one Ctrl-C

    def end() -> bool:
        process.send_signal(number)
        return process.poll() is not None

    wait_until(end)
    assert process.returncode == 128 + number
    assert log.read_text() == 'loading\n'


@pytest.mark.parametrize(
    ('module', 'parameter'), [('segmentation_node', 'schedule'), ('sim_camera', 'source')]
)
def test_help_is_printed_and_no_participant_of_dds_is_made(
    module: str, parameter: str, tmp_path: Path
) -> None:
    program = Path(sys.executable).parent / module
    # Without a folder for logs, ROS would not start.
    environment = {**os.environ, 'ROS_LOG_DIR': '/proc/nowhere'}
    for flag in ('-h', '--help'):
        done = subprocess.run(
            [program, flag],
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=True,
        )
        assert done.stdout.startswith(f'usage: {module} ')
        assert f'\n  {parameter} (default ' in done.stdout
        for word in ('-p NAME:=VALUE', '--params-file', 'docs/parameters.md'):
            assert word in done.stdout
        assert not done.stderr


@pytest.mark.parametrize('module', ['segmentation_node', 'sim_camera'])
def test_an_argument_that_would_have_no_effect_is_refused(module: str) -> None:
    program = Path(sys.executable).parent / module
    done = subprocess.run(
        [program, '--model', 'mine'], capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 2
    assert 'unrecognized arguments: --model mine' in done.stderr
    assert '--ros-args [-p NAME:=VALUE]' in done.stderr


@pytest.mark.parametrize(
    'command', [['segmentation_node'], ['sim_camera'], ['instructseg', 'send', 'the red mug']]
)
@pytest.mark.parametrize('folder', ['HOME', 'ROS_LOG_DIR'])
def test_without_a_folder_for_logs_the_error_names_the_variable_that_sets_it(
    command: list[str], folder: str
) -> None:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ('HOME', 'ROS_LOG_DIR', 'ROS_HOME')
    }
    if folder == 'ROS_LOG_DIR':
        environment['ROS_LOG_DIR'] = '/proc/nowhere'
    program = Path(sys.executable).parent / command[0]
    done = subprocess.run(
        [program, *command[1:]],
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 1
    assert 'set ROS_LOG_DIR to a writable folder' in done.stderr
    assert 'Traceback' not in done.stderr


@pytest.mark.parametrize('module', ['segmentation_node', 'sim_camera'])
def test_two_nodes_of_one_name_are_warned_of_with_the_remedy(run_process: Run, module: str) -> None:
    parameters: dict[str, Any] = (
        {'autostart': False} if module == 'segmentation_node' else {'source': 'recording'}
    )
    alone = run_process(module, namespace='/alone', **parameters)
    twins = [run_process(module, namespace='/twins', **parameters) for _ in range(2)]
    for twin in twins:
        twin.wait_for_output(f'another node with the name /twins/{module} is running')
        assert '-r __node:=NAME' in twin.output()
    assert 'another node' not in alone.output()


@pytest.mark.parametrize(
    ('module', 'wrong', 'right'),
    [('segmentation_node', 'treshold', 'threshold'), ('sim_camera', 'scence', 'scene')],
)
def test_a_misspelt_parameter_is_warned_of_with_the_nearest_right_name(
    run_process: Run, tmp_path: Path, module: str, wrong: str, right: str
) -> None:
    options: dict[str, Any] = {'autostart': False, 'source': 'recording', 'use_sim_time': False}
    del options['source' if module == 'segmentation_node' else 'autostart']
    node = run_process(module, **{wrong: 1}, **options)
    node.wait_for_output(
        f'the parameter "{wrong}" has no effect: the node has no parameter of that name; '
        f'did you mean "{right}"?'
    )
    assert node.output().count('has no effect') == 1


@pytest.mark.usefixtures('domain')
def test_a_misspelt_parameter_of_a_file_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / 'mine.yaml'
    file.write_text(
        '/**:\n  ros__parameters:\n    sorce: live\n    xyzzy: 1\n'
        '    source: recording\n    qos_overrides: {/image: {publisher: {depth: 2}}}\n'
    )
    log = tmp_path / 'log.txt'
    with log.open('w') as stream:
        process = subprocess.Popen(
            [Path(sys.executable).parent / 'sim_camera', '--ros-args', '--params-file', file],
            stdout=stream,
            stderr=stream,
        )
    wait_until(lambda: 'frames come from' in log.read_text())
    process.send_signal(signal.SIGINT)
    assert process.wait(TIMEOUT) == 0
    assert '"sorce" has no effect' in log.read_text() and 'mean "source"?' in log.read_text()
    assert '"xyzzy" has no effect' in log.read_text()
    assert '"sim_camera --help" lists all parameters' in log.read_text()
    assert log.read_text().count('has no effect') == 2


@pytest.mark.usefixtures('domain')
def test_a_failing_callback_is_logged_and_the_node_keeps_running(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(node_runner, 'STOP_REQUESTED', threading.Event())
    calls: list[None] = []

    def fail() -> None:
        calls.append(None)
        if len(calls) == 3:
            node_runner.STOP_REQUESTED.set()
        raise OSError('file \udcff missing')

    rclpy.init()
    node = Node('failing')
    node.create_timer(0.01, fail)
    node_runner._spin(node)
    node.destroy_node()
    rclpy.try_shutdown()
    assert len(calls) == 3
    assert 'a callback failed; the node keeps running: OSError: file \ufffd missing' in ''.join(
        capfd.readouterr()
    )


@pytest.mark.usefixtures('domain')
def test_a_file_whose_parameters_are_for_another_node_is_warned_of(tmp_path: Path) -> None:
    mine, misspelt = tmp_path / 'mine.yaml', tmp_path / 'misspelt.yaml'
    mine.write_text('/**/sim_camera: {ros__parameters: {source: recording}}')
    misspelt.write_text('/table/sim_camra: {ros__parameters: {rate: 2.0}}')
    log = tmp_path / 'log.txt'
    with log.open('w') as stream:
        process = subprocess.Popen(
            [
                Path(sys.executable).parent / 'sim_camera',
                '--ros-args',
                '-r',
                '__ns:=/table',
                '--params-file',
                mine,
                '--params-file',
                misspelt,
            ],
            stdout=stream,
            stderr=stream,
        )
    wait_until(lambda: 'has no effect' in log.read_text())
    process.send_signal(signal.SIGINT)
    assert process.wait(TIMEOUT) == 0
    assert (
        f'{misspelt} has no effect: it has parameters for /table/sim_camra, and this node is '
        '/table/sim_camera'
    ) in log.read_text()
    assert log.read_text().count('has no effect') == 1
