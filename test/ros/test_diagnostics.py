from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from ros_probe import NodeProcess, Probe
from std_msgs.msg import Header

pytestmark = pytest.mark.ros


def statuses(probe: Probe, namespace: str) -> dict[str, DiagnosticStatus]:
    """The newest status of each task of the node in a namespace."""
    arrays: list[DiagnosticArray] = []
    subscription = probe.node.create_subscription(
        DiagnosticArray, '/diagnostics', arrays.append, 10
    )

    def ours() -> list[DiagnosticStatus]:
        return [
            status
            for array in arrays
            for status in array.status
            if status.hardware_id.startswith(namespace)
        ]

    probe.wait(lambda: len(ours()) >= 2 * len({status.name for status in ours()}) > 0)
    probe.node.destroy_subscription(subscription)
    return {status.name: status for status in ours()}


def values(status: DiagnosticStatus) -> dict[str, str]:
    return {value.key: value.value for value in status.values}


def test_an_active_node_reports_its_model_and_its_camera(probe: Probe) -> None:
    probe.request(id='mug', instruction='the red mug')
    for _ in range(3):
        probe.answer_to(probe.show())
    probe.show(encoding='teapot8')
    probe.answer(lambda result: result.reason.startswith('image on'))
    probe.request(id='mug', instruction='the bowl')
    probe.answer(lambda result: 'active already' in result.reason)
    reports = statuses(probe, '/robot')
    model = reports['segmentation_node: segmentation']
    assert (model.level, model.message) == (DiagnosticStatus.OK, '1 active, streaming')
    seen = values(model)
    assert seen['active instructions'] == 'mug'
    assert float(seen['latency p95 (ms)']) >= float(seen['latency p50 (ms)']) > 0.0
    assert float(seen['memory (MB)']) > 50
    assert int(seen['results REJECTED']) >= 1
    assert 'encoding "teapot8" is not supported' in seen['last error']
    camera = values(reports['segmentation_node: camera'])
    assert camera['topic'] == '/robot/image'
    assert int(camera['dropped: unreadable']) >= 1


def test_a_node_without_instructions_reports_so(probe: Probe) -> None:
    model = statuses(probe, '/robot')['segmentation_node: segmentation']
    assert (model.level, model.message) == (
        DiagnosticStatus.OK,
        'no instruction is active, streaming',
    )
    assert values(model)['active instructions'] == ('none; after a restart, send commands again')


def test_stamps_far_from_the_clock_are_reported(probe: Probe) -> None:
    probe.request(id='mug', instruction='the red mug')
    probe.answer_to(probe.show())  # of 1970
    camera = statuses(probe, '/robot')['segmentation_node: camera']
    assert camera.level == DiagnosticStatus.WARN
    assert 'check the clocks and use_sim_time' in camera.message


def test_images_without_a_stamp_are_reported_with_the_remedy(probe: Probe) -> None:
    probe.request(id='mug', instruction='the red mug')
    probe.answer_to(probe.show(header=Header(frame_id='optical')))
    camera = statuses(probe, '/robot')['segmentation_node: camera']
    assert camera.level == DiagnosticStatus.WARN
    assert camera.message == (
        'images on /robot/image have no stamp (all zeros); let the camera driver set header.stamp '
        'to the time of exposure'
    )


def test_a_node_without_a_model_reports_why(
    run_process: Callable[..., NodeProcess], tmp_path: Path
) -> None:
    node = run_process('segmentation_node', namespace='/broken', model=tmp_path / 'nowhere')
    node.wait_for_output('cannot configure')
    probe = Probe('/broken')
    status = statuses(probe, '/broken')['segmentation_node: segmentation']
    probe.close()
    assert status.level == DiagnosticStatus.ERROR
    assert str(tmp_path / 'nowhere') in status.message
