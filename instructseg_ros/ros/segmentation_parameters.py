"""Parameters of segmentation_node."""

from __future__ import annotations

from dataclasses import dataclass

from instructseg_ros.ros.parameters import parameter
from instructseg_ros.streaming.instruction import MAX_TEXT_LENGTH


@dataclass(frozen=True, kw_only=True)
class SegmentationParameters:
    """Every parameter with default, meaning and range."""

    autostart: bool = parameter(
        True, 'Configure and activate at the start; false leaves that to a lifecycle manager',
        read_only=True)
    model: str = parameter(
        'embedded', 'embedded, a folder in from_pretrained layout, or a hub id')
    device: str = parameter('auto', 'auto, cpu, cuda or cuda:N')
    dtype: str = parameter(
        'auto', 'Number format of the model: auto, float32, bfloat16, float16, mixed or int8')
    compiled: bool = parameter(
        False, 'Compile most of the model: configuring takes minutes, and frames '
        'less; needs a C++ compiler')
    threads: int = parameter(
        0, 'CPU threads of the model; 0: one less than the cores, which leaves one to the camera',
        minimum=0, maximum=256)
    threshold: float = parameter(
        -1.0, "Least score of a target that counts as found, 0..1; negative: the model's own",
        minimum=-1.0, maximum=1.0, dynamic=True)
    reference_frames: int = parameter(
        -1, "Earlier frames shown to the model beside the newest; negative: the model's own",
        minimum=-1, maximum=16)
    reference_stride: float = parameter(
        -1.0, "Seconds between reference frames; negative: the model's own",
        minimum=-1.0, maximum=10.0)
    schedule: str = parameter(
        'exact', 'What runs when: exact (everything on every frame), fixed_references, two_rate '
        '(the language model less often than the masks) or auto (as needed for target_rate)')
    reason_every: int = parameter(
        3, 'two_rate: frames from one run of the language model to the next',
        minimum=1, maximum=1000)
    refresh_every: int = parameter(
        10, 'fixed_references: frames for which the reference frames stay',
        minimum=1, maximum=1000)
    scene_change: float = parameter(
        0.2, 'two_rate, auto: share of the picture whose change makes the language model run',
        minimum=0.0, maximum=1.0)
    target_rate: float = parameter(
        10.0, 'auto: frames a second to hold, for each camera', minimum=0.01, maximum=1000.0)
    target_latency: float = parameter(
        0.0, 'auto: longest time of a frame in the model, s; 0: no limit',
        minimum=0.0, maximum=600.0)
    max_instructions: int = parameter(
        8, 'Most instructions that are followed at once', minimum=1, maximum=64)
    max_age: float = parameter(
        1.0, 'An image that arrived longer ago is not segmented, s', minimum=0.01, maximum=60.0)
    image_timeout: float = parameter(
        3.0, 'A live instruction is answered FAILED after so long without an image, s',
        minimum=0.1, maximum=600.0)
    lifetime: float = parameter(
        0.0, 'A text on command stays live so long, s; 0: until replaced or stopped',
        minimum=0.0, maximum=86400.0, dynamic=True)
    max_text_length: int = parameter(
        MAX_TEXT_LENGTH, 'Longest instruction that is accepted, characters',
        minimum=1, maximum=4096, dynamic=True)
    overlay_opacity: float = parameter(
        0.45, 'Opacity of the mask in the overlay', minimum=0.0, maximum=1.0, dynamic=True)
