from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from ros_probe import TIMEOUT, NodeProcess

from instructseg_ros.ros.send_command import send


@pytest.mark.ros
@pytest.mark.usefixtures('domain')
def test_without_a_model_an_instruction_is_answered_failed_with_the_reason(
    run_process: Callable[..., NodeProcess], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / 'abacus'
    node = run_process('segmentation_node', namespace='/modelless', model=model, device='cpu')
    node.wait_for_output('cannot configure')
    ros_args = ['--ros-args', '-r', '__ns:=/modelless']
    assert send('the red mug', timeout=TIMEOUT, ros_args=ros_args) == 1
    answer = capsys.readouterr().out
    assert answer.startswith('FAILED: cannot configure') and str(model) in answer
    assert send('', timeout=TIMEOUT, ros_args=ros_args) == 1
    assert capsys.readouterr().out == answer
    assert node.stop() == 0
    assert 'Traceback' not in node.output()
