"""Compiles what runs on every frame."""

from __future__ import annotations

from typing import Final

from instructseg_ros.model.modeling import InstructSegModel

# Tokens: prompts are padded to multiples of it, so that few lengths have to be compiled.
BUCKET: Final = 8


def compile_stages(model: InstructSegModel, *, backend: str = 'inductor') -> None:
    """Let torch compile vision tower, pixel branch and the language model's layers.

    Each is compiled for every shape that it meets, when it first meets it: sizes of the input, and
    numbers and lengths of instructions. From the ninth shape on torch leaves a stage as it is. The
    mask decoder is not worth it: its shapes change as often, and it is little work.

    Args:
        model: on its device, its layers packed or quantized where they will be.
        backend: of `torch.compile`.
    """
    for stage in (model.vision_tower, model.pixel_branch, *model.language_model.layers):
        stage.compile(backend=backend, dynamic=False)
