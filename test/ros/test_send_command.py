from __future__ import annotations

import threading

import pytest
from ros_probe import TIMEOUT, NodeProcess, Probe
from sensor_msgs.msg import RegionOfInterest

from instructseg_ros.cli.main import main
from instructseg_ros.msg import Segmentation
from instructseg_ros.ros.send_command import describe, send
from instructseg_ros.ros.transport import localhost_setting

ROBOT = ['--ros-args', '-r', '__ns:=/robot']


def test_a_found_target_is_described_with_its_box_and_age() -> None:
    message = Segmentation(
        state=Segmentation.FOUND,
        score=0.93,
        area=412,
        region_of_interest=RegionOfInterest(x_offset=10, y_offset=20, width=30, height=40),
    )
    message.header.stamp.sec = 1
    assert describe(message, now=1_120_000_000) == (
        'FOUND, score 0.93: 412 pixels in 30 x 40 at (10, 20), 120 ms after the image'
    )


def test_a_result_without_a_target_is_described_with_its_reason() -> None:
    message = Segmentation(state=Segmentation.REJECTED, reason='the instruction is empty')
    assert describe(message, now=0) == 'REJECTED: the instruction is empty'


@pytest.mark.ros
def test_a_result_is_printed_and_the_exit_status_is_0(
    robot: NodeProcess, probe: Probe, capsys: pytest.CaptureFixture[str]
) -> None:
    status: list[int] = []
    sender = threading.Thread(
        target=lambda: status.append(send('the red mug', timeout=TIMEOUT, ros_args=ROBOT))
    )
    sender.start()
    while sender.is_alive():
        probe.show()
        probe.spin(0.1)
    assert status == [0]
    assert capsys.readouterr().out.startswith(('FOUND', 'NOT_FOUND'))


@pytest.mark.ros
def test_a_rejected_instruction_is_printed_and_the_exit_status_is_1(
    robot: NodeProcess, probe: Probe, capsys: pytest.CaptureFixture[str]
) -> None:
    assert send('the [SEG] mug', timeout=TIMEOUT, ros_args=ROBOT) == 1
    assert 'reserved for the model' in capsys.readouterr().out


@pytest.mark.ros
@pytest.mark.parametrize('arguments', [[''], ['--stop']])
def test_stopping_ends_the_previous_instruction_and_no_other(
    robot: NodeProcess, probe: Probe, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    probe.request(id='program', instruction='the bowl')
    probe.send_text('the red mug')
    header = probe.show()
    for _ in range(2):
        probe.answer_to(header)
    command = ['send', *arguments, '--timeout', str(TIMEOUT), *ROBOT]
    assert main(command) == 0
    # The first result may have been published before this subscription was discovered.
    assert capsys.readouterr().out in (
        'stopped: the red mug\n',
        'no instruction is active in slot "person"\n',
    )
    ended = probe.answer(lambda result: result.final)
    assert (ended.instruction, ended.state) == ('the red mug', Segmentation.EXPIRED)
    assert probe.answer_to(probe.show()).command_id == 'program'
    assert main(command) == 0
    assert capsys.readouterr().out == 'no instruction is active in slot "person"\n'


@pytest.mark.ros
@pytest.mark.usefixtures('domain')
def test_without_a_subscriber_the_error_names_the_topic(capsys: pytest.CaptureFixture[str]) -> None:
    ros_args = ['--ros-args', '-r', '__ns:=/nobody']
    assert send('the red mug', timeout=0.2, ros_args=ros_args) == 1
    assert '/nobody/command_request' in capsys.readouterr().err


@pytest.mark.ros
@pytest.mark.usefixtures('domain')
@pytest.mark.parametrize('is_set', [True, False])
def test_without_a_subscriber_the_error_names_the_remedy_for_networks_without_multicast(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, is_set: bool
) -> None:
    name, value = localhost_setting()
    monkeypatch.setenv(name, value if is_set else '')
    ros_args = ['--ros-args', '-r', '__ns:=/nobody']
    assert send('the red mug', timeout=0.2, ros_args=ros_args) == 1
    assert (f'set {name}={value} for every process' in capsys.readouterr().err) is not is_set
