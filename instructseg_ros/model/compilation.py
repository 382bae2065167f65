"""Compiles the stages that run on every frame."""

from __future__ import annotations

from instructseg_ros.model.modeling import InstructSegModel


def compile_stages(model: InstructSegModel, *, backend: str = 'inductor') -> None:
    """Let torch compile vision tower and pixel branch, each when it first runs.

    Their inputs have one shape in a stream, as long as its input size stays. The language model
    and the mask decoder are left as they are: their shapes change with the number and length of
    the instructions, and the first is few, large products.

    Args:
        model: on its device, its layers packed or quantized where they will be.
        backend: of `torch.compile`.
    """
    for stage in (model.vision_tower, model.pixel_branch):
        stage.compile(backend=backend, dynamic=False)
