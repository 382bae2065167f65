"""Which module may import which, how cheap the package is, and what no module may do."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / 'instructseg_ros'
MODULES = sorted(path for path in PACKAGE.rglob('*.py')
                 if path.relative_to(PACKAGE).parts[0] not in ('msg', 'srv', 'action'))
BELOW = {
    'simulation': {'interruption'},
    'spatial': set(),
    'model': set(),
    'conversion': {'model'},
    'benchmark': {'memory', 'model', 'simulation', 'streaming', 'evaluation'},
    'streaming': {'model'},
    'video': {'locking', 'model', 'streaming'},
    'data': {'model', 'simulation', 'streaming', 'video'},
    'evaluation': {'data', 'locking', 'model', 'simulation', 'streaming'},
    'training': {'data', 'locking', 'model', 'simulation', 'evaluation'},
    'ros': {'memory', 'model', 'simulation', 'spatial', 'streaming', 'msg', 'srv', 'action'},
}
ROS = {'rclpy', 'sensor_msgs', 'std_msgs', 'cv_bridge', 'launch', 'ament_index_python'}


def imports(tree: ast.AST) -> Iterator[str]:
    """Full names of the modules that a syntax tree imports, wherever it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == 'instructseg_ros':
            yield from (f'instructseg_ros.{alias.name}' for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def layer_imports(layer: str) -> Iterator[tuple[Path, str]]:
    """Yield (module, what it imports) for every module of a layer."""
    for path in sorted((PACKAGE / layer).rglob('*.py')):
        for name in imports(ast.parse(path.read_text())):
            yield path.relative_to(PACKAGE), name


@pytest.mark.parametrize('layer', BELOW)
def test_a_layer_knows_only_those_below_it(layer: str) -> None:
    above = [(path, name) for path, name in layer_imports(layer)
             if name.startswith('instructseg_ros.')
             and name.split('.')[1] not in BELOW[layer] | {layer, '__version__'}]
    assert above == []


@pytest.mark.parametrize('layer', sorted(set(BELOW) - {'ros'}))
def test_nothing_below_the_ros_layer_imports_ros(layer: str) -> None:
    assert [(path, name) for path, name in layer_imports(layer)
            if name.split('.')[0] in ROS] == []


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = ('torch', 'transformers', 'numpy', 'mujoco', 'rclpy', 'rosbags', 'PIL')
    code = f'import sys, instructseg_ros; print([m for m in {heavy} if m in sys.modules])'
    answer = subprocess.run([sys.executable, '-c', code], check=True, capture_output=True)
    assert answer.stdout.strip() == b'[]'


@pytest.mark.parametrize('layer', BELOW)
def test_importing_a_layer_loads_neither_torch_nor_ros(layer: str) -> None:
    code = (f'import sys, instructseg_ros.{layer}; '
            'print([m for m in ("torch", "transformers", "rclpy") if m in sys.modules])')
    answer = subprocess.run([sys.executable, '-c', code], check=True, capture_output=True)
    assert answer.stdout.strip() == b'[]'


def calls(tree: ast.AST) -> Iterator[str]:
    """Calls of a syntax tree, as `name(keyword=value, ...)` without positional arguments."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            keywords = ', '.join(ast.unparse(keyword) for keyword in node.keywords)
            yield f'{ast.unparse(node.func)}({keywords})'


@pytest.mark.parametrize('path', MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_runs_what_a_file_contains(path: Path) -> None:
    tree = ast.parse(path.read_text())
    forbidden = {'pickle', 'dill', 'joblib', 'marshal', 'shelve'}
    assert {name.split('.')[0] for name in imports(tree)} & forbidden == set()
    loads = [call for call in calls(tree)
             if call.startswith(('eval(', 'exec(')) or 'trust_remote_code=True' in call
             or 'shell=True' in call or 'allow_pickle=True' in call
             or (call.startswith('torch.load(') and 'weights_only=True' not in call)]
    assert loads == []
