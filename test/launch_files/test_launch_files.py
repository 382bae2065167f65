from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from instructseg_ros.ros.share import share_folder

FILES = sorted((share_folder() / 'launch').glob('*.launch.py'))


@pytest.fixture
def launch() -> Any:
    """The real package; our own `launch` folder answers to the same name."""
    try:
        from launch_ros.actions import Node  # noqa: F401

        from launch import LaunchDescription
    except ImportError:
        pytest.skip('launch and launch_ros are not installed')
    return LaunchDescription


def describe(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem.replace('.', '_'), path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_a_launch_file_defines_what_launch_calls(path: Path) -> None:
    tree = ast.parse(path.read_text())
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert 'generate_launch_description' in functions


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_every_argument_of_a_launch_file_is_described(path: Path, launch: Any) -> None:
    description = describe(path)
    assert isinstance(description, launch)
    arguments = description.get_launch_arguments()
    assert arguments
    for argument in arguments:
        assert argument.description, argument.name
