from __future__ import annotations

import pytest

from instructseg_ros.checks.transport_benchmark import benchmark_transport


@pytest.mark.ros
def test_the_benchmark_measures_images_between_two_processes(domain: None) -> None:
    figures = benchmark_transport(frames=5)
    assert set(figures) == {
        'convert_publish_ms',
        'interprocess_ms',
        'conversion_ms',
        'cv_bridge_ms',
        'frames',
    }
    assert figures['frames'] == 5
    assert figures['convert_publish_ms'] > 0.0 and figures['interprocess_ms'] > 0.0
