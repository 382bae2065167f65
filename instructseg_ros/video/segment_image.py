"""Implements `instructseg segment` for an image file, or a video frame with earlier frames."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from instructseg_ros.model.tasks import Task
from instructseg_ros.streaming.image_files import write_mask
from instructseg_ros.streaming.instruction import Instruction, clean_text
from instructseg_ros.streaming.overlay import draw_overlay
from instructseg_ros.streaming.segmentation import Segmentation, State, prediction_fields

if TYPE_CHECKING:
    from instructseg_ros.model.segmenter import Segmenter


def segment_still(
    segmenter: Segmenter,
    image: np.ndarray,
    text: str,
    references: Sequence[np.ndarray] = (),
    *,
    task: Task = Task.AUTO,
) -> Segmentation:
    """Segment the target of an instruction on one image.

    Args:
        segmenter: The model.
        image: (H, W, 3) uint8 RGB.
        text: The instruction.
        references: Earlier frames, oldest first; none for a still image.
        task: AUTO chooses referring or reasoning from the text.

    Raises:
        InstructionError: The text is not a valid instruction.
    """
    instruction = Instruction(text=clean_text(text), task=task)
    features = segmenter.encode(segmenter.aligned(references, image))
    prediction = segmenter.segment(image, instruction.text, features, task=task)
    return Segmentation(
        instruction=instruction,
        image=image,
        reference_frames=len(references),
        **prediction_fields(prediction, found=prediction.found, threshold=segmenter.threshold),
    )


def check_output(file: Path, *, inputs: Sequence[Path]) -> tuple[Path, Path]:
    """Refuse an output file that is not an image, or that would overwrite an input.

    Returns:
        The files of the overlay and of the mask.

    Raises:
        ValueError: The suffix is not an image format's, or an output would replace an input.
    """
    image_format = Image.registered_extensions().get(file.suffix.lower())
    try:
        Image.new('RGB', (1, 1)).save(io.BytesIO(), image_format)
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(
            f'{file}: name a file for an image, such as {file.stem or "answer"}.png'
        ) from error
    read = {path.resolve() for path in inputs}
    outputs = file, _mask_file(file)
    for written in outputs:
        if written.resolve() in read:
            raise ValueError(f'{written} would be overwritten: name another output')
    return outputs


def _mask_file(file: Path) -> Path:
    return file.with_name(f'{file.stem}_mask.png')


def write_pictures(result: Segmentation, file: Path) -> dict[str, str]:
    """Write the overlay to a file, and the mask (0 or 255; all 0 unless FOUND) next to it.

    Returns:
        The names of both files.
    """
    assert result.image is not None and result.mask is not None
    file.parent.mkdir(parents=True, exist_ok=True)
    mask = _mask_file(file)
    Image.fromarray(draw_overlay(result.image, result)).save(file)
    found = result.mask & (result.state is State.FOUND)
    write_mask(mask, found)
    return {'overlay': str(file), 'mask': str(mask)}


def summary(result: Segmentation) -> dict[str, Any]:
    """Return the fields of a result for JSON."""
    return {
        'instruction': result.instruction.text,
        'state': result.state.name,
        'reason': result.reason,
        'score': round(result.score, 4),
        'pixels': result.pixels,
        'region': result.region,
        'reference_frames': result.reference_frames,
    }
