"""The model's facade: an image and an instruction in, a mask out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from instructseg_ros.model.checkpoints import ModelError, find_model, load_head, load_model
from instructseg_ros.model.generation import TextGenerator
from instructseg_ros.model.modeling import InstructSegModel, Lead, Prompt
from instructseg_ros.model.packing import pack_linear_layers
from instructseg_ros.model.precision import choose_device, choose_precision, is_large
from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.model.selection import best_mask
from instructseg_ros.model.tasks import Task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prediction:
    """The answer to one instruction on one image.

    Args:
        mask: (H, W) bool at the image's size.
        probability: (H, W) float32 in 0..1.
        score: 0..1, the product of presence score and mask quality.
        found: the score reaches the threshold and the mask is not empty.
        unknown: words of the instruction that the model has never met.
    """

    mask: np.ndarray
    probability: np.ndarray
    score: float
    found: bool
    unknown: tuple[str, ...] = ()


class Segmenter:
    """InstructSeg on one device; it takes the model over, which can then not be trained or saved.

    Attributes:
        name: what the model was named by.
        threshold: score from which a target counts as found.
        reference_frames: earlier frames that the model wants beside the one to segment.
        reference_stride: seconds between them.
    """

    def __init__(
        self,
        model: InstructSegModel,
        processor: InstructSegProcessor,
        *,
        name: str,
        device: torch.device,
        threshold: float | None = None,
        folder: Path | None = None,
    ) -> None:
        config = model.config
        self.name = name
        self.device = device
        self.threshold = config.score_threshold if threshold is None else threshold
        self.reference_frames = config.reference_frames
        self.reference_stride = config.reference_stride
        self._model = model.to(device).eval()
        pack_linear_layers(self._model)
        self._processor = processor
        self._folder = folder
        self._generator: TextGenerator | None = None
        self._leads: dict[tuple[int, ...], Lead] = {}  # one for each kind of prompt

    @classmethod
    def from_pretrained(
        cls,
        model: str = 'embedded',
        *,
        device: str = 'auto',
        dtype: str = 'auto',
        threshold: float | None = None,
    ) -> Segmenter:
        """Load a model.

        Args:
            model: `embedded`, a folder, or a hub id that was downloaded before.
            device: `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`...
            dtype: `auto`, `float32`, `bfloat16`, `float16` or `mixed`, see `choose_precision`.
            threshold: None: the one stored with the model.

        Raises:
            ModelError: the model, the device or the dtype cannot be had; the message names the
                remedy.
        """
        where = choose_device(device)
        folder = find_model(model)
        precision = choose_precision(dtype, where, large=is_large(folder))
        weights, processor = load_model(folder, precision)
        return cls(
            weights, processor, name=model, device=where, threshold=threshold, folder=folder
        )

    @torch.inference_mode()
    def encode(self, image: np.ndarray | Image.Image) -> torch.Tensor:
        """(H, W, 3) uint8 RGB or PIL image -> (V, D) vision tokens, to keep beside the frame."""
        values = self._processor.vision_values(image)[None].to(self.device)
        return self._model.encode_frame(values)[0]

    def segment(
        self,
        image: np.ndarray | Image.Image,
        instruction: str,
        references: Sequence[torch.Tensor] = (),
        *,
        task: Task = Task.AUTO,
        tokens: torch.Tensor | None = None,
    ) -> Prediction:
        """Segment what an instruction means; one without any known word is not found, score 0.

        Args:
            image: (H, W, 3) uint8 RGB, or an image of PIL.
            instruction: natural language.
            references: tokens of earlier frames, oldest first; none for a still image.
            task: AUTO chooses referring or reasoning from the text.
            tokens: `encode(image)`, where it is there already.
        """
        return self.segment_all(image, [instruction], references, task=task, tokens=tokens)[0]

    @torch.inference_mode()
    def segment_all(
        self,
        image: np.ndarray | Image.Image,
        instructions: Sequence[str],
        references: Sequence[torch.Tensor] = (),
        *,
        task: Task = Task.AUTO,
        tokens: torch.Tensor | None = None,
    ) -> list[Prediction]:
        """Segment several instructions on one image in one pass; see `segment`."""
        if isinstance(instructions, str):
            raise ValueError('instructions is a list of texts; for one text there is `segment`')
        if not instructions:
            return []
        model, processor = self._model, self._processor
        prompt = processor.prompt([instructions], task=task, reference_frames=len(references))
        prompt = prompt.to(self.device)
        self._check_length(prompt, len(references))
        tokens = self.encode(image) if tokens is None else tokens
        earlier = torch.stack(list(references))[None] if references else None
        context = model.perceive(tokens[None], earlier, prompt)
        pixels = processor.pixel_values(image)[None].to(self.device)
        reasoning = model.reason(context, prompt, lead=self._lead(prompt))
        features = model.encode_pixels(pixels)
        answer = model.decode(reasoning, features, final_only=True).final
        height, width = _size(image)

        def restore(logits: torch.Tensor) -> torch.Tensor:
            return processor.restore_masks(logits, height, width)

        answers = zip(instructions, answer.mask_logits[0], answer.score_logits[0], strict=True)
        return [
            self._prediction(text, *best_mask(masks, scores, restore))
            for text, masks, scores in answers
        ]

    def generate(
        self,
        image: np.ndarray | Image.Image,
        text: str,
        **options: Any,
    ) -> str:
        """Answer a question on an image in words.

        Args:
            image: (H, W, 3) uint8 RGB, or an image of PIL.
            text: the question.
            options: those of `TextGenerator.generate`.

        Raises:
            ModelError: the model has no head for text: the embedded one has none.
        """
        if self._generator is None:
            if self._folder is None:
                raise ModelError('only a model that was loaded from a folder generates text.')
            head = load_head(self._folder)
            self._generator = TextGenerator(self._model, self._processor, head)
        return self._generator.generate(self.encode(image), text, **options)

    def _check_length(self, prompt: Prompt, references: int) -> None:
        length = prompt.input_ids.shape[-1]
        most = self._model.config.text_config.max_position_embeddings
        if length > most:
            raise ValueError(
                f'the instruction and {references} reference frames take {length} tokens, and the '
                f'model reads {most}: shorten the text or give fewer reference frames'
            )

    def _lead(self, prompt: Prompt) -> Lead | None:
        """The text that every prompt for images, or for video, begins with, is read once."""
        if not prompt.text:
            return None
        if prompt.text not in self._leads:
            self._leads[prompt.text] = self._model.read_lead(prompt)
        return self._leads[prompt.text]

    def _prediction(self, text: str, logits: torch.Tensor, score: float) -> Prediction:
        mask = (logits > 0).cpu().numpy()
        known, unknown = self._processor.known_and_unknown(text)
        # Of what it has no word for, a model is as sure as of anything else.
        score = score if known else 0.0
        return Prediction(
            mask=mask,
            probability=logits.sigmoid().cpu().numpy(),
            score=score,
            found=bool(score >= self.threshold and mask.any()),
            unknown=tuple(unknown),
        )


def _size(image: np.ndarray | Image.Image) -> tuple[int, int]:
    """(height, width)."""
    return image.shape[:2] if isinstance(image, np.ndarray) else (image.height, image.width)

