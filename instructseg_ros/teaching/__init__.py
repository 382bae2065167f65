"""Teaches a model new objects from a handful of examples, on the robot itself."""
