from __future__ import annotations

from instructseg_ros.ros.transport import share_folder


def test_configuration_and_launch_files_are_found() -> None:
    folder = share_folder()
    for name in (
        'config/fastdds.xml',
        'config/segmentation.yaml',
        'config/instructseg.rviz',
        'launch/segmentation.launch.py',
        'launch/demo.launch.py',
    ):
        assert (folder / name).is_file(), name
