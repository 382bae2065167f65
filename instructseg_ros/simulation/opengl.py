"""Chooses MuJoCo's OpenGL before it is imported: EGL with an NVIDIA GPU, OSMesa elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType


class OpenGLError(RuntimeError):
    """No OpenGL to render with; the message names the remedy."""


REMEDY = (
    'install OSMesa (`apt-get install libosmesa6`), or set MUJOCO_GL=egl where a GPU driver with '
    'EGL is installed, or use the recording, which needs no OpenGL'
)


def load_mujoco() -> ModuleType:
    """Import mujoco with an off-screen OpenGL; an already set MUJOCO_GL is kept."""
    gpu = Path('/proc/driver/nvidia/version').exists()
    os.environ.setdefault('MUJOCO_GL', 'egl' if gpu else 'osmesa')
    # llvmpipe threads cost more than they bring at camera sizes.
    os.environ.setdefault('LP_NUM_THREADS', '1')
    try:
        import mujoco
    except ModuleNotFoundError as error:
        raise OpenGLError('the simulation needs `pip install mujoco`') from error
    except (ImportError, AttributeError, OSError, RuntimeError) as error:
        raise OpenGLError(f'MuJoCo finds no OpenGL ({error}): {REMEDY}') from error
    return mujoco
