"""Import rules of the subpackages, the cost of importing them, and what no module may do."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / 'instructseg_ros'
MODULES = sorted(
    path
    for path in PACKAGE.rglob('*.py')
    if path.relative_to(PACKAGE).parts[0] not in ('msg', 'srv', 'action')
)
# The rooms, from the top down: a module imports from its own room and from those below.
ROOMS = (
    'cli',
    'teaching',
    'tabletop',
    'research',
    'checks',
    'ros',
    'video',
    'streaming',
    'spatial',
    'model',
)
ROS_ROOMS = {'ros', 'checks', 'tabletop', 'teaching'}
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
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


def room_imports(room: str) -> Iterator[tuple[Path, str]]:
    """Yield (module, what it imports) for every module of a room."""
    for path in sorted((PACKAGE / room).rglob('*.py')):
        for name in imports(ast.parse(path.read_text())):
            yield path.relative_to(PACKAGE), name


@pytest.mark.parametrize('room', ROOMS)
def test_a_room_imports_only_from_those_below_it(room: str) -> None:
    below = {*ROOMS[ROOMS.index(room) :], 'interruption', 'msg', 'srv', 'action', '__version__'}
    above = [
        (path, name)
        for path, name in room_imports(room)
        if name.startswith('instructseg_ros.') and name.split('.')[1] not in below
    ]
    assert above == []


@pytest.mark.parametrize('room', sorted({*ROOMS} - {'tabletop', 'video'}))
def test_the_modules_of_a_room_do_not_import_each_other_in_a_circle(room: str) -> None:
    names = {path: '.'.join(path.with_suffix('').parts) for path, _ in room_imports(room)}
    graph: dict[str, set[str]] = {f'instructseg_ros.{name}': set() for name in names.values()}
    for path, imported in room_imports(room):
        if imported in graph:
            graph[f'instructseg_ros.{names[path]}'].add(imported)
    order = list(TopologicalSorter(graph).static_order())  # a circle raises CycleError
    assert set(order) == set(graph)


@pytest.mark.parametrize('room', sorted(set(ROOMS) - ROS_ROOMS))
def test_only_ros_checks_tabletop_and_teaching_import_ros(room: str) -> None:
    assert [(path, name) for path, name in room_imports(room) if name.split('.')[0] in ROS] == []


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = ('torch', 'transformers', 'numpy', 'mujoco', 'rclpy', 'rosbags', 'PIL')
    code = f'import sys, instructseg_ros; print([m for m in {heavy} if m in sys.modules])'
    answer = subprocess.run([sys.executable, '-c', code], check=True, capture_output=True)
    assert answer.stdout.strip() == b'[]'


@pytest.mark.parametrize('room', ROOMS)
def test_importing_a_room_loads_neither_torch_nor_ros(room: str) -> None:
    code = (
        f'import sys, instructseg_ros.{room}; '
        'print([m for m in ("torch", "transformers", "rclpy") if m in sys.modules])'
    )
    answer = subprocess.run([sys.executable, '-c', code], check=True, capture_output=True)
    assert answer.stdout.strip() == b'[]'


def calls(tree: ast.AST) -> Iterator[str]:
    """Calls of a syntax tree, as `name(keyword=value, ...)` without positional arguments."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            keywords = ', '.join(ast.unparse(keyword) for keyword in node.keywords)
            yield f'{ast.unparse(node.func)}({keywords})'


@pytest.mark.parametrize('path', MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_executes_the_contents_of_a_file(path: Path) -> None:
    tree = ast.parse(path.read_text())
    forbidden = {'pickle', 'dill', 'joblib', 'marshal', 'shelve'}
    # RefCOCO is published as a pickle: this module subclasses the unpickler and restricts it.
    if path == PACKAGE / 'research' / 'published' / 'refcoco.py':
        forbidden.remove('pickle')
    assert {name.split('.')[0] for name in imports(tree)} & forbidden == set()
    loads = [
        call
        for call in calls(tree)
        if call.startswith(('eval(', 'exec(', 'pickle.load', 'pickle.Unpickler'))
        or 'trust_remote_code=True' in call
        or 'shell=True' in call
        or 'allow_pickle=True' in call
        or (call.startswith('torch.load(') and 'weights_only=True' not in call)
    ]
    assert loads == []
