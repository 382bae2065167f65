from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import rclpy
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter

from instructseg_ros.memory import resident_memory
from instructseg_ros.ros import pipeline
from instructseg_ros.ros.segmentation_node import SegmentationNode

pytestmark = pytest.mark.ros

SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE


@pytest.fixture
def make_node(domain: None) -> Iterator[Callable[..., SegmentationNode]]:
    """Return a function that makes a node in this process, with the given parameters."""
    nodes: list[SegmentationNode] = []

    def make(**parameters: Any) -> SegmentationNode:
        arguments = ['--ros-args', '-r', '__ns:=/lifecycle']
        for name, value in {'device': 'cpu', **parameters}.items():
            arguments += ['-p', f'{name}:={value}']
        rclpy.init(args=arguments)
        nodes.append(SegmentationNode())
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()
    rclpy.try_shutdown()


def set_parameter(node: SegmentationNode, name: str, value: Any) -> Any:
    return node.set_parameters_atomically([Parameter(name, value=value)])


def test_every_transition_can_be_walked_twice(
        make_node: Callable[..., SegmentationNode], tiny_model_dir: Path) -> None:
    node = make_node(model=tiny_model_dir)
    for _ in range(2):
        assert node.trigger_configure() == SUCCESS
        for _ in range(2):
            assert node.trigger_activate() == SUCCESS
            assert node.trigger_deactivate() == SUCCESS
        assert node.trigger_cleanup() == SUCCESS
    assert node.trigger_shutdown() == SUCCESS


def test_an_active_node_can_be_shut_down(
        make_node: Callable[..., SegmentationNode], tiny_model_dir: Path) -> None:
    node = make_node(model=tiny_model_dir)
    node.start()
    assert node.trigger_shutdown() == SUCCESS


def test_configured_and_cleaned_up_again_and_again_the_node_keeps_its_memory(
        make_node: Callable[..., SegmentationNode], tiny_model_dir: Path) -> None:
    node = make_node(model=tiny_model_dir)
    memory = []
    for _ in range(30):
        assert node.trigger_configure() == SUCCESS
        assert node.trigger_cleanup() == SUCCESS
        memory.append(resident_memory())
    assert memory[-1] < 1.01 * memory[12]


def test_the_model_is_swapped_between_cleanup_and_configure(
        make_node: Callable[..., SegmentationNode], tiny_model_dir: Path, tmp_path: Path) -> None:
    other = tmp_path / 'other'
    shutil.copytree(tiny_model_dir, other)
    node = make_node(model=tiny_model_dir)
    node.start()
    assert node.trigger_deactivate() == SUCCESS
    assert node.trigger_cleanup() == SUCCESS
    assert set_parameter(node, 'model', str(other)).successful
    node.start()
    assert node.trigger_deactivate() == SUCCESS


@pytest.mark.parametrize(('transition', 'where', 'outcome'), [
    ('configure', 'load_segmenter', FAILURE), ('activate', 'CommandInput', FAILURE)])
def test_a_transition_that_fails_is_logged_with_the_remedy_and_can_be_tried_again(
        make_node: Callable[..., SegmentationNode], tiny_model_dir: Path,
        monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
        transition: str, where: str, outcome: TransitionCallbackReturn) -> None:
    node = make_node(model=tiny_model_dir)
    if transition == 'activate':
        assert node.trigger_configure() == SUCCESS
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, where, raise_disk_full)
        for _ in range(2):
            assert getattr(node, f'trigger_{transition}')() == outcome
    output = ''.join(capfd.readouterr())
    assert f'cannot {transition}: no space left' in output
    assert f'"ros2 lifecycle set /lifecycle/segmentation_node {transition}"' in output
    assert getattr(node, f'trigger_{transition}')() == SUCCESS


@pytest.mark.parametrize('transition', ['deactivate', 'cleanup', 'shutdown'])
def test_a_transition_that_cannot_fail_goes_through_error_processing(
        make_node: Callable[..., SegmentationNode], tiny_model_dir: Path,
        monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
        transition: str) -> None:
    node = make_node(model=tiny_model_dir)
    assert node.trigger_configure() == SUCCESS
    if transition == 'deactivate':
        assert node.trigger_activate() == SUCCESS
    with monkeypatch.context() as patch:
        patch.setattr(pipeline.Pipeline, 'stop', raise_disk_full)
        getattr(node, f'trigger_{transition}')()
    assert f'cannot {transition}: no space left' in ''.join(capfd.readouterr())
    if transition != 'shutdown':
        node.start()
        assert node.trigger_deactivate() == SUCCESS


def raise_disk_full(*arguments: Any, **options: Any) -> None:
    raise OSError('no space left')


def break_folder(folder: Path, how: str) -> None:
    weights = folder / 'model.safetensors'
    if how == 'missing':
        shutil.rmtree(folder)
    elif how == 'empty':
        weights.unlink()
    elif how == 'truncated':
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif how == 'wrong shape':
        config = json.loads((folder / 'config.json').read_text())
        config['text_config']['intermediate_size'] *= 2
        (folder / 'config.json').write_text(json.dumps(config))
    else:
        (folder / 'config.json').write_text('{')


@pytest.mark.parametrize('how', ['missing', 'empty', 'truncated', 'wrong shape', 'bad config'])
def test_a_broken_model_folder_fails_with_one_clear_line_and_a_good_one_helps(
        make_node: Callable[..., SegmentationNode], tiny_model_dir: Path, tmp_path: Path,
        capfd: pytest.CaptureFixture[str], how: str) -> None:
    broken = tmp_path / 'broken'
    shutil.copytree(tiny_model_dir, broken)
    break_folder(broken, how)
    node = make_node(model=broken)
    node.start()
    output = ''.join(capfd.readouterr())
    assert 'cannot configure' in output
    assert str(broken) in output
    assert 'Traceback' not in output
    assert set_parameter(node, 'model', str(tiny_model_dir)).successful
    assert node.trigger_configure() == SUCCESS


def test_an_unknown_schedule_fails_to_configure_and_names_those_there_are(
        make_node: Callable[..., SegmentationNode], tiny_model_dir: Path,
        capfd: pytest.CaptureFixture[str]) -> None:
    node = make_node(model=tiny_model_dir, schedule='lazy')
    assert node.trigger_configure() == FAILURE
    output = ''.join(capfd.readouterr())
    assert 'schedule "lazy" is none of exact, fixed_references, two_rate, auto' in output


def test_an_unknown_device_fails_to_configure(
        make_node: Callable[..., SegmentationNode], tiny_model_dir: Path) -> None:
    node = make_node(model=tiny_model_dir, device='abacus')
    assert node.trigger_configure() == FAILURE


def test_the_model_cannot_be_changed_while_it_is_loaded(
        make_node: Callable[..., SegmentationNode], tiny_model_dir: Path) -> None:
    node = make_node(model=tiny_model_dir)
    assert node.trigger_configure() == SUCCESS
    result = set_parameter(node, 'model', 'other')
    assert not result.successful
    assert 'deactivate and cleanup' in result.reason
    assert node.trigger_cleanup() == SUCCESS
    assert set_parameter(node, 'model', 'other').successful


def test_a_set_with_one_bad_parameter_is_refused_as_a_whole(
        make_node: Callable[..., SegmentationNode], tiny_model_dir: Path) -> None:
    node = make_node(model=tiny_model_dir)
    assert node.trigger_configure() == SUCCESS
    result = node.set_parameters_atomically([
        Parameter('overlay_opacity', value=0.9), Parameter('schedule', value='two_rate')])
    assert not result.successful
    assert 'schedule takes effect when the node is configured' in result.reason
    assert node.get_parameter('overlay_opacity').value == 0.45


def test_only_a_choice_can_be_chosen(
        make_node: Callable[..., SegmentationNode], tiny_model_dir: Path) -> None:
    node = make_node(model=tiny_model_dir)
    refused = set_parameter(node, 'image_transports', ['theora'])
    assert not refused.successful
    assert refused.reason == 'image_transports "theora" is none of raw, compressed'
    assert set_parameter(node, 'schedule', 'auto').successful


def test_dynamic_parameters_change_within_their_range(
        make_node: Callable[..., SegmentationNode], tiny_model_dir: Path) -> None:
    node = make_node(model=tiny_model_dir)
    assert node.trigger_configure() == SUCCESS
    assert set_parameter(node, 'threshold', 0.25).successful
    assert set_parameter(node, 'threshold', -1.0).successful
    assert not set_parameter(node, 'threshold', 1.5).successful
    assert not set_parameter(node, 'threshold', 'high').successful
    assert not set_parameter(node, 'autostart', False).successful
