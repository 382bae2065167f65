"""Parameters of segmentation_node."""

from __future__ import annotations

from dataclasses import dataclass

from instructseg_ros.model import DTYPES
from instructseg_ros.ros.messages import LABEL_ENCODINGS
from instructseg_ros.ros.parameters import parameter
from instructseg_ros.streaming.instruction import MAX_TEXT_LENGTH
from instructseg_ros.streaming.schedule import Schedule

TRANSPORTS = ('raw', 'compressed')
RECTIFICATIONS = ('auto', 'raw', 'rectified')


@dataclass(frozen=True, kw_only=True)
class SegmentationParameters:
    """Every parameter with default, meaning and range."""

    autostart: bool = parameter(
        True,
        'Configure and activate at the start; false leaves that to a lifecycle manager',
        read_only=True,
    )
    model: str = parameter('embedded', 'embedded, a folder in from_pretrained layout, or a hub id')
    device: str = parameter('auto', 'auto, cpu, cuda or cuda:N')
    dtype: str = parameter('auto', 'Number format of the model', choices=DTYPES)
    compiled: bool = parameter(
        False,
        'Compile most of the model: configuring takes minutes, and frames '
        'less; needs a C++ compiler',
    )
    threads: int = parameter(
        0,
        'CPU threads of the model; 0: one less than the cores, which leaves one to the camera',
        minimum=0,
        maximum=256,
    )
    cameras: list[str] = parameter(  # noqa: RUF009
        [''],
        'Names of the cameras, which are the namespaces of their topics: front has '
        'front/image and front/mask; an empty name: one camera, on image',
    )
    image_transports: list[str] = parameter(  # noqa: RUF009
        ['raw'],
        'Of all cameras, or of each in their order; compressed listens to '
        'image/compressed (JPEG or PNG)',
        choices=TRANSPORTS,
    )
    depth: bool = parameter(
        True, 'Listen to depth/image and camera_info, and publish points, poses and boxes'
    )
    rectification: str = parameter(
        'auto',
        'What images, and depth registered to them, are: raw (K and D of camera_info '
        'apply), rectified (P applies) or auto (rectified where the resolved name of the image '
        'topic ends as image_rect, image_rect_color or rect/image do; else raw)',
        choices=RECTIFICATIONS,
    )
    sync_slop: float = parameter(
        0.02, 'Most time between the stamps of an image and its depth, s', minimum=0.0, maximum=1.0
    )
    sync_queue: int = parameter(
        10, 'Messages that wait for those that match them', minimum=1, maximum=100
    )
    target_frame: str = parameter(
        '', "Frame of poses and boxes, by tf2; empty: the camera's optical frame"
    )
    broadcast_targets: bool = parameter(
        False,
        'Broadcast the pose of each target by tf2, as frame target_<id of the command>, '
        'or target_<camera>_<id> where the camera has a name',
    )
    label_encoding: str = parameter('16UC1', 'Encoding of labels', choices=LABEL_ENCODINGS)
    threshold: float = parameter(
        -1.0,
        "Least score of a target that counts as found, 0..1; negative: the model's own",
        minimum=-1.0,
        maximum=1.0,
        dynamic=True,
    )
    reference_frames: int = parameter(
        -1,
        "Earlier frames shown to the model beside the newest; negative: the model's own",
        minimum=-1,
        maximum=16,
    )
    reference_stride: float = parameter(
        -1.0,
        "Seconds between reference frames; negative: the model's own",
        minimum=-1.0,
        maximum=10.0,
    )
    schedule: str = parameter(
        'exact',
        'What runs when: exact (everything on every frame), fixed_references, two_rate '
        '(the language model less often than the masks) or auto (as needed for target_rate)',
        choices=[schedule.value for schedule in Schedule],
    )
    reason_every: int = parameter(
        3,
        'two_rate: frames from one run of the language model to the next',
        minimum=1,
        maximum=1000,
    )
    refresh_every: int = parameter(
        10, 'fixed_references: frames for which the reference frames stay', minimum=1, maximum=1000
    )
    scene_change: float = parameter(
        0.2,
        'two_rate, auto: share of the picture whose change makes the language model run',
        minimum=0.0,
        maximum=1.0,
    )
    target_rate: float = parameter(
        10.0, 'auto: frames a second to hold, for each camera', minimum=0.01, maximum=1000.0
    )
    target_latency: float = parameter(
        0.0,
        'auto: longest time of a frame in the model, s; 0: no limit',
        minimum=0.0,
        maximum=600.0,
    )
    max_instructions: int = parameter(
        8, 'Most instructions that are followed at once', minimum=1, maximum=64
    )
    max_command_rate: float = parameter(
        10.0,
        'Commands a second that are accepted in the long run; others are REJECTED',
        minimum=0.1,
        maximum=1000.0,
        dynamic=True,
    )
    command_burst: int = parameter(
        20, 'Commands that are accepted at once', minimum=1, maximum=1000, dynamic=True
    )
    max_rate: float = parameter(
        0.0,
        'Most images a second of each camera that are segmented, besides those for requests; '
        '0: no limit',
        minimum=0.0,
        maximum=1000.0,
        dynamic=True,
    )
    lazy: bool = parameter(
        False,
        'Segment for live commands only while somebody subscribes to a result; services '
        'and actions always work',
        dynamic=True,
    )
    max_age: float = parameter(
        1.0, 'An image that arrived longer ago is not segmented, s', minimum=0.01, maximum=60.0
    )
    image_timeout: float = parameter(
        3.0,
        'A live instruction is answered FAILED after so long without an image, s',
        minimum=0.1,
        maximum=600.0,
    )
    lifetime: float = parameter(
        0.0,
        'A text on command stays live so long, s; 0: until replaced or stopped',
        minimum=0.0,
        maximum=86400.0,
        dynamic=True,
    )
    max_text_length: int = parameter(
        MAX_TEXT_LENGTH,
        'Longest instruction that is accepted, characters',
        minimum=1,
        maximum=4096,
        dynamic=True,
    )
    overlay_opacity: float = parameter(
        0.45, 'Opacity of the mask in the overlay', minimum=0.0, maximum=1.0, dynamic=True
    )
