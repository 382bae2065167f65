"""Parameters of segmentation_node."""

from __future__ import annotations

from dataclasses import dataclass

from instructseg_ros.model import DTYPES, RUNTIMES
from instructseg_ros.ros.messages import LABEL_ENCODINGS
from instructseg_ros.ros.parameters import parameter
from instructseg_ros.streaming.instruction import MAX_TEXT_LENGTH
from instructseg_ros.streaming.schedule import Schedule

TRANSPORTS = ('raw', 'compressed')
RECTIFICATIONS = ('auto', 'raw', 'rectified')


@dataclass(frozen=True, kw_only=True)
class SegmentationParameters:
    """Every parameter with its default, meaning and range."""

    autostart: bool = parameter(
        True,
        'Configure and activate at startup; false leaves this to a lifecycle manager',
        read_only=True,
    )
    model: str = parameter(
        'embedded', 'Model: embedded, a folder in from_pretrained layout, or a hub id'
    )
    device: str = parameter('auto', 'Device of the model: auto, cpu, cuda or cuda:N')
    dtype: str = parameter('auto', 'Number format of the model', choices=DTYPES)
    runtime: str = parameter(
        'auto',
        'What runs the encoders of images: torch or OpenVINO, which is faster on x86 processors; '
        'auto: OpenVINO if it is installed and the model is a small one in float32 on the CPU',
        choices=RUNTIMES,
    )
    compiled: bool = parameter(
        False,
        'Compile the model with torch.compile: configuring takes minutes longer, but each frame is '
        'faster; needs a C++ compiler',
    )
    threads: int = parameter(
        0,
        'CPU threads of the model; 0: one less than the number of cores, which keeps a core free '
        'for the camera',
        minimum=0,
        maximum=256,
    )
    cameras: list[str] = parameter(  # noqa: RUF009
        [''],
        'Names of the cameras; each name is the namespace of the topics of that camera '
        '(front/image, front/mask). A single empty name means one camera on the topic image',
    )
    image_transports: list[str] = parameter(  # noqa: RUF009
        ['raw'],
        'One image transport for all cameras, or one for each in the order of cameras; compressed '
        'subscribes to image/compressed (JPEG or PNG)',
        choices=TRANSPORTS,
    )
    depth: bool = parameter(
        True, 'Subscribe to depth/image and camera_info, and publish points, poses and boxes'
    )
    rectification: str = parameter(
        'auto',
        'Geometry of the images and of the depth registered to them: raw (K and D of camera_info '
        'apply), rectified (P applies) or auto (rectified if the resolved image topic ends like '
        'image_rect, image_rect_color or rect/image; else raw)',
        choices=RECTIFICATIONS,
    )
    sync_slop: float = parameter(
        0.02,
        'Longest time between the stamps of an image and its depth, s',
        minimum=0.0,
        maximum=1.0,
    )
    sync_queue: int = parameter(
        10,
        'Maximum number of messages per topic that wait to be matched by stamp',
        minimum=1,
        maximum=100,
    )
    target_frame: str = parameter(
        '', "Frame of poses and boxes, looked up with tf2; empty: the camera's optical frame"
    )
    broadcast_targets: bool = parameter(
        False,
        'Broadcast the pose of each target with tf2, as frame target_<id of the command>, or '
        'target_<camera>_<id> if the camera has a name',
    )
    label_encoding: str = parameter('16UC1', 'Encoding of label images', choices=LABEL_ENCODINGS)
    threshold: float = parameter(
        -1.0,
        'Lowest score of a target that counts as found, 0 to 1; negative: the default of the model',
        minimum=-1.0,
        maximum=1.0,
        dynamic=True,
    )
    reference_frames: int = parameter(
        -1,
        'Number of earlier frames that the model receives with the newest one; negative: the '
        'default of the model',
        minimum=-1,
        maximum=16,
    )
    reference_stride: float = parameter(
        -1.0,
        'Time between reference frames, s; negative: the default of the model',
        minimum=-1.0,
        maximum=10.0,
    )
    schedule: str = parameter(
        'exact',
        'When each part of the model runs: exact (everything on every frame), fixed_references '
        '(the reference frames change less often), two_rate (the language model runs less often '
        'than the mask decoder) or auto (reduces work until target_rate holds)',
        choices=[schedule.value for schedule in Schedule],
    )
    reason_every: int = parameter(
        3,
        'two_rate: number of frames from one run of the language model to the next',
        minimum=1,
        maximum=1000,
    )
    refresh_every: int = parameter(
        10,
        'fixed_references: number of frames for which the reference frames stay the same',
        minimum=1,
        maximum=1000,
    )
    scene_change: float = parameter(
        0.2,
        'two_rate, auto: share of the image that must change to run the language model early',
        minimum=0.0,
        maximum=1.0,
    )
    target_rate: float = parameter(
        10.0, 'auto: target rate of each camera, frames per second', minimum=0.01, maximum=1000.0
    )
    target_latency: float = parameter(
        0.0,
        'auto: longest time that a frame may spend in the model, s; 0: no limit',
        minimum=0.0,
        maximum=600.0,
    )
    max_instructions: int = parameter(
        8, 'Maximum number of active instructions', minimum=1, maximum=64
    )
    keep_instructions: bool = parameter(
        False,
        'Keep active instructions when the node is deactivated, and resume them when it is '
        'activated again, also with another model; false: deactivation ends them',
        dynamic=True,
    )
    max_command_rate: float = parameter(
        10.0,
        'Maximum average number of commands per second; further commands are REJECTED',
        minimum=0.1,
        maximum=1000.0,
        dynamic=True,
    )
    command_burst: int = parameter(
        20, 'Maximum number of commands in a burst', minimum=1, maximum=1000, dynamic=True
    )
    max_rate: float = parameter(
        0.0,
        'Maximum number of images segmented per second for each camera, not counting those '
        'for ~/segment and ~/find; 0: no limit',
        minimum=0.0,
        maximum=1000.0,
        dynamic=True,
    )
    lazy: bool = parameter(
        False,
        'Segment for active instructions only while an output has subscribers; services and '
        'actions always work',
        dynamic=True,
    )
    max_age: float = parameter(
        1.0,
        'Longest time from the arrival of an image to its segmentation, s; older images are '
        'dropped',
        minimum=0.01,
        maximum=60.0,
    )
    image_timeout: float = parameter(
        3.0,
        'Time without images after which active instructions get a FAILED result, s',
        minimum=0.1,
        maximum=600.0,
    )
    lifetime: float = parameter(
        0.0,
        'Lifetime of an instruction sent on the topic command, s; 0: until replaced or stopped',
        minimum=0.0,
        maximum=86400.0,
        dynamic=True,
    )
    max_text_length: int = parameter(
        MAX_TEXT_LENGTH,
        'Longest accepted instruction, characters',
        minimum=1,
        maximum=4096,
        dynamic=True,
    )
    overlay_opacity: float = parameter(
        0.45, 'Opacity of the mask in the overlay', minimum=0.0, maximum=1.0, dynamic=True
    )
