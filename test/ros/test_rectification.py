from __future__ import annotations

import pytest

from instructseg_ros.ros.inputs import shows_rectified


@pytest.mark.parametrize(
    ('topic', 'rectified'),
    [
        ('/camera/color/image_rect', True),
        ('/zed/zed_node/rgb/image_rect_color', True),
        ('/zed/zed_node/rgb/color/rect/image', True),
        ('/left/image_rectified', True),
        ('/camera/color/image_raw', False),
        ('/image', False),
        ('/direct/image', False),
        ('/camera/rectangle/image', False),
        ('/rect_robot/image_raw', False),
        ('/rect/camera/image_raw', False),
        ('/infra1/image_rect_raw', True),
    ],
)
def test_the_name_of_a_topic_shows_whether_its_images_are_rectified(
    topic: str, rectified: bool
) -> None:
    assert shows_rectified(topic, 'auto') is rectified
    assert shows_rectified(topic, 'rectified')
    assert not shows_rectified(topic, 'raw')
