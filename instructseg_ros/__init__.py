"""InstructSeg on ROS 2: an instruction and camera images in, masks of what was meant out."""

from instructseg_ros import interruption

__version__ = '0.1.0'

interruption.end_quietly()
