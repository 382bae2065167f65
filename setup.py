"""The pip build: the interfaces come from the same CMake project that colcon builds.

If a ROS distribution is sourced (AMENT_PREFIX_PATH is set), it builds against that distribution;
otherwise it builds against the ros-* wheels and depends on them.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
MANIFEST = ElementTree.parse(ROOT / 'package.xml').getroot()
NAME = 'instructseg_ros'
INTERFACES = ('msg', 'srv', 'action')
SOURCED = os.environ.get('AMENT_PREFIX_PATH')
# ROS distribution of the wheels: kilted or jazzy.
WHEELS = os.environ.get('ROS_WHEELS') or 'kilted'

RUNTIME = [
    'huggingface_hub',
    'mcap>=1.1',
    'mujoco>=3.2',
    'numpy',
    'pillow>=10.1',
    'pycocotools>=2.0.7',
    'pyyaml',
    'rapidfuzz>=3',
    'rosbags>=0.11',
    'safetensors>=0.4.3',
    'scipy',
    'tokenizers',
    'torch>=2.4',
    'tqdm',
    'transformers>=5.20,<6',
]
# Video files; image folders and bags are read without it.
VIDEO = ['av>=14']
# The dtype int8. Not for development: once installed, it delays every start by two seconds.
INT8 = ['torchao>=0.16']
# Faster encoders on x86 processors.
OPENVINO = ['openvino>=2025.1']
# Plots of benchmarks.
PLOT = ['matplotlib']
# Metrics as the official tools compute them, and their file formats.
EVALUATION = ['accelerate>=1', 'openpyxl']
# Training of the full-size model.
TRAINING = [*EVALUATION, 'peft>=0.14', 'tensorboard']
# launch_testing does not work with newer pytest.
TOOLS = ['colcon-common-extensions', 'mypy', 'pytest<9', 'pytest-timeout', 'pytest-xdist', 'ruff']
DEVELOPMENT = [*TOOLS, *VIDEO, *PLOT, *OPENVINO, *TRAINING]


def ros_requirements(purpose: str) -> list[str]:
    """Return the ROS wheels to install; none where a distribution is sourced."""
    return [] if SOURCED else requirements(f'{WHEELS}-{purpose}')


def requirements(name: str) -> list[str]:
    """Read the requirements in a file of requirements/."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text().splitlines()
    return [line for line in lines if line and not line.startswith('#')]


def wheels_prefix() -> Path:
    """Find the prefix that holds the wheels' lib/ and share/: an environment or pip's overlay."""
    spec = importlib.util.find_spec('rosidl_cmake')
    if spec is None or spec.origin is None:
        sys.exit(
            f'rosidl_cmake is missing: pip install -r requirements/{WHEELS}-build.txt, or '
            'source a ROS 2 distribution'
        )
    return Path(spec.origin).resolve().parents[4]


def build_environment() -> dict[str, str]:
    """Environment in which CMake finds ROS and the generators find their libraries."""
    if SOURCED:
        return dict(os.environ)
    prefix = str(wheels_prefix())
    environment = dict(os.environ, AMENT_PREFIX_PATH=prefix, CMAKE_PREFIX_PATH=prefix)
    for variable, folder in (('PATH', 'bin'), ('LD_LIBRARY_PATH', 'lib')):
        paths = [f'{prefix}/{folder}', *filter(None, [os.environ.get(variable)])]
        environment[variable] = os.pathsep.join(paths)
    return environment


class BuildInterfaces(build_ext):
    """Installs the CMake project into a staging folder, and copies the result into the wheel."""

    modules = 'site-packages'

    def run(self) -> None:
        """Generate the interfaces; an in-place build puts them next to our modules."""
        stage = Path(self.build_temp).resolve() / 'stage'
        shutil.rmtree(stage, ignore_errors=True)
        self.make(stage)
        in_place = self.inplace or self.editable_mode
        self.copy_modules(stage, (ROOT if in_place else Path(self.build_lib)) / NAME)
        self.distribution.data_files.extend(self.shared_files(stage))
        # An editable install reads this attribute before it installs data files.
        self.distribution.has_data = self.distribution.has_data_files

    def make(self, stage: Path) -> None:
        """Run CMake in a fresh build folder, since pip's overlays move from build to build."""
        environment = build_environment()
        cmake = shutil.which('cmake', path=environment['PATH'])
        if cmake is None:
            sys.exit('cmake is missing: pip install cmake')
        ninja = shutil.which('ninja', path=environment['PATH'])
        with tempfile.TemporaryDirectory() as build:
            configure = ['-S', str(ROOT), '-B', build, *(['-GNinja'] if ninja else [])]
            definitions = {
                'CMAKE_BUILD_TYPE': 'Release',
                'BUILD_TESTING': 'OFF',
                'CMAKE_INSTALL_PREFIX': stage,
                'PYTHON_INSTALL_DIR': self.modules,
                'Python3_EXECUTABLE': sys.executable,
                'CMAKE_PROJECT_INCLUDE': ROOT / 'cmake' / 'ros_wheels.cmake',
            }
            configure += [f'-D{name}={value}' for name, value in definitions.items()]
            compile_all = ['--build', build, '--parallel', str(os.cpu_count() or 1)]
            for arguments in (configure, compile_all, ['--install', build]):
                subprocess.run([cmake, *arguments], env=environment, check=True)

    def copy_modules(self, stage: Path, package: Path) -> None:
        """Copy the generated Python modules and their extensions into a package folder."""
        made = stage / self.modules / NAME
        for kind in INTERFACES:
            shutil.rmtree(package / kind, ignore_errors=True)
            shutil.copytree(made / kind, package / kind, ignore=shutil.ignore_patterns('*.c'))
        for library in made.glob('*.so'):
            shutil.copy2(library, package)

    @staticmethod
    def shared_files(stage: Path) -> Iterator[tuple[str, list[str]]]:
        """Yield (folder in the prefix, files) for the libraries, share/ and the executables."""
        yield 'lib', [str(path) for path in sorted((stage / 'lib').glob('lib*.so'))]
        for root in ('share', f'lib/{NAME}'):
            for folder, _, files in os.walk(stage / root):
                if files:
                    target = Path(folder).relative_to(stage)
                    yield str(target), [str(Path(folder) / file) for file in sorted(files)]

    def get_outputs(self) -> list[str]:
        """Return nothing: the outputs are known only after the build."""
        return []

    def get_output_mapping(self) -> dict[str, str]:
        """Return nothing: an in-place build copies its modules itself."""
        return {}


setup(
    name=NAME,
    version=MANIFEST.findtext('version'),
    description=MANIFEST.findtext('description'),
    license=MANIFEST.findtext('license'),
    maintainer=MANIFEST.findtext('maintainer'),
    python_requires='>=3.10',
    packages=find_packages(
        include=[NAME, f'{NAME}.*'],
        exclude=[f'{NAME}.{kind}{rest}' for kind in INTERFACES for rest in ('', '.*')],
    ),
    package_data={
        NAME: [
            'py.typed',
            'models/**/*',
            'tabletop/*.yaml',
            'tabletop/instructions/look_alikes.txt',
            'tabletop/instructions/synonyms.yaml',
            'tabletop/instructions/paraphrases.txt',
            'tabletop/world/recordings/*.mcap',
            'research/training/recipes/*.yaml',
            'tabletop/training/clauses.txt',
            'tabletop/training/recipes/*.yaml',
            'tabletop/training/word_vectors.safetensors',
        ]
    },
    data_files=[],
    ext_modules=[Extension(f'{NAME}.interfaces', sources=[])],
    cmdclass={'build_ext': BuildInterfaces},
    setup_requires=requirements('build') + ros_requirements('build'),
    install_requires=RUNTIME + ros_requirements('run'),
    extras_require={
        'dev': DEVELOPMENT,
        'video': VIDEO,
        'int8': INT8,
        'openvino': OPENVINO,
        'plot': PLOT,
        'evaluation': EVALUATION,
        'training': TRAINING,
    },
    entry_points={
        'console_scripts': [
            'instructseg = instructseg_ros.cli.main:main',
            'segmentation_node = instructseg_ros.ros.segmentation_node:main',
            'sim_camera = instructseg_ros.tabletop.sim_camera:main',
        ]
    },
    zip_safe=False,
)
