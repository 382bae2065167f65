"""The names that the README imports from the package itself."""

from __future__ import annotations

import subprocess
import sys

import pytest

import instructseg_ros
from instructseg_ros import SegmentationClient, Segmenter


def test_public_names_are_the_classes_of_their_modules() -> None:
    from instructseg_ros.model import segmenter
    from instructseg_ros.ros import client

    assert Segmenter is segmenter.Segmenter
    assert SegmentationClient is client.SegmentationClient


def test_every_public_name_can_be_imported_and_completed() -> None:
    assert {*instructseg_ros.__all__} <= {*dir(instructseg_ros)}
    assert all(hasattr(instructseg_ros, name) for name in instructseg_ros.__all__)


def test_another_name_is_refused_as_in_any_module() -> None:
    with pytest.raises(AttributeError, match="'instructseg_ros' has no attribute 'Segmenters'"):
        instructseg_ros.Segmenters  # noqa: B018
    with pytest.raises(ImportError):
        from instructseg_ros import Segmenters  # noqa: F401


@pytest.mark.parametrize(
    ('name', 'absent'), [('Segmenter', ['rclpy']), ('SegmentationClient', ['torch'])]
)
def test_a_public_name_imports_only_what_it_needs(name: str, absent: list[str]) -> None:
    code = (
        f'import sys; from instructseg_ros import {name}; '
        f'print([m for m in {absent} if m in sys.modules])'
    )
    answer = subprocess.run([sys.executable, '-c', code], check=True, capture_output=True)
    assert answer.stdout.strip() == b'[]'


def test_listing_the_names_imports_neither_torch_nor_ros() -> None:
    code = (
        'import sys, instructseg_ros; dir(instructseg_ros); '
        'print([m for m in ("torch", "numpy", "rclpy") if m in sys.modules])'
    )
    answer = subprocess.run([sys.executable, '-c', code], check=True, capture_output=True)
    assert answer.stdout.strip() == b'[]'
