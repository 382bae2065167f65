from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from ros_probe import NodeProcess, Probe
from std_msgs.msg import String

from instructseg_ros.ros.distribution import fast_dds_variable
from instructseg_ros.ros.messages import stamp_to_nanoseconds
from instructseg_ros.ros.share import share_folder
from instructseg_ros.ros.transport import CHOICE_VARIABLES, profile_environment

PROFILE = Path('fastdds.xml')


def test_the_profile_is_named_as_the_installed_version_of_fast_dds_reads_it() -> None:
    environment = profile_environment(PROFILE, {})
    assert list(environment.values()) == ['fastdds.xml']
    assert set(environment) < set(CHOICE_VARIABLES)


@pytest.mark.parametrize('variable', CHOICE_VARIABLES)
def test_what_the_user_has_chosen_stays(variable: str) -> None:
    assert profile_environment(PROFILE, {variable: 'mine'}) == {}


@pytest.fixture
def nothing_chosen(domain: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let processes start without a variable that chooses a profile or a transport."""
    for variable in CHOICE_VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.ros
@pytest.mark.usefixtures('nothing_chosen')
def test_a_pair_that_is_started_by_hand_loses_nearly_no_image(
        run_process: Callable[..., NodeProcess], tiny_model_dir: Path) -> None:
    camera = run_process('sim_camera', namespace='/pair', source='recording', rate=5.0)
    node = run_process('segmentation_node', namespace='/pair', model=tiny_model_dir, device='cpu',
                       max_age=60.0, reference_frames=0)
    node.wait_for_output('activate: done')
    probe = Probe('/pair')
    scenes: list[String] = []
    reports: list[DiagnosticArray] = []
    probe.subscribe(String, 'scene', scenes)
    probe.subscribe(DiagnosticArray, '/diagnostics', reports)
    probe.wait_for_node()
    probe.say('the red mug')
    probe.wait(lambda: scenes and any(map(received, reports)))
    first = next(report for report in reports if received(report))
    scenes.clear()
    probe.wait(lambda: len(scenes) >= 50)
    reports.clear()
    probe.wait(lambda: any(map(received, reports)))
    last = next(report for report in reports if received(report))
    start, end = (stamp_to_nanoseconds(report.header.stamp) for report in (first, last))
    sent = [scene for scene in scenes if start < json.loads(scene.data)['stamp'] < end]
    probe.close()
    assert received(last) - received(first) > 0.8 * len(sent) > 20
    assert 'deprecated' not in camera.output() + node.output()


def received(report: DiagnosticArray) -> int:
    """How many images a node has answered, or dropped for newer ones."""
    counted = ('results FOUND', 'results NOT_FOUND', 'dropped: replaced by newer ones')
    return sum(int(entry.value) for status in report.status for entry in status.values
               if entry.key in counted)


SAY = "say('', timeout=0.0)"
CLIENT = 'SegmentationClient().close()'


@pytest.mark.ros
@pytest.mark.usefixtures('nothing_chosen')
@pytest.mark.parametrize('action', [SAY, CLIENT])
@pytest.mark.parametrize('chosen', ['', *CHOICE_VARIABLES])
def test_what_speaks_to_the_node_sets_the_profile_unless_one_is_chosen(
        monkeypatch: pytest.MonkeyPatch, action: str, chosen: str) -> None:
    mine = str(share_folder() / 'config' / 'fastdds.xml')
    expected = {fast_dds_variable(): mine}
    if chosen:
        value = 'DEFAULT' if chosen.endswith('TRANSPORTS') else mine
        monkeypatch.setenv(chosen, value)
        expected = {chosen: value}
    code = ('import os\nfrom instructseg_ros.client import SegmentationClient\n'
            'from instructseg_ros.ros.say import say\n'
            f'{action}\nprint(dict(os.environ))')
    done = subprocess.run([sys.executable, '-c', code], env=dict(os.environ), check=True,
                          capture_output=True, text=True, timeout=300)
    variables = ast.literal_eval(done.stdout.splitlines()[-1])
    assert {name: variables[name] for name in CHOICE_VARIABLES if name in variables} == expected
    assert chosen or 'deprecated' not in done.stderr
