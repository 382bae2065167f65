from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture
from ros_probe import NodeProcess, Probe, headers, wait_until
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from instructseg_ros.msg import Segmentation

pytestmark = pytest.mark.ros

SEEN = (Segmentation.FOUND, Segmentation.NOT_FOUND)


@pytest.fixture
def start(
    run_process: Callable[..., NodeProcess], tiny_model_dir: Path
) -> Iterator[Callable[..., Probe]]:
    """Return a function that starts an active node and a probe."""
    probes: list[Probe] = []

    def run(*cameras: str, transports: Sequence[str] = (), **parameters: Any) -> Probe:
        names = '[' + ', '.join(cameras) + ']'
        if transports:
            parameters['image_transports'] = '[' + ', '.join(transports) + ']'
        node = run_process(
            'segmentation_node',
            namespace='/two',
            model=tiny_model_dir,
            device='cpu',
            max_age=60.0,
            cameras=names,
            **parameters,
        )
        node.wait_for_output('activate: done')
        raw = [
            camera
            for camera, transport in zip(cameras, transports or ['raw'] * len(cameras), strict=True)
            if transport == 'raw'
        ]
        probes.append(Probe('/two', cameras=raw))
        probes[-1].wait_for_node()
        return probes[-1]

    yield run
    for probe in probes:
        probe.close()


def test_each_camera_has_its_results_and_images_in_its_own_namespace(
    start: Callable[..., Probe],
) -> None:
    probe = start('front', 'wrist', image_timeout=60.0)
    masks: dict[str, list[Image]] = {'front': [], 'wrist': []}
    for camera, messages in masks.items():
        probe.subscribe(Image, f'{camera}/mask', messages)
        probe.wait(lambda camera=camera: probe.node.count_publishers(f'{camera}/mask'))
    probe.request(id='both', instruction='the red mug')
    probe.request(id='one', instruction='the bowl', cameras=['wrist'])
    probe.settle()
    shown = {camera: probe.show(camera) for camera in masks}
    probe.wait(lambda: len(probe.results) == 3)
    assert sorted((result.camera, result.command_id) for result in probe.results) == [
        ('front', 'both'),
        ('wrist', 'both'),
        ('wrist', 'one'),
    ]
    assert all(result.header == shown[result.camera] for result in probe.results)
    probe.wait(lambda: all(masks.values()))
    assert {camera: headers(messages) for camera, messages in masks.items()} == {
        camera: [header] for camera, header in shown.items()
    }


def test_a_camera_that_stops_is_reported_and_does_not_hold_the_other(
    start: Callable[..., Probe],
) -> None:
    probe = start('front', 'wrist', image_timeout=2.0)
    probe.request(id='mug', instruction='the red mug')

    def show_front() -> Header:
        return probe.show('front')

    def failures() -> list[Segmentation]:
        return [result for result in probe.results if result.camera == 'wrist']

    wait_until(failures, idle=lambda: (show_front(), probe.spin(0.1)))
    [silent] = failures()
    assert silent.state == Segmentation.FAILED
    assert 'no image has arrived on /two/wrist/image within 2.0 s' in silent.reason
    assert probe.show_until_answered(show=show_front).state in SEEN


def compressed(kind: str, picture: Image) -> CompressedImage:
    pixels = np.frombuffer(picture.data, np.uint8).reshape(picture.height, picture.width, 3)
    stream = io.BytesIO()
    Picture.fromarray(pixels).save(stream, kind)
    return CompressedImage(
        header=picture.header, format=f'rgb8; {kind} compressed bgr8', data=stream.getvalue()
    )


def test_compressed_images_are_read_where_a_camera_sends_them(start: Callable[..., Probe]) -> None:
    probe = start('front', 'wrist', transports=['raw', 'compressed'], image_timeout=60.0)
    publisher = probe.node.create_publisher(CompressedImage, 'wrist/image/compressed', 1)
    probe.wait(publisher.get_subscription_count)
    probe.request(id='mug', instruction='the red mug', cameras=['wrist'])
    probe.settle()
    for kind in ('jpeg', 'png'):
        message = compressed(kind, probe.picture())
        publisher.publish(message)
        assert probe.answer_to(message.header).state in SEEN
    message = compressed('png', probe.picture())
    message.data = message.data[:60]
    publisher.publish(message)
    refused = probe.answer_to(message.header)
    assert refused.state == Segmentation.FAILED
    assert 'image on /two/wrist/image/compressed refused' in refused.reason


@pytest.mark.parametrize(
    ('parameters', 'reason'),
    [
        ({'cameras': '[front, front]'}, 'must be different names'),
        ({'cameras': '[front, ""]'}, 'must be different names'),
        ({'cameras': '["9 lives"]'}, 'camera "9 lives" cannot be the name of a topic'),
        (
            {'image_transports': '[theora]'},
            'image_transports "theora" is not one of raw, compressed',
        ),
        ({'image_transports': '[raw, raw]'}, 'has 2 entries for 1 cameras'),
    ],
)
def test_cameras_that_cannot_be_are_refused_with_a_reason(
    run_process: Callable[..., NodeProcess],
    tiny_model_dir: Path,
    parameters: dict[str, str],
    reason: str,
) -> None:
    node = run_process('segmentation_node', model=tiny_model_dir, **parameters)
    node.wait_for_output('cannot configure')
    assert reason in node.output()
