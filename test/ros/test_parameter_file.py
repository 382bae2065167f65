from __future__ import annotations

import dataclasses

import yaml

from instructseg_ros.ros.segmentation_parameters import SegmentationParameters
from instructseg_ros.ros.share import share_folder

LAUNCH_ARGUMENTS = {'model', 'device', 'autostart'}


def test_the_parameter_file_holds_every_parameter_with_its_default() -> None:
    (nodes,) = yaml.safe_load(
        (share_folder() / 'config/segmentation.yaml').read_text()).values()
    defaults = dataclasses.asdict(SegmentationParameters())
    assert nodes['ros__parameters'] == {
        name: value for name, value in defaults.items() if name not in LAUNCH_ARGUMENTS}


def test_every_parameter_says_what_it_means() -> None:
    for field in dataclasses.fields(SegmentationParameters):
        assert field.metadata['description'], field.name
        assert isinstance(field.default, (bool, str)) or field.metadata['minimum'] is not None
