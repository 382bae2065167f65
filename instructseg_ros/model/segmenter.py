"""Segmenter: an image and an instruction in, a mask out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch

from instructseg_ros.model.batches import in_batches
from instructseg_ros.model.checkpoints import load_head, load_model
from instructseg_ros.model.decoding import Part, join, parts
from instructseg_ros.model.device import SideStream, Upload, on_device
from instructseg_ros.model.generation import TextGenerator
from instructseg_ros.model.mask_decoder import best_mask
from instructseg_ros.model.model_files import ModelError, find_model
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.precision import (
    choose_device,
    choose_precision,
    is_large,
    pack_linear_layers,
)
from instructseg_ros.model.prediction import Prediction, why_not_found
from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.model.prompt_cache import PromptCache
from instructseg_ros.model.reasoner import Reasoner
from instructseg_ros.model.reuse import (
    Expression,
    FramePixels,
    FrameTokens,
    Picture,
    Reading,
    Understanding,
    own_rows,
)
from instructseg_ros.model.tasks import Task, choose_task

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


class Segmenter:
    """InstructSeg on one device; it takes the model over, which can then not be trained or saved.

    `segment` answers in one call. A stream calls the stages that it is made of, and each only
    where its inputs changed: `read` an instruction, `encode` frames, `reason` about both,
    `encode_pixels` of frames, `decode` the masks. Each stage takes the frames of several cameras
    and answers as for each by itself. One thread at a time.

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
        self._upload = Upload(device)
        self._side = SideStream(device)
        longest = config.text_config.max_position_embeddings
        self._prompts = PromptCache(processor, device=device, longest=longest)
        self._reasoner = Reasoner(self._model, self._prompts)

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
            dtype: `auto`, `float32`, `bfloat16`, `float16`, `float16_weights`, `mixed` or `int8`,
                see `choose_precision`.
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
        self._prompts.pad(BUCKET)
        compile_stages(self._model, backend=backend)

    @property
    def release_threshold(self) -> float:
        """Score below which a target that was there counts as gone; moves with `threshold`."""
        return self.threshold * self._release

    def segment(
        self,
        image: Picture,
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
            tokens: `encode` of the image, where they are there already.
        """
        return self.segment_all(image, [instruction], references, task=task, tokens=tokens)[0]

    def segment_all(
        self,
        image: Picture,
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
        self._prompts([expressions], len(references))  # too long a text costs no pass
        pixels = self.encode_pixels([image])
        [tokens] = self.encode([image]) if tokens is None else [tokens]
        return self.decode(self.reason([expressions], [tokens], [references]), pixels)[0]

    def read(self, text: str, task: Task = Task.AUTO, *, verbatim: bool = False) -> Expression:
        """Make of a text what is kept of it from frame to frame.

        Args:
            verbatim: put it to the model letter for letter, as benchmarks do; otherwise whitespace
                is normalised and a referring phrase gets a full stop.
        """
        known, unknown = self._processor.known_and_unknown(text)
        kind = choose_task(text) if task is Task.AUTO else task
        wording = text if verbatim else self._processor.wording(text, kind)
        unknown = list(dict.fromkeys(unknown))
        return Expression(text=wording, task=kind, known=bool(known), unknown=tuple(unknown))

    @on_device
    def encode(self, images: Sequence[Picture]) -> list[FrameTokens]:
        """Vision tokens of each frame, to keep beside it, in one pass.

        Args:
            images: (H, W, 3) uint8 RGB or of PIL, of any sizes.
        """
        if not images:
            return []
        values = torch.stack([self._processor.vision_values(image) for image in images])
        tokens = self._model.encode_frame(self._upload(values))
        return [FrameTokens(vision=each) for each in own_rows(tokens)]

    @on_device
    def reason(
        self,
        expressions: Sequence[Sequence[Expression]],
        tokens: Sequence[FrameTokens],
        references: Sequence[Sequence[FrameTokens]],
        *,
        keep_references: bool = False,
    ) -> list[list[Understanding]]:
        """Let the language model read expressions on F frames.

        Frames with equal numbers of expressions and of references are read in one batch.

        Args:
            expressions: of each frame.
            tokens: of each frame.
            references: for each frame the tokens of earlier ones, oldest first; none for a still
                image.
            keep_references: the references will stay for some frames: what the language model
                makes of them is kept for each expression.

        Raises:
            ValueError: a text and its reference frames are longer than the model reads.

        Returns:
            for each frame what was understood, in the order of its expressions.
        """
        readings = [
            Reading(expressions=asked, tokens=frame, references=tuple(earlier))
            for asked, frame, earlier in zip(expressions, tokens, references, strict=True)
        ]
        return self._reasoner.read(readings, keep_references=keep_references)

    @on_device
    def encode_pixels(self, images: Sequence[Picture], *, scale: float = 1.0) -> FramePixels:
        """What the mask branch sees of frames, in one pass.

        Args:
            images: (H, W, 3) uint8 RGB or of PIL, at least one, of any sizes.
            scale: of the side of what it looks at; smaller is faster and coarser.
        """
        processor = self._processor
        canvas = processor.config.mask_size if scale == 1.0 else processor.scaled_canvas(scale)
        values = torch.stack([processor.pixel_values(image, canvas) for image in images])
        features = self._side.run(lambda: self._model.encode_pixels(self._upload(values)))
        return FramePixels(features=features, images=tuple(images), canvas=canvas)

    @on_device
    def decode(
        self, understandings: Sequence[Sequence[Understanding]], pixels: FramePixels
    ) -> list[list[Prediction]]:
        """The masks of expressions on F frames.

        Frames with equal numbers of expressions are decoded in one batch, as far as the
        expressions of each were understood together.

        Args:
            understandings: for each frame, of it or of an earlier one; none where no mask is
                wanted.
            pixels: of the F frames.

        Raises:
            ValueError: there are understandings of more or fewer frames than pixels.

        Returns:
            for each frame its masks, in the order of the understandings.
        """
        if len(understandings) != len(pixels.images):
            raise ValueError(
                f'understandings of {len(understandings)} frames for the pixels of '
                f'{len(pixels.images)}: give an empty list for a frame without any'
            )
        self._side.join()
        given = list(parts(understandings))
        kinds = [part.kind for part in given]
        decoded = in_batches(given, kinds, lambda batch: self._decode(batch, pixels))
        answers: list[dict[int, Prediction]] = [{} for _ in understandings]
        for part, predictions in zip(given, decoded, strict=True):
            answers[part.frame].update(zip(part.places, predictions, strict=True))
        return [[answer[place] for place in range(len(answer))] for answer in answers]

    def forget(self) -> None:
        """Give back what memory can be given back, after a DeviceMemoryError.

        Callers drop their FrameTokens and Expressions first.
        """
        self._prompts.clear()
        self._reasoner.clear()
        if self.device.type == 'cuda':
            torch.cuda.empty_cache()

    def generate(
        self,
        image: Picture,
        text: str,
        *,
        explain: bool = False,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
    ) -> str:
        """Answer a question on an image in words; see `TextGenerator.generate`.

        Args:
            image: (H, W, 3) uint8 RGB, or an image of PIL.
            text: the question; with `explain`, the instruction.
            explain: give the reasons for a segmentation, up to its [SEG].
            max_new_tokens: longest answer; also bounded by the model's context.
            temperature: 0 for the likeliest token each time, else that of sampling.
            top_p: sampling draws from the likeliest tokens with this share of the probability.

        Raises:
            ModelError: the model has no head for text: the embedded one has none.
            ValueError: the text leaves no room for an answer in the model's context, or a number
                is out of range.
        """
        if self._generator is None:
            if self._folder is None:
                raise ModelError('only a model that was loaded from a folder generates text.')
            head = load_head(self._folder)
            self._generator = TextGenerator(self._model, self._processor, head)
        return self._generator.generate(
            self.encode([image])[0].vision,
            text,
            explain=explain,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
        )

    def _decode(self, batch: Sequence[Part], pixels: FramePixels) -> list[list[Prediction]]:
        features = pixels.features.of([part.frame for part in batch])
        answer = self._model.decode(join(batch), features, final_only=True).final
        return [
            self._predictions(part, masks, scores, pixels)
            for part, masks, scores in zip(
                batch, answer.mask_logits, answer.score_logits, strict=True
            )
        ]

    def _predictions(
        self, part: Part, masks: torch.Tensor, scores: torch.Tensor, pixels: FramePixels
    ) -> list[Prediction]:
        """The best of (K, Q, h, w) masks with (K, Q) scores, at the size of the part's frame."""
        processor, image = self._processor, pixels.images[part.frame]

        def restore(logits: torch.Tensor) -> torch.Tensor:
            return processor.restore_masks(logits, *_size(image), pixels.canvas)

        predictions = []
        for each, mine, my_scores in zip(part.understandings, masks, scores, strict=True):
            logits, score = best_mask(mine, my_scores, restore)
            sharp = processor.sharpen_mask(logits, image, masks.shape[-2:], pixels.canvas)
            predictions.append(self._prediction(each.expression, sharp, score))
        return predictions

    def _prediction(self, expression: Expression, logits: torch.Tensor, score: float) -> Prediction:
        mask = (logits > 0).cpu().numpy()
        # Of what it has no word for, a model is as sure as of anything else.
        score = score if expression.known else 0.0
        is_empty, unknown = not mask.any(), expression.unknown
        found = bool(score >= self.threshold and not is_empty)
        reason = why_not_found(score, self.threshold, unknown, is_empty=is_empty)
        return Prediction(
            mask=mask,
            probability=logits.sigmoid().cpu().numpy(),
            score=score,
            found=found,
            unknown=unknown,
            reason='' if found else reason,
        )


def _size(image: Picture) -> tuple[int, int]:
    """(height, width)."""
    return image.shape[:2] if isinstance(image, np.ndarray) else (image.height, image.width)
