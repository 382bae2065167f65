"""Renderers whose OpenGL crashes, importable by child processes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from instructseg_ros.tabletop.training.scene_store import SceneStore


def die_at_once(folder: Path, stride: float, indices: np.ndarray) -> None:
    """Do nothing."""
    os._exit(1)


def finish_one_and_die(folder: Path, stride: float, indices: np.ndarray) -> None:
    """Do a scene, and live only if it was the last."""
    store = SceneStore.open(folder)
    store.done[indices[0]] = True
    if not store.done.all():
        os._exit(1)
