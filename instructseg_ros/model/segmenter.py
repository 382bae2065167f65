"""The model's facade: an image and an instruction in, a mask out."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from instructseg_ros.model.checkpoints import ModelError, find_model, load_head, load_model
from instructseg_ros.model.compilation import BUCKET, compile_stages
from instructseg_ros.model.device import SideStream, Upload, on_device
from instructseg_ros.model.generation import TextGenerator
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.packing import pack_linear_layers
from instructseg_ros.model.precision import choose_device, choose_precision, is_large
from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.model.reuse import (
    Expression,
    FramePixels,
    FrameTokens,
    ReferenceReader,
    Understanding,
)
from instructseg_ros.model.selection import best_mask
from instructseg_ros.model.states import Prompt, Reasoning, VisualContext
from instructseg_ros.model.tasks import Task, choose_task

_PROMPTS = 32  # sets of instructions whose tokens are kept


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

    `segment` answers in one call. A stream calls the stages that it is made of, and each only
    where its inputs changed: `read` an instruction, `encode` a frame, `reason` about both,
    `encode_pixels` of a frame, `decode` the masks. One thread at a time.

    Attributes:
        name: what the model was named by.
        threshold: score from which a target counts as found.
        reference_frames: earlier frames that the model wants beside the one to segment.
        reference_stride: seconds between them.
        max_reference_stride: most seconds between them that it was trained for.
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
        release = config.release_threshold
        self._release = 1.0 if release is None else release / max(config.score_threshold, 1e-6)
        self.reference_frames = config.reference_frames
        self.reference_stride = config.reference_stride
        self.max_reference_stride = config.max_reference_stride
        self._model = model.to(device).eval()
        pack_linear_layers(self._model)
        self._processor = processor
        self._folder = folder
        self._generator: TextGenerator | None = None
        self._multiple = 1  # of tokens, to which prompts are padded
        self._upload = Upload(device)
        self._side = SideStream(device)
        self._prompt = functools.lru_cache(maxsize=_PROMPTS)(self._tokenize)
        self._references = ReferenceReader(self._model, self._prompt_of)

    @classmethod
    def from_pretrained(
        cls,
        model: str = 'embedded',
        *,
        device: str = 'auto',
        dtype: str = 'auto',
        threshold: float | None = None,
        compiled: bool = False,
    ) -> Segmenter:
        """Load a model.

        Args:
            model: `embedded`, a folder, or a hub id that was downloaded before.
            device: `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`...
            dtype: `auto`, `float32`, `bfloat16`, `float16`, `mixed` or `int8`, see
                `choose_precision`.
            threshold: None: the one stored with the model.
            compiled: see `compile`; needs a C++ compiler.

        Raises:
            ModelError: the model, the device or the dtype cannot be had; the message names the
                remedy.
        """
        where = choose_device(device)
        folder = find_model(model)
        precision = choose_precision(dtype, where, large=is_large(folder))
        weights, processor = load_model(folder, precision)
        segmenter = cls(
            weights, processor, name=model, device=where, threshold=threshold, folder=folder
        )
        if compiled:
            segmenter.compile()
        return segmenter

    def compile(self, *, backend: str = 'inductor') -> None:
        """Let torch compile most of the model when it first runs, see `compile_stages`.

        The first frame then takes minutes, and those after it less than before.
        """
        self._prompt.cache_clear()
        self._multiple = BUCKET
        compile_stages(self._model, backend=backend)

    @property
    def release_threshold(self) -> float:
        """Score below which a target that was there counts as gone; moves with `threshold`."""
        return self.threshold * self._release

    def segment(
        self,
        image: np.ndarray | Image.Image,
        instruction: str,
        references: Sequence[FrameTokens] = (),
        *,
        task: Task = Task.AUTO,
        tokens: FrameTokens | None = None,
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

    def segment_all(
        self,
        image: np.ndarray | Image.Image,
        instructions: Sequence[str],
        references: Sequence[FrameTokens] = (),
        *,
        task: Task = Task.AUTO,
        tokens: FrameTokens | None = None,
    ) -> list[Prediction]:
        """Segment several instructions on one image in one pass; see `segment`."""
        if isinstance(instructions, str):
            raise ValueError('instructions is a list of texts; for one text there is `segment`')
        if not instructions:
            return []
        expressions = [self.read(text, task) for text in instructions]
        self._check_length(self._prompt_of(expressions, len(references)), len(references))
        pixels = self.encode_pixels(image)
        tokens = self.encode(image) if tokens is None else tokens
        return self.decode(self.reason(expressions, tokens, references), pixels)

    def read(self, text: str, task: Task = Task.AUTO) -> Expression:
        """Make of a text what is kept of it from frame to frame."""
        known, unknown = self._processor.known_and_unknown(text)
        kind = choose_task(text) if task is Task.AUTO else task
        return Expression(text=text, task=kind, known=bool(known), unknown=tuple(unknown))

    @on_device
    def encode(self, image: np.ndarray | Image.Image) -> FrameTokens:
        """(H, W, 3) uint8 RGB or PIL image -> its vision tokens, to keep beside the frame."""
        values = self._upload(self._processor.vision_values(image)[None])
        return FrameTokens(vision=self._model.encode_frame(values)[0])

    @on_device
    def reason(
        self,
        expressions: Sequence[Expression],
        tokens: FrameTokens,
        references: Sequence[FrameTokens] = (),
        *,
        keep_references: bool = False,
    ) -> list[Understanding]:
        """Let the language model read some expressions on a frame, in one batch.

        Args:
            expressions: at least one.
            tokens: of the frame.
            references: of earlier frames, oldest first; none for a still image.
            keep_references: the references will stay for some frames: what the language model
                makes of them is kept for each expression.

        Raises:
            ValueError: the text and the reference frames are longer than the model reads.
        """
        prompt = self._prompt_of(expressions, len(references))
        self._check_length(prompt, len(references))
        image = tokens.vision[None]
        lead = None
        if self._model.config.motion_perceiver:
            earlier = [each.vision for each in references]
            stacked = torch.stack(earlier)[None] if earlier else None
            context = self._model.perceive(image, stacked, prompt)
        elif keep_references and self._references.end_a_lead(prompt, references):
            lead = self._references.lead(expressions, references, prompt)
            context = VisualContext(image_tokens=image, reference_tokens=None)
        else:
            lead = self._references.text_lead(prompt)
            seen = self._references.tokens(expressions, references or [tokens])
            context = VisualContext(image_tokens=image, reference_tokens=seen)
        return _understandings(expressions, self._model.reason(context, prompt, lead=lead))

    @on_device
    def encode_pixels(self, image: np.ndarray | Image.Image, *, scale: float = 1.0) -> FramePixels:
        """What the mask branch sees of an (H, W, 3) uint8 RGB or PIL image.

        Args:
            scale: of the side of what it looks at; smaller is faster and coarser.
        """
        processor = self._processor
        canvas = processor.config.mask_size if scale == 1.0 else processor.scaled_canvas(scale)
        values = processor.pixel_values(image, canvas)[None]
        features = self._side.run(lambda: self._model.encode_pixels(self._upload(values)))
        return FramePixels(features=features, size=_size(image), canvas=canvas)

    @on_device
    def decode(
        self, understandings: Sequence[Understanding], pixels: FramePixels
    ) -> list[Prediction]:
        """The masks of expressions on a frame, in their order.

        The frame may be a later one than that of an understanding.
        """
        self._side.join()
        groups: dict[int, list[int]] = {}
        for index, understanding in enumerate(understandings):
            groups.setdefault(id(understanding.cells), []).append(index)
        answers: dict[int, Prediction] = {}
        for group in groups.values():
            predictions = self._decode([understandings[index] for index in group], pixels)
            answers.update(zip(group, predictions, strict=True))
        return [answers[index] for index in range(len(understandings))]

    def forget(self) -> None:
        """Give back what memory can be given back, after a DeviceMemoryError.

        Callers drop their FrameTokens and Expressions first.
        """
        self._prompt.cache_clear()
        self._references.clear()
        if self.device.type == 'cuda':
            torch.cuda.empty_cache()

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
        return self._generator.generate(self.encode(image).vision, text, **options)

    def _check_length(self, prompt: Prompt, references: int) -> None:
        length = prompt.input_ids.shape[-1]
        most = self._model.config.text_config.max_position_embeddings
        if length > most:
            raise ValueError(
                f'the instruction and {references} reference frames take {length} tokens, and the '
                f'model reads {most}: shorten the text or give fewer reference frames'
            )

    def _prompt_of(self, expressions: Sequence[Expression], references: int) -> Prompt:
        return self._prompt(tuple((each.text, each.task) for each in expressions), references)

    def _tokenize(self, instructions: tuple[tuple[str, Task], ...], references: int) -> Prompt:
        texts, tasks = zip(*instructions, strict=True)
        prompt = self._processor.prompt(
            [texts], task=tasks, reference_frames=references, multiple_of=self._multiple
        )
        return prompt.to(self.device)

    def _decode(
        self, understandings: Sequence[Understanding], pixels: FramePixels
    ) -> list[Prediction]:
        answer = self._model.decode(_join(understandings), pixels.features, final_only=True).final

        def restore(logits: torch.Tensor) -> torch.Tensor:
            return self._processor.restore_masks(logits, *pixels.size, pixels.canvas)

        return [
            self._prediction(each.expression, *best_mask(masks, scores, restore))
            for each, masks, scores in zip(
                understandings, answer.mask_logits[0], answer.score_logits[0], strict=True
            )
        ]

    def _prediction(
        self, expression: Expression, logits: torch.Tensor, score: float
    ) -> Prediction:
        mask = (logits > 0).cpu().numpy()
        # Of what it has no word for, a model is as sure as of anything else.
        score = score if expression.known else 0.0
        return Prediction(
            mask=mask,
            probability=logits.sigmoid().cpu().numpy(),
            score=score,
            found=bool(score >= self.threshold and mask.any()),
            unknown=expression.unknown,
        )


def _understandings(
    expressions: Sequence[Expression], reasoning: Reasoning
) -> list[Understanding]:
    cells = None if reasoning.cells is None else reasoning.cells[0]
    rows = zip(expressions, reasoning.mask_tokens[0], reasoning.pooled[0], strict=True)
    return [
        Understanding(expression=expression, mask_tokens=tokens, pooled=pooled, cells=cells)
        for expression, tokens, pooled in rows
    ]


def _join(understandings: Sequence[Understanding]) -> Reasoning:
    """One batch of expressions that share their cells."""
    cells = understandings[0].cells
    return Reasoning(
        mask_tokens=torch.stack([each.mask_tokens for each in understandings])[None],
        pooled=torch.stack([each.pooled for each in understandings])[None],
        cells=None if cells is None else cells[None],
    )


def _size(image: np.ndarray | Image.Image) -> tuple[int, int]:
    """(height, width)."""
    return image.shape[:2] if isinstance(image, np.ndarray) else (image.height, image.width)

