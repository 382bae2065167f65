from __future__ import annotations

import json
import shutil
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.logging import LoggingSeverity
from rclpy.parameter import Parameter
from ros_probe import TIMEOUT, wait_until
from sensor_msgs.msg import Image, PointCloud2
from std_msgs.msg import Header, String

from instructseg_ros.model.process_memory import resident_memory
from instructseg_ros.msg import Command
from instructseg_ros.msg import Segmentation as SegmentationMessage
from instructseg_ros.ros import pipeline
from instructseg_ros.ros.messages import array_to_image
from instructseg_ros.ros.segmentation_node import SegmentationNode
from instructseg_ros.streaming import statistics
from instructseg_ros.streaming.instruction import Instruction, InstructionError, Until
from instructseg_ros.streaming.segmentation import Segmentation, State

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
    make_node: Callable[..., SegmentationNode], tiny_model_dir: Path
) -> None:
    node = make_node(model=tiny_model_dir)
    for _ in range(2):
        assert node.trigger_configure() == SUCCESS
        for _ in range(2):
            assert node.trigger_activate() == SUCCESS
            assert node.trigger_deactivate() == SUCCESS
        assert node.trigger_cleanup() == SUCCESS
    assert node.trigger_shutdown() == SUCCESS


def test_an_active_node_can_be_shut_down(
    make_node: Callable[..., SegmentationNode], tiny_model_dir: Path
) -> None:
    node = make_node(model=tiny_model_dir)
    node.start()
    assert node.trigger_shutdown() == SUCCESS


def test_configured_and_cleaned_up_again_and_again_the_node_keeps_its_memory(
    make_node: Callable[..., SegmentationNode], tiny_model_dir: Path
) -> None:
    node = make_node(model=tiny_model_dir)
    memory = []
    for _ in range(30):
        assert node.trigger_configure() == SUCCESS
        assert node.trigger_cleanup() == SUCCESS
        memory.append(resident_memory())
    assert memory[-1] < 1.01 * memory[12]


def test_the_model_is_swapped_between_cleanup_and_configure(
    make_node: Callable[..., SegmentationNode], tiny_model_dir: Path, tmp_path: Path
) -> None:
    other = tmp_path / 'other'
    shutil.copytree(tiny_model_dir, other)
    node = make_node(model=tiny_model_dir)
    node.start()
    assert node.trigger_deactivate() == SUCCESS
    assert node.trigger_cleanup() == SUCCESS
    assert set_parameter(node, 'model', str(other)).successful
    node.start()
    assert node.trigger_deactivate() == SUCCESS


@pytest.mark.parametrize(
    ('transition', 'where', 'outcome'),
    [('configure', 'load_segmenter', FAILURE), ('activate', 'CommandInput', FAILURE)],
)
def test_a_transition_that_fails_is_logged_with_the_remedy_and_can_be_tried_again(
    make_node: Callable[..., SegmentationNode],
    tiny_model_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    transition: str,
    where: str,
    outcome: TransitionCallbackReturn,
) -> None:
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


def endpoints(node: SegmentationNode) -> list[Any]:
    return [*node.publishers, *node.subscriptions, *node.timers, *node.services]


@pytest.mark.parametrize(
    ('transition', 'topic', 'endpoint'),
    [('configure', 'overlay', 'publisher'), ('activate', 'command_request', 'subscription')],
)
def test_a_transition_that_fails_halfway_leaves_nothing_in_the_ros_graph(
    make_node: Callable[..., SegmentationNode],
    tiny_model_dir: Path,
    transition: str,
    topic: str,
    endpoint: str,
) -> None:
    override = f'qos_overrides./lifecycle/{topic}.{endpoint}.reliability'
    node = make_node(model=tiny_model_dir, **{override: 'perhaps'})
    if transition == 'activate':
        assert node.trigger_configure() == SUCCESS
    before = endpoints(node)
    for _ in range(2):
        assert getattr(node, f'trigger_{transition}')() == FAILURE
    reporter_endpoints = 3 if transition == 'configure' else 0
    assert len(endpoints(node)) == len(before) + reporter_endpoints
    assert not [each for each in node.publishers if getattr(each, 'is_activated', False)]
    # another process sees the same
    probe = rclpy.create_node('probe', namespace='/lifecycle')
    spin_until(node, lambda: probe.count_publishers('/diagnostics') > 0)
    spin_until(node, lambda: not probe.count_subscribers('image'))
    probe.destroy_node()


def test_a_node_whose_activation_failed_publishes_nothing_and_can_be_activated_again(
    make_node: Callable[..., SegmentationNode],
    tiny_model_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = make_node(model=tiny_model_dir)
    assert node.trigger_configure() == SUCCESS
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, 'IdleMemoryTrimmer', raise_disk_full)
        assert node.trigger_activate() == FAILURE
    assert node._pipeline is not None
    assert not node._pipeline._results._segmentation.is_activated
    assert node.trigger_activate() == SUCCESS
    assert node._pipeline._results._segmentation.is_activated


def test_an_activation_that_can_be_undone_only_in_part_undoes_the_rest(
    make_node: Callable[..., SegmentationNode],
    tiny_model_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    node = make_node(model=tiny_model_dir)
    assert node.trigger_configure() == SUCCESS
    before = endpoints(node)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, 'IdleMemoryTrimmer', raise_disk_full)
        patch.setattr(pipeline.CameraInput, 'destroy', raise_disk_full)
        assert node.trigger_activate() == FAILURE
    assert 'not everything could be undone' in ''.join(capfd.readouterr())
    assert endpoints(node) == before
    assert node.trigger_activate() == SUCCESS


def test_an_error_in_the_engine_is_an_error_in_the_diagnostics_and_its_traceback_is_in_the_log(
    make_node: Callable[..., SegmentationNode],
    tiny_model_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(statistics, 'FAULT_SHOWN', float('inf'))
    node = make_node(model=tiny_model_dir)
    level = node.get_logger().get_effective_level()
    node.get_logger().set_level(LoggingSeverity.DEBUG)
    node.start()
    arrays: list[DiagnosticArray] = []
    node.create_subscription(DiagnosticArray, '/diagnostics', arrays.append, 10)
    monkeypatch.setattr(node._broker.engine._registry, 'next_tasks', raise_disk_full)
    node._broker.engine.give(Instruction(text='the red mug'))
    fault = (
        'internal engine error; the engine keeps running, please report it: OSError: no space left'
    )
    spin_until(
        node,
        lambda: [
            status
            for array in arrays
            for status in array.status
            if status.message == fault and status.level == DiagnosticStatus.ERROR
        ],
    )
    node.get_logger().set_level(level)  # of all nodes of this name in this process
    output = ''.join(capfd.readouterr())
    assert fault in output
    assert 'in raise_disk_full' in output


@pytest.mark.parametrize('transition', ['deactivate', 'cleanup', 'shutdown'])
def test_a_transition_that_cannot_fail_goes_through_error_processing(
    make_node: Callable[..., SegmentationNode],
    tiny_model_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    transition: str,
) -> None:
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


def test_a_result_that_cannot_be_published_reaches_its_client(
    make_node: Callable[..., SegmentationNode],
    tiny_model_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = make_node(model=tiny_model_dir)
    node.start()
    monkeypatch.setattr(pipeline.ResultPublisher, 'publish', raise_disk_full)
    assert ask(node).state in (State.FOUND, State.NOT_FOUND)


def test_a_result_that_cannot_be_logged_reaches_its_client(
    make_node: Callable[..., SegmentationNode],
    tiny_model_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = make_node(model=tiny_model_dir)
    node.start()
    assert node._pipeline is not None
    monkeypatch.setattr(node._pipeline._segmenter, 'decode', raise_disk_full)
    monkeypatch.setattr(node._pipeline, '_warn', raise_disk_full)
    assert ask(node).state is State.FAILED


def test_an_engine_error_that_names_a_file_that_is_not_utf_8_is_answered(
    make_node: Callable[..., SegmentationNode],
    tiny_model_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(**options: Any) -> None:
        raise OSError('file \udcff missing')

    node = make_node(model=tiny_model_dir)
    node.start()
    results: list[SegmentationMessage] = []
    node.create_subscription(SegmentationMessage, 'segmentation', results.append, 10)
    assert node._pipeline is not None
    spin_until(node, node._pipeline._results.is_watched)
    monkeypatch.setattr(node._broker.engine._registry, 'next_tasks', fail)
    node._broker.engine.give(Instruction(text='the red mug'))
    spin_until(node, lambda: results)
    assert results[0].state == State.FAILED
    assert results[0].reason.endswith('OSError: file \ufffd missing')


def ask(node: SegmentationNode) -> Segmentation:
    """Ask about an image, as a service does, and return the answer."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    image = array_to_image(np.zeros((48, 64, 3), np.uint8), header=Header(), encoding='rgb8')
    answer = executor.create_task(
        node._broker.submit(Command(instruction='the red mug'), until=Until.ANSWERED, image=image)
    )
    executor.spin_until_future_complete(answer, timeout_sec=TIMEOUT)
    executor.shutdown()
    return answer.result()


def spin_until(node: SegmentationNode, condition: Callable[[], object]) -> None:
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    wait_until(condition, idle=lambda: executor.spin_once(timeout_sec=0.05))
    executor.shutdown()


def test_a_lazy_node_reports_missing_images_to_late_subscribers(
    make_node: Callable[..., SegmentationNode],
    tiny_model_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline, 'POLL_PERIOD', 0.1)
    node = make_node(model=tiny_model_dir, lazy=True, image_timeout=0.2)
    node.start()
    results: list[SegmentationMessage] = []
    node.create_subscription(SegmentationMessage, 'segmentation', results.append, 10)
    commands = node.create_publisher(String, 'command', 10)
    spin_until(node, commands.get_subscription_count)
    commands.publish(String(data='the red mug'))
    spin_until(node, lambda: results)
    assert results[0].state == State.FAILED
    assert 'no image has arrived on /lifecycle/image' in results[0].reason


def test_a_lazy_node_reports_unreadable_images_to_late_subscribers(
    make_node: Callable[..., SegmentationNode],
    tiny_model_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline, 'POLL_PERIOD', 60.0)
    node = make_node(model=tiny_model_dir, lazy=True)
    node.start()
    results: list[SegmentationMessage] = []
    node.create_subscription(SegmentationMessage, 'segmentation', results.append, 10)
    images = node.create_publisher(Image, 'image', 10)
    node._broker.engine.give(Instruction(text='the red mug'))
    spin_until(
        node,
        lambda: (
            images.get_subscription_count()
            and node._pipeline is not None
            and node._pipeline._results.is_watched()
        ),
    )
    images.publish(Image(encoding='teapot8', width=1, height=1))
    spin_until(node, lambda: results)
    assert 'image on /lifecycle/image refused' in results[0].reason


def test_a_node_that_is_deactivated_listens_to_no_camera(
    make_node: Callable[..., SegmentationNode], tiny_model_dir: Path
) -> None:
    node = make_node(model=tiny_model_dir)
    node.start()
    node.create_subscription(PointCloud2, 'points', lambda _: None, 10)
    images = node.create_publisher(Image, 'image', 10)

    def show() -> bool:
        images.publish(
            array_to_image(np.zeros((48, 64, 3), np.uint8), header=Header(), encoding='rgb8')
        )
        return bool(node.count_subscribers('depth/image'))

    spin_until(node, show)
    assert node.trigger_deactivate() == SUCCESS
    for topic in ('image', 'depth/image', 'camera_info'):
        spin_until(node, lambda topic=topic: not node.count_subscribers(topic))


@pytest.mark.parametrize('transition', ['configure', 'cleanup'])
def test_the_memory_of_a_gpu_is_given_back_when_nothing_holds_the_model(
    make_node: Callable[..., SegmentationNode],
    tiny_model_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    transition: str,
) -> None:
    models: list[weakref.ref[Any]] = []
    left: list[Any] = []
    load = pipeline.load_segmenter

    def note(values: Any) -> Any:
        segmenter = load(values)
        models.append(weakref.ref(segmenter))
        return segmenter

    monkeypatch.setattr(pipeline, 'load_segmenter', note)
    monkeypatch.setattr('torch.cuda.is_initialized', lambda: True)
    monkeypatch.setattr('torch.cuda.empty_cache', lambda: left.append(models[0]()))
    node = make_node(model=tiny_model_dir)
    if transition == 'configure':
        monkeypatch.setattr(pipeline, 'ResultPublisher', raise_disk_full)
    assert (node.trigger_configure() == SUCCESS) == (transition == 'cleanup')
    if transition == 'cleanup':
        assert node.trigger_cleanup() == SUCCESS
    assert left == [None]


def test_a_kept_instruction_keeps_nothing_of_the_model_and_is_resumed_by_the_next_one(
    make_node: Callable[..., SegmentationNode],
    tiny_model_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    models: list[weakref.ref[Any]] = []
    load = pipeline.load_segmenter

    def note(values: Any) -> Any:
        segmenter = load(values)
        models.append(weakref.ref(segmenter))
        return segmenter

    monkeypatch.setattr(pipeline, 'load_segmenter', note)
    node = make_node(model=tiny_model_dir, keep_instructions=True)
    node.start()
    engine = node._broker.engine
    engine.give(Instruction(text='the red mug', id='mug'))
    engine.add_frame(np.zeros((48, 64, 3), np.uint8), stamp=1, header=Header())
    status = engine.statistics.status
    wait_until(lambda: status().results)
    del engine
    assert node.trigger_deactivate() == SUCCESS
    assert node.trigger_cleanup() == SUCCESS
    assert models[0]() is None
    node.start()
    assert [each.id for each in node._broker.engine.active()] == ['mug']


def test_an_instruction_kept_over_a_failed_activation_is_resumed_by_the_next_one(
    make_node: Callable[..., SegmentationNode],
    tiny_model_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = make_node(model=tiny_model_dir, keep_instructions=True)
    node.start()
    node._broker.engine.give(Instruction(text='the red mug', id='mug'))
    assert node.trigger_deactivate() == SUCCESS
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, 'IdleMemoryTrimmer', raise_disk_full)
        assert node.trigger_activate() == FAILURE
    assert node.trigger_activate() == SUCCESS
    assert [each.id for each in node._broker.engine.active()] == ['mug']


def test_after_a_transition_that_failed_halfway_nothing_runs_on(
    make_node: Callable[..., SegmentationNode],
    tiny_model_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node = make_node(model=tiny_model_dir)
    node.start()
    engine = node._broker.engine
    failures = iter([OSError('no space left')])
    stop = node._diagnostics.stop

    def fail_once() -> None:
        for failure in failures:
            raise failure
        stop()

    monkeypatch.setattr(node._diagnostics, 'stop', fail_once)
    node.trigger_deactivate()
    with pytest.raises(InstructionError, match='segmentation was stopped'):
        engine.give(Instruction(text='the red mug'))


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
    make_node: Callable[..., SegmentationNode],
    tiny_model_dir: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    how: str,
) -> None:
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
    make_node: Callable[..., SegmentationNode],
    tiny_model_dir: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    node = make_node(model=tiny_model_dir, schedule='lazy')
    assert node.trigger_configure() == FAILURE
    output = ''.join(capfd.readouterr())
    assert 'schedule "lazy" is not one of exact, fixed_references, two_rate, auto' in output


def test_an_unknown_device_fails_to_configure(
    make_node: Callable[..., SegmentationNode], tiny_model_dir: Path
) -> None:
    node = make_node(model=tiny_model_dir, device='abacus')
    assert node.trigger_configure() == FAILURE


def test_the_model_cannot_be_changed_while_it_is_loaded(
    make_node: Callable[..., SegmentationNode], tiny_model_dir: Path
) -> None:
    node = make_node(model=tiny_model_dir)
    assert node.trigger_configure() == SUCCESS
    result = set_parameter(node, 'model', 'other')
    assert not result.successful
    assert 'deactivate and cleanup' in result.reason
    assert node.trigger_cleanup() == SUCCESS
    assert set_parameter(node, 'model', 'other').successful


def test_a_set_with_one_bad_parameter_is_refused_as_a_whole(
    make_node: Callable[..., SegmentationNode], tiny_model_dir: Path
) -> None:
    node = make_node(model=tiny_model_dir)
    assert node.trigger_configure() == SUCCESS
    result = node.set_parameters_atomically(
        [Parameter('overlay_opacity', value=0.9), Parameter('schedule', value='two_rate')]
    )
    assert not result.successful
    assert 'schedule takes effect when the node is configured' in result.reason
    assert node.get_parameter('overlay_opacity').value == 0.45


def test_only_a_choice_can_be_chosen(
    make_node: Callable[..., SegmentationNode], tiny_model_dir: Path
) -> None:
    node = make_node(model=tiny_model_dir)
    refused = set_parameter(node, 'image_transports', ['theora'])
    assert not refused.successful
    assert refused.reason == 'image_transports "theora" is not one of raw, compressed'
    assert set_parameter(node, 'schedule', 'auto').successful


def test_dynamic_parameters_change_within_their_range(
    make_node: Callable[..., SegmentationNode], tiny_model_dir: Path
) -> None:
    node = make_node(model=tiny_model_dir)
    assert node.trigger_configure() == SUCCESS
    assert set_parameter(node, 'threshold', 0.25).successful
    assert set_parameter(node, 'threshold', -1.0).successful
    assert not set_parameter(node, 'threshold', 1.5).successful
    assert not set_parameter(node, 'threshold', 'high').successful
    assert not set_parameter(node, 'autostart', False).successful
