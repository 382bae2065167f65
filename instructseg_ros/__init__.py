"""InstructSeg on ROS 2: an instruction and camera images in, masks of what was meant out."""

__version__ = '0.1.0'
