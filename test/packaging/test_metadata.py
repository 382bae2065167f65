"""package.xml, setup.py, CMakeLists.txt, config/fastdds.xml and the code agree."""

from __future__ import annotations

import ast
import re
import sys
from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree

import instructseg_ros

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = ElementTree.parse(ROOT / 'package.xml').getroot()
# Import names that are spelled otherwise in the Python registry.
DISTRIBUTIONS = {'PIL': 'pillow', 'cv2': 'opencv_python_headless', 'yaml': 'pyyaml'}
# Used where it is installed, and answered for where it is missing.
OPTIONAL = {
    'cv_bridge',
    'diagnostic_updater',
    'launch',
    'launch_ros',
    'message_filters',
    'tf2_ros',
    'vision_msgs',  # of ROS
    'accelerate',
    'av',
    'matplotlib',
    'openpyxl',
    'openvino',
    'peft',
    'tensorboard',
    'torchao',  # extras of setup.py
}


def third_party_imports() -> set[str]:
    """Top-level names that our modules import, without the standard library's and our own."""
    names = set()
    for path in (ROOT / 'instructseg_ros').rglob('*.py'):
        if path.relative_to(ROOT).parts[1] in ('msg', 'srv', 'action'):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name.split('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split('.')[0])
    return names - set(sys.stdlib_module_names) - {'instructseg_ros'}


def required_distributions() -> set[str]:
    """Names in setup.py and requirements/kilted-run.txt, as they are imported."""
    texts = (
        (ROOT / 'setup.py').read_text().split('RUNTIME = [')[1].split(']')[0],
        (ROOT / 'requirements' / 'kilted-run.txt').read_text(),
    )
    names = re.findall(r"^[ ']*([a-z][a-z0-9_-]*)", '\n'.join(texts), re.MULTILINE)
    return {name.removeprefix('ros-').replace('-', '_') for name in names}


def test_the_version_is_the_same_everywhere() -> None:
    version = MANIFEST.findtext('version')
    assert instructseg_ros.__version__ == version
    assert metadata.version('instructseg_ros') == version
    assert re.search(
        rf'^## {re.escape(str(version))}\b', (ROOT / 'CHANGELOG.md').read_text(), re.MULTILINE
    )


def test_the_manifest_has_the_fields_that_a_release_needs() -> None:
    assert MANIFEST.get('format') == '3'
    assert MANIFEST.findtext('license') == 'Apache-2.0'
    assert 'Apache License' in (ROOT / 'LICENSE').read_text()
    assert MANIFEST.findtext('member_of_group') == 'rosidl_interface_packages'
    assert MANIFEST.findtext('export/build_type') == 'ament_cmake'


def test_everything_imported_is_required() -> None:
    imported = {DISTRIBUTIONS.get(name, name) for name in third_party_imports()}
    assert imported - required_distributions() - OPTIONAL == set()


def test_everything_required_of_pip_is_imported() -> None:
    imported = {DISTRIBUTIONS.get(name, name) for name in third_party_imports()}
    text = (ROOT / 'setup.py').read_text().split('RUNTIME = [')[1].split(']')[0]
    required = {name.replace('-', '_') for name in re.findall(r"'([a-z_-]+)", text)}
    assert required - imported == set()


def test_the_manifest_names_every_ros_package_that_is_imported() -> None:
    named = {element.text for element in MANIFEST if element.tag.endswith('depend')}
    assert (third_party_imports() & ros_packages('kilted-run', 'ros-')) - named == set()


def ros_packages(requirements: str, prefix: str) -> set[str]:
    """The ROS packages of a file of requirements/."""
    lines = (ROOT / 'requirements' / f'{requirements}.txt').read_text().splitlines()
    return {
        line.split('[')[0].split('~')[0].strip().removeprefix(prefix).replace('-', '_')
        for line in lines
        if line.startswith(prefix)
    }


def test_wheels_of_every_distribution_bring_the_same_packages() -> None:
    assert ros_packages('kilted-run', 'ros-') == ros_packages('jazzy-run', 'ros-jazzy-')


def test_the_transport_profile_fits_large_images() -> None:
    name = {'dds': 'http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles'}
    profiles = ElementTree.parse(ROOT / 'config' / 'fastdds.xml').getroot()
    full_hd = 1920 * 1080 * 3
    assert int(profiles.findtext('.//dds:segment_size', '', name)) >= 8 * full_hd
    assert int(profiles.findtext('.//dds:maxMessageSize', '', name)) >= full_hd
    kinds = [kind.text for kind in profiles.findall('.//dds:type', name)]
    assert kinds == ['SHM', 'UDPv4']
    participant = profiles.find('.//dds:participant', name)
    assert participant is not None
    assert participant.get('is_default_profile') == 'true'
