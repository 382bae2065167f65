from __future__ import annotations

from pathlib import Path

import pytest

from instructseg_ros.ros.launching import (
    camera_names,
    camera_remappings,
    driver_topic,
    existing_file,
    is_true,
    logger_name,
    own_parameters,
)

TOPICS = {'image': 'image_raw', 'camera_info': 'camera_info', 'depth/image': 'depth/image'}


@pytest.mark.parametrize(
    ('text', 'names'),
    [('', []), ('  ', []), ('[front, wrist]', ['front', 'wrist']), ('["a/b"]', ['a/b'])],
)
def test_names_are_read_from_a_list(text: str, names: list[str]) -> None:
    assert camera_names(text) == names


@pytest.mark.parametrize('text', ['front', '{front: 1}', '[1, 2]'])
def test_an_argument_that_is_not_a_list_of_names_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match='must be a list such as'):
        camera_names(text)


def test_one_camera_is_its_driver_s_namespace() -> None:
    assert camera_remappings([], '/camera/color', TOPICS) == [
        ('image', '/camera/color/image_raw'),
        ('camera_info', '/camera/color/camera_info'),
        ('depth/image', '/camera/color/depth/image'),
    ]


def test_of_several_cameras_only_other_names_are_remapped() -> None:
    assert camera_remappings(['front', 'wrist'], 'unused', TOPICS) == [
        ('front/image', 'front/image_raw'),
        ('wrist/image', 'wrist/image_raw'),
    ]


def test_a_topic_from_the_root_is_left_as_it_is() -> None:
    assert driver_topic('/camera/color', '/camera/depth/image_raw') == '/camera/depth/image_raw'
    assert driver_topic('/camera/color/', 'image_raw') == '/camera/color/image_raw'
    assert driver_topic('/', 'image_raw') == '/image_raw'


def test_several_cameras_cannot_share_a_topic() -> None:
    with pytest.raises(ValueError, match='would be a topic of every camera'):
        camera_remappings(['front', 'wrist'], '', {'image': '/image_raw'})
    assert camera_remappings(['front'], '', {'image': '/image_raw'}) == [
        ('front/image', '/image_raw')
    ]


@pytest.mark.parametrize(('text', 'value'), [('true', True), ('True', True), ('false', False)])
def test_true_and_false_are_read(text: str, value: bool) -> None:
    assert is_true(text) is value


def test_an_argument_that_is_neither_true_nor_false_is_rejected() -> None:
    with pytest.raises(ValueError, match='"yes" is neither'):
        is_true('yes')


@pytest.mark.parametrize(
    ('pushed', 'namespace', 'name'),
    [
        ('', '', 'eye'),
        ('', '/', 'eye'),
        ('', 'robot', 'robot.eye'),
        ('', '/robot/left/', 'robot.left.eye'),
        ('/robot', '', 'robot.eye'),
        ('robot', 'left', 'robot.left.eye'),
        ('robot', '/left', 'left.eye'),
    ],
)
def test_a_logger_has_the_namespace_of_its_node_in_its_name(
    pushed: str, namespace: str, name: str
) -> None:
    assert logger_name(pushed, namespace, 'eye') == name


NOTHING = dict.fromkeys(
    ('model', 'device', 'autostart', 'use_sim_time', 'cameras', 'image_transport'), ''
)


def test_arguments_that_are_not_given_leave_everything_to_the_parameter_file() -> None:
    assert own_parameters(NOTHING) == {}


def test_arguments_that_are_given_become_parameters() -> None:
    given = {
        'model': '/models/mine',
        'device': 'cuda:1',
        'autostart': 'false',
        'use_sim_time': 'True',
        'cameras': '[front]',
        'image_transport': 'compressed',
    }
    assert own_parameters(given) == {
        'model': '/models/mine',
        'device': 'cuda:1',
        'autostart': False,
        'use_sim_time': True,
        'cameras': ['front'],
        'image_transports': ['compressed'],
    }


def test_a_file_in_the_home_folder_is_found_and_a_missing_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'mine.yaml').touch()
    assert existing_file('params_file', '~/mine.yaml') == str(tmp_path / 'mine.yaml')
    with pytest.raises(FileNotFoundError, match=r'params_file "~/other\.yaml" is not a file'):
        existing_file('params_file', '~/other.yaml')
