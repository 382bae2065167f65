"""Converts published checkpoints to the layout of `InstructSegModel.from_pretrained`."""
