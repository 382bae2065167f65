"""The demo's own camera, so that depth, calibration and truth are real."""

from __future__ import annotations

import copy
import threading
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rclpy
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from ros_probe import SIZE, NodeProcess, Probe, headers, wait_until
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header

from instructseg_ros.msg import Segmentation
from instructseg_ros.ros.depth_input import DepthInput
from instructseg_ros.ros.outputs_3d import TargetOutputs, Transforms, child_frame
from instructseg_ros.ros.vision_msgs_outputs import VisionOutputs
from instructseg_ros.spatial.box import Box
from instructseg_ros.spatial.distortion import Polynomial
from instructseg_ros.streaming import segmentation
from instructseg_ros.streaming.instruction import Instruction
from instructseg_ros.streaming.labels import Labels

pytestmark = pytest.mark.ros

HEIGHT, WIDTH = SIZE


class RangeCamera:
    """Publishes depth and calibration for the images of a probe."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._depth = probe.node.create_publisher(Image, 'depth/image', 10)
        self._info = probe.node.create_publisher(CameraInfo, 'camera_info', 10)
        self.scale = 1
        self.encoding = '32FC1'
        self.depth_size = SIZE
        self.calibration: dict[str, Any] = {
            'width': WIDTH,
            'height': HEIGHT,
            'k': [60.0, 0.0, WIDTH / 2, 0.0, 60.0, HEIGHT / 2, 0.0, 0.0, 1.0],
        }

    def wait(self) -> None:
        """Show images until the node, which looks at each whether depth is wanted, listens."""
        while not (self._depth.get_subscription_count() and self._info.get_subscription_count()):
            self._probe.show()
            self._probe.spin(0.1)

    def show(
        self,
        *,
        meters: float = 1.0,
        delay: int = 0,
        with_info: bool = True,
        with_depth: bool = True,
    ) -> Header:
        """Publish an image, and the depth of a plane in front of a wall."""
        header = self._probe.show()
        later = copy.deepcopy(header)
        later.stamp.nanosec += delay
        if with_info:
            self._info.publish(CameraInfo(header=later, **self.calibration))
        if with_depth:
            self._depth.publish(self._image(meters, later))
        return header

    def _image(self, meters: float, header: Header) -> Image:
        height, width = self.depth_size
        depth = np.full((height // self.scale, width // self.scale), meters, np.float32)
        if self.encoding == '16UC1':
            depth = (depth * 1000).astype(np.uint16)
        return Image(
            header=header,
            height=depth.shape[0],
            width=depth.shape[1],
            encoding=self.encoding,
            step=depth.strides[0],
            data=array('B', depth.tobytes()),
        )


@pytest.mark.parametrize(
    ('camera', 'id', 'frame'),
    [
        ('', 'mug 1', 'target_mug_1'),
        ('wrist', 'mug', 'target_wrist_mug'),
        ('arm/wrist', '7-a', 'target_arm_wrist_7_a'),
    ],
)
def test_the_frame_of_a_target_has_the_name_of_its_camera(camera: str, id: str, frame: str) -> None:
    assert child_frame(camera, id) == frame


@pytest.fixture(scope='module')
def finder(
    domain: None, tiny_model_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NodeProcess]:
    """A node that finds whatever it is asked for."""
    node = NodeProcess(
        'segmentation_node',
        tmp_path_factory.mktemp('finder') / 'output.txt',
        namespace='/finder',
        parameters=parameters_of(tiny_model_dir),
    )
    node.wait_for_output('activate: done')
    yield node
    assert node.stop() == 0


def parameters_of(model: Path, **others: Any) -> dict[str, Any]:
    return {
        'model': model,
        'device': 'cpu',
        'max_age': 60.0,
        'image_timeout': 60.0,
        'threshold': 0.0,
        **others,
    }


@pytest.fixture
def start(
    run_process: Callable[..., NodeProcess], finder: NodeProcess, tiny_model_dir: Path
) -> Iterator[Callable[..., tuple[Probe, RangeCamera]]]:
    """Return a function that gives the node, or one of its own where parameters are given."""
    probes: list[Probe] = []

    def run(**parameters: Any) -> tuple[Probe, RangeCamera]:
        namespace, node = '/finder', finder
        if parameters:
            namespace = '/space'
            node = run_process(
                'segmentation_node',
                namespace=namespace,
                **parameters_of(tiny_model_dir, **parameters),
            )
            node.wait_for_output('activate: done')
        probes.append(Probe(namespace))
        probes[-1].process = node  # type: ignore[attr-defined]
        probes[-1].wait_for_node()
        return probes[-1], RangeCamera(probes[-1])

    yield run
    for probe in probes:
        probe.request(id='mug')
        probe.answer(lambda result: result.command_id == 'mug' and result.final)
        probe.close()


def gather(probe: Probe, **topics: type) -> dict[str, list[Any]]:
    gathered: dict[str, list[Any]] = {topic: [] for topic in topics}
    for topic, message_type in topics.items():
        probe.subscribe(message_type, topic, gathered[topic])
        probe.wait(lambda topic=topic: probe.node.count_publishers(topic))
    return gathered


def first_in_space(probe: Probe, camera: RangeCamera, clouds: list[PointCloud2]) -> Segmentation:
    """Show images with depth until one has points."""
    return probe.show_until(
        lambda header: header in headers(clouds), show=lambda: camera.show(meters=1.5)
    )


def cloud_array(cloud: PointCloud2) -> np.ndarray:
    assert [field.name for field in cloud.fields] == ['x', 'y', 'z']
    return np.frombuffer(cloud.data, np.float32).reshape(cloud.height, cloud.width, 3)


@pytest.mark.parametrize('encoding', ['32FC1', '16UC1'])
@pytest.mark.parametrize('scale', [1, 2])
def test_points_lie_in_the_mask_and_have_its_size_and_header(
    start: Callable[..., tuple[Probe, RangeCamera]], encoding: str, scale: int
) -> None:
    probe, camera = start()
    camera.encoding, camera.scale = encoding, scale
    got = gather(probe, points=PointCloud2, depth_masked=Image, target_pose=PoseStamped, mask=Image)
    probe.request(id='mug', instruction='the red mug')
    camera.wait()
    result = first_in_space(probe, camera, got['points'])
    header = result.header
    assert result.state == Segmentation.FOUND
    for topic in ('depth_masked', 'mask'):
        probe.wait(lambda topic=topic: header in headers(got[topic]))
    [cloud] = [cloud for cloud in got['points'] if cloud.header == header]
    points = cloud_array(cloud)
    mask = np.frombuffer(result.mask.data, np.uint8).reshape(SIZE) > 0
    assert points.shape[:2] == mask.shape
    np.testing.assert_array_equal(np.isfinite(points).all(-1), mask)
    np.testing.assert_allclose(points[mask, 2], 1.5, atol=1e-3)
    columns = np.nonzero(mask)[1]
    np.testing.assert_allclose(points[mask, 0], (columns - WIDTH / 2) / 60 * 1.5, atol=0.02)
    [masked] = [image for image in got['depth_masked'] if image.header == header]
    assert (masked.encoding, masked.height) == (encoding, HEIGHT // scale)


def test_depth_that_comes_late_is_still_used(
    start: Callable[..., tuple[Probe, RangeCamera]],
) -> None:
    probe, camera = start()
    got = gather(probe, points=PointCloud2)
    probe.request(id='mug', instruction='the red mug')
    camera.wait()
    first_in_space(probe, camera, got['points'])
    header = probe.show()
    probe.answer_to(header)
    assert header not in headers(got['points'])

    def publish_depth() -> None:
        camera._info.publish(
            CameraInfo(
                header=header,
                width=WIDTH,
                height=HEIGHT,
                k=[60.0, 0.0, 32.0, 0.0, 60.0, 24.0, 0.0, 0.0, 1.0],
            )
        )
        camera._depth.publish(camera._image(2.0, header))
        probe.spin(1.0)

    wait_until(lambda: header in headers(got['points']), idle=publish_depth)


def test_depth_of_another_time_is_not_used_and_the_log_explains_it(
    start: Callable[..., tuple[Probe, RangeCamera]],
) -> None:
    probe, camera = start(sync_slop=0.005)
    got = gather(probe, points=PointCloud2)
    probe.request(id='mug', instruction='the red mug')
    camera.wait()
    for _ in range(20):
        probe.answer_to(camera.show(delay=20_000_000))
    node = probe.process  # type: ignore[attr-defined]
    node.wait_for_output('stamped within 0.005 s (sync_slop)')
    assert 'images have no message on /space/depth/image stamped' in node.output()
    assert 'the nearest is 0.020 s off' in node.output()
    assert got['points'] == []


def show_until(
    probe: Probe, camera: RangeCamera, condition: Callable[[], object], **fields: Any
) -> None:
    def show_another() -> None:
        camera.show(**fields)
        probe.spin(0.3)

    wait_until(condition, idle=show_another)


def test_the_one_topic_that_is_missing_is_named_once(
    start: Callable[..., tuple[Probe, RangeCamera]],
) -> None:
    probe, camera = start(sync_slop=0.01)
    node = probe.process  # type: ignore[attr-defined]
    got = gather(probe, points=PointCloud2)
    probe.request(id='mug', instruction='the red mug')
    camera.wait()
    missing = 'no message has arrived on /space/camera_info'
    show_until(probe, camera, lambda: missing in node.output(), with_info=False)
    for _ in range(20):
        camera.show(with_info=False)
        probe.spin(0.3)
    assert node.output().count(missing) == 1
    assert 'on /space/depth/image' not in node.output()
    show_until(probe, camera, lambda: got['points'])
    show_until(
        probe,
        camera,
        lambda: 's on /space/depth/image; check its driver' in node.output(),
        with_depth=False,
    )


def distorted(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where plumb_bob's k1 = -0.3 and k2 = 0.09 put rays."""
    square = x * x + y * y
    factor = 1 - 0.3 * square + 0.09 * square * square
    return x * factor, y * factor


LENS = {
    'distortion_model': 'plumb_bob',
    'd': [-0.3, 0.09, 0.0, 0.0, 0.0],
    'p': [45.0, 0.0, 30.0, 0.0, 0.0, 45.0, 20.0, 0.0, 0.0, 0.0, 1.0, 0.0],
}


def test_points_of_raw_images_follow_k_and_the_distortion_of_the_lens(
    start: Callable[..., tuple[Probe, RangeCamera]],
) -> None:
    probe, camera = start()
    camera.calibration |= LENS
    got = gather(probe, points=PointCloud2)
    probe.request(id='mug', instruction='the red mug')
    camera.wait()
    header = first_in_space(probe, camera, got['points']).header
    points = cloud_array(next(cloud for cloud in got['points'] if cloud.header == header))
    rows, columns = np.nonzero(np.isfinite(points[..., 2]))
    x, y, z = points[rows, columns].T.astype(float)
    there_x, there_y = distorted(x / z, y / z)
    np.testing.assert_allclose(60 * there_x + WIDTH / 2, columns, atol=1e-3)
    np.testing.assert_allclose(60 * there_y + HEIGHT / 2, rows, atol=1e-3)


def test_points_of_rectified_images_follow_p(
    start: Callable[..., tuple[Probe, RangeCamera]],
) -> None:
    probe, camera = start(rectification='rectified')
    output = probe.process.output()  # type: ignore[attr-defined]
    assert output.count('images on /space/image are treated as rectified (P of camera_info') == 1
    camera.calibration |= LENS
    got = gather(probe, points=PointCloud2)
    probe.request(id='mug', instruction='the red mug')
    camera.wait()
    header = first_in_space(probe, camera, got['points']).header
    points = cloud_array(next(cloud for cloud in got['points'] if cloud.header == header))
    rows, columns = np.nonzero(np.isfinite(points[..., 2]))
    x, y, z = points[rows, columns].T
    np.testing.assert_allclose(45 * x / z + 30, columns, atol=1e-3)
    np.testing.assert_allclose(45 * y / z + 20, rows, atol=1e-3)


@pytest.mark.parametrize(
    ('changes', 'warning'),
    [
        (
            {'depth_size': (36, 64)},
            '/finder/depth/image cannot be used: the depth image is for 64 x 36',
        ),
        (
            {'calibration': {'width': 1280, 'height': 720, 'k': [60.0] * 9}},
            '/finder/camera_info cannot be used: camera_info is for 1280 x 720',
        ),
        (
            {
                'calibration': {
                    'width': WIDTH,
                    'height': HEIGHT,
                    'k': [60.0] * 9,
                    'distortion_model': 'omnidirectional',
                    'd': [0.1],
                }
            },
            '/finder/camera_info cannot be used: '
            'camera_info has the distortion model "omnidirectional"',
        ),
    ],
    ids=['depth', 'camera_info', 'distortion'],
)
def test_invalid_depth_or_calibration_gives_no_pose_and_names_its_topic(
    start: Callable[..., tuple[Probe, RangeCamera]], changes: dict[str, Any], warning: str
) -> None:
    probe, camera = start()
    vars(camera).update(changes)
    got = gather(probe, points=PointCloud2)
    probe.request(id='mug', instruction='the red mug')
    camera.wait()
    node = probe.process  # type: ignore[attr-defined]
    show_until(probe, camera, lambda: warning in node.output())
    header = camera.show()
    probe.answer_to(header)
    assert header not in headers(got['points'])


def test_unreadable_depth_is_reported_and_masks_continue(
    start: Callable[..., tuple[Probe, RangeCamera]],
) -> None:
    probe, camera = start()
    camera.encoding = 'rgb8'
    gather(probe, points=PointCloud2)
    probe.request(id='mug', instruction='the red mug')
    camera.wait()
    probe.spin(0.3)
    assert probe.answer_to(camera.show()).state == Segmentation.FOUND
    probe.process.wait_for_output('cannot be used')  # type: ignore[attr-defined]


def test_without_a_subscriber_the_node_does_not_subscribe_to_depth(
    start: Callable[..., tuple[Probe, RangeCamera]],
) -> None:
    probe, camera = start()
    probe.request(id='mug', instruction='the red mug')
    for _ in range(3):
        probe.answer_to(probe.show())
    probe.wait(lambda: camera._depth.get_subscription_count() == 0)
    subscription = probe.node.create_subscription(PointCloud2, 'points', lambda message: None, 10)

    def listens() -> bool:
        probe.show()
        probe.spin(0.1)
        return camera._depth.get_subscription_count() > 0

    wait_until(listens)
    probe.node.destroy_subscription(subscription)
    wait_until(lambda: not listens())
    assert camera._depth.get_subscription_count() == 0


def test_a_target_frame_without_tf2_or_without_a_transform_is_never_not_found(
    start: Callable[..., tuple[Probe, RangeCamera]],
    run_process: Callable[..., NodeProcess],
    tiny_model_dir: Path,
) -> None:
    try:
        import tf2_ros  # noqa: F401
    except ImportError:
        node = run_process('segmentation_node', model=tiny_model_dir, target_frame='base_link')
        node.wait_for_output('cannot configure')
        assert 'target_frame and broadcast_targets need tf2' in node.output()
        return
    probe, camera = start(target_frame='base_link')
    got = gather(probe, target_pose=PoseStamped)
    probe.request(id='mug', instruction='the red mug')
    camera.wait()
    probe.spin(0.3)
    assert probe.answer_to(camera.show()).state == Segmentation.FOUND
    probe.process.wait_for_output(  # type: ignore[attr-defined]
        'there is no transform from "optical" to "base_link"'
    )
    assert got['target_pose'] == []


class SlowTransforms(Transforms):
    """Takes its time for the first box, until it may go on."""

    def __init__(self, node: LifecycleNode) -> None:
        super().__init__(node, target_frame='', broadcast=False)
        self.begun, self.go_on = threading.Event(), threading.Event()

    def to_target_frame(self, box: Box, header: Header) -> Box:
        if not self.begun.is_set():
            self.begun.set()
            self.go_on.wait(60.0)
        return super().to_target_frame(box, header)


class CountingLock:
    """A lock that knows how many threads have come to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._arrivals = threading.Semaphore(0)

    def wait_for(self, count: int) -> None:
        """Wait until so many threads hold the lock, held it or wait for it."""
        for _ in range(count):
            assert self._arrivals.acquire(timeout=60.0)

    def __enter__(self) -> None:
        self._arrivals.release()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


@pytest.fixture
def slow_outputs(domain: None) -> Iterator[tuple[TargetOutputs, SlowTransforms, list[PoseStamped]]]:
    """Outputs of an active node of this process, with what somebody gets from them."""
    context = rclpy.Context()
    rclpy.init(context=context)
    node = LifecycleNode('outputs', namespace='/slow', context=context)
    transforms = SlowTransforms(node)
    outputs = TargetOutputs(
        node,
        '',
        VisionOutputs(node, '', Labels()),
        transforms,
        warn=node.get_logger().warning,
        rectified=False,
        source=DepthInput(
            node, '', slop=0.02, queue=10, on_match=lambda *match: outputs.add_depth(*match)
        ),
    )
    node.trigger_configure()
    node.trigger_activate()
    poses: list[PoseStamped] = []
    node.create_subscription(PoseStamped, 'target_pose', poses.append, 10)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    wait_until(outputs.is_watched)
    spinning = threading.Thread(target=executor.spin)
    spinning.start()
    yield outputs, transforms, poses
    executor.shutdown()
    spinning.join()
    node.destroy_node()
    rclpy.try_shutdown(context=context)


def header_at(sec: int) -> Header:
    return Header(stamp=Time(sec=sec), frame_id='optical')


def add_results(outputs: TargetOutputs, header: Header) -> None:
    mask = np.zeros(SIZE, bool)
    mask[10:30, 20:40] = True
    outputs.add_results(
        [
            segmentation.Segmentation(
                instruction=Instruction(text='the mug', id='mug'),
                state=segmentation.State.FOUND,
                header=header,
                mask=mask,
            )
        ],
        {'mug': 1},
    )


def add_depth(outputs: TargetOutputs, header: Header, **calibration: Any) -> None:
    meters = np.ones(SIZE, np.float32)
    outputs.add_depth(
        header,
        Image(
            header=header,
            height=HEIGHT,
            width=WIDTH,
            encoding='32FC1',
            step=4 * WIDTH,
            data=array('B', meters.tobytes()),
        ),
        CameraInfo(
            **{
                'header': header,
                'width': WIDTH,
                'height': HEIGHT,
                'k': [60.0, 0.0, WIDTH / 2, 0.0, 60.0, HEIGHT / 2, 0.0, 0.0, 1.0],
                **calibration,
            }
        ),
    )


@pytest.mark.parametrize('sec', [0, 7])
def test_depth_of_one_image_is_never_used_for_another_one_with_the_same_stamp(
    slow_outputs: tuple[TargetOutputs, SlowTransforms, list[PoseStamped]], sec: int
) -> None:
    outputs, transforms, poses = slow_outputs
    transforms.go_on.set()
    add_depth(outputs, header_at(sec))
    add_results(outputs, header_at(sec))  # of the next image, whose depth has not come
    add_depth(outputs, header_at(sec))  # of the one after that
    last = header_at(8)
    add_depth(outputs, last)
    add_results(outputs, last)
    wait_until(lambda: last in headers(poses))
    assert headers(poses) == [last]


def test_without_a_stamp_depth_is_not_used_though_it_came_with_the_image(
    slow_outputs: tuple[TargetOutputs, SlowTransforms, list[PoseStamped]],
) -> None:
    outputs, transforms, poses = slow_outputs
    transforms.go_on.set()
    for header in (header_at(0), last := header_at(8)):
        add_depth(outputs, header)
        add_results(outputs, header)
    wait_until(lambda: last in headers(poses))
    assert headers(poses) == [last]


def test_rays_of_a_lens_are_computed_once_for_each_calibration_before_results_wait_for_them(
    slow_outputs: tuple[TargetOutputs, SlowTransforms, list[PoseStamped]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outputs, transforms, poses = slow_outputs
    transforms.go_on.set()
    computed: list[tuple[int, ...]] = []
    undistort = Polynomial.undistort

    def count(lens: Polynomial, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        computed.append(x.shape)
        return undistort(lens, x, y)

    monkeypatch.setattr(Polynomial, 'undistort', count)
    for sec in (1, 2, 3):
        add_depth(outputs, header_at(sec), distortion_model='plumb_bob', d=LENS['d'])
        assert computed == [SIZE]
        last = header_at(10 + sec)
        add_depth(outputs, last, distortion_model='plumb_bob', d=LENS['d'])
        add_results(outputs, last)
    wait_until(lambda: last in headers(poses))
    assert computed == [SIZE]
    add_depth(outputs, header_at(4), distortion_model='plumb_bob', d=[-0.2, 0.0, 0.0, 0.0, 0.0])
    assert computed == [SIZE, SIZE]


def test_outputs_in_space_keep_the_order_of_the_frames_though_two_threads_publish_them(
    slow_outputs: tuple[TargetOutputs, SlowTransforms, list[PoseStamped]],
) -> None:
    outputs, transforms, poses = slow_outputs
    first, second = header_at(1), header_at(2)
    add_depth(outputs, second)
    add_results(outputs, first)
    lock = outputs._publishing = CountingLock()  # type: ignore[assignment]
    threads = [
        threading.Thread(target=add_depth, args=(outputs, first)),
        threading.Thread(target=add_results, args=(outputs, second)),
    ]
    threads[0].start()
    assert transforms.begun.wait(60.0)
    threads[1].start()
    lock.wait_for(2)
    transforms.go_on.set()
    for thread in threads:
        thread.join()
    wait_until(lambda: len(poses) == 2)
    assert headers(poses) == [first, second]
