from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from ros_probe import TIMEOUT, NodeProcess, Probe

from instructseg_ros.msg import Segmentation

pytestmark = pytest.mark.ros

Run = Callable[..., NodeProcess]
SEEN = (Segmentation.FOUND, Segmentation.NOT_FOUND)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_node_without_a_word(
        run_process: Run, tiny_model_dir: Path, number: int) -> None:
    before = shared_memory()
    node = run_process('segmentation_node', model=tiny_model_dir, device='cpu')
    node.wait_for_output('activate: done')
    mine = mapped(node.process.pid) & shared_memory() - before
    assert mine
    assert node.stop(number) == 0
    assert node.output().rstrip().endswith('activate: done')
    assert not mine & shared_memory()


def shared_memory() -> set[str]:
    """What Fast DDS (eProsima's Fast RTPS up to Jazzy) keeps of participants, not of ports."""
    names = {file.name for file in Path('/dev/shm').iterdir()}
    return {name for name in names
            if name.startswith(('fastdds_', 'fastrtps_')) and 'port' not in name}


def mapped(process: int) -> set[str]:
    """Names of the files that a process has in its memory."""
    return {Path(line.split()[-1]).name for line in Path(f'/proc/{process}/maps').open()}


@pytest.mark.parametrize(('parameters', 'complaint'), [
    ({'threshold': 7.0}, 'threshold'),
    ({'threshold': 'high'}, 'threshold'),
    ({'max_text_length': 0}, 'max_text_length'),
])
def test_a_parameter_that_cannot_be_ends_the_node_with_one_line(
        run_process: Run, parameters: dict[str, Any], complaint: str) -> None:
    node = run_process('segmentation_node', **parameters)
    assert node.process.wait(TIMEOUT) == 1
    assert node.output().startswith('error: ')
    assert complaint in node.output()
    assert 'Traceback' not in node.output()


def test_a_missing_model_leaves_the_node_alive_and_says_what_to_do(run_process: Run) -> None:
    node = run_process('segmentation_node', model='/nowhere', device='cpu')
    node.wait_for_output('cannot configure')
    assert '/nowhere' in node.output()
    assert 'ros2 lifecycle set /segmentation_node configure' in node.output()
    assert node.stop() == 0
    assert 'Traceback' not in node.output()


def test_a_camera_that_is_not_there_yet_and_one_that_stops_are_told(
        run_process: Run, tiny_model_dir: Path) -> None:
    node = run_process('segmentation_node', namespace='/quiet', model=tiny_model_dir,
                       device='cpu', image_timeout=0.5, max_age=60.0)
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


def test_without_autostart_services_walk_the_node(
        run_process: Run, tiny_model_dir: Path) -> None:
    node = run_process('segmentation_node', namespace='/walk', model=tiny_model_dir,
                       device='cpu', autostart=False)
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


def test_what_people_say_is_not_logged_in_full(
        run_process: Run, tiny_model_dir: Path) -> None:
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
