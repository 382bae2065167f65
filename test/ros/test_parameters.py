from __future__ import annotations

from pathlib import Path

import pytest
import rclpy
import yaml

from instructseg_ros.ros.parameters import warn_of_files_for_others

pytestmark = pytest.mark.ros

KEYS = (
    '/**',
    '**',
    '/*',
    '*',
    'eye',
    '/eye',
    '/robot/eye',
    'robot/eye',
    '/**/eye',
    '**/eye',
    '/*/eye',
    '/robot/*',
    '/robot/**',
    '/robot/left/**',
    '/robot/eye/**',
    '/**/robot/eye',
    '/*/*',
    'eyes',
    '/robot/left/eye',
)


@pytest.mark.usefixtures('domain')
@pytest.mark.parametrize('namespace', ['/', '/robot'])
def test_a_parameter_file_is_warned_of_where_rcl_takes_nothing_from_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], namespace: str
) -> None:
    files: dict[str, Path] = {}
    for number, key in enumerate(KEYS):
        files[f'p{number}'] = tmp_path / f'{number}.yaml'
        files[f'p{number}'].write_text(
            yaml.dump(
                {
                    key: {
                        'ros__parameters': {
                            f'p{number}': 1,
                            'texts': ('as launch_ros writes', 'them'),
                        }
                    }
                }
            )
        )
    files['nested'] = tmp_path / 'nested.yaml'
    files['nested'].write_text('/robot: {eye: {ros__parameters: {nested: 1}}}')
    arguments = ['--ros-args', '-r', f'__ns:={namespace}']
    for file in files.values():
        arguments += ['--params-file', str(file)]
    context = rclpy.Context()
    rclpy.init(args=arguments, context=context)
    node = rclpy.create_node('eye', context=context)
    taken = set(node._parameter_overrides)
    warn_of_files_for_others(node, arguments)
    node.destroy_node()
    rclpy.try_shutdown(context=context)
    output = capfd.readouterr().err
    assert taken & set(files)
    for name, file in files.items():
        assert (f'{file} has no effect' in output) is (name not in taken), file.read_text()
