"""Converts images and instructions to tensors, and masks back to the image's size."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from transformers import PreTrainedTokenizerFast

from instructseg_ros.model.configuration import InstructSegConfig
from instructseg_ros.model.guided_filter import follow_edges
from instructseg_ros.model.model_files import LOOK_ALIKES, PROCESSOR
from instructseg_ros.model.pixel_branch import resize
from instructseg_ros.model.prompt_builder import PromptRow, join_rows
from instructseg_ros.model.spelling import repair
from instructseg_ros.model.stage_outputs import Prompt
from instructseg_ros.model.tasks import (
    ASSISTANT,
    CHAT,
    CHAT_ON,
    EXPLAIN,
    IMAGE,
    IMAGE_ID,
    QUESTION,
    REFER,
    RELEASED,
    SEG,
    SEG_ID,
    SEG_TOKEN,
    TEMPORAL,
    TEMPORAL_ID,
    Task,
    choose_task,
    prompt_name,
    split_prompt,
)

Size = tuple[int, int]

_CELL: Final = 16  # pixels, a multiple of the masks' stride of 4
_MIN_CELLS: Final = 4  # so that the coarsest feature map has more than one cell
_PADDING: Final = 128  # pixel value before normalisation
_OUTLIERS: Final = 0.5  # percent of the darkest and of the brightest values that may be clipped
_LOW_CONTRAST: Final = 140  # range of the other values below which an image is stretched
_MEAN = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
_STD = torch.tensor([58.395, 57.12, 57.375])[:, None, None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProcessorConfig:
    """Sizes that the processor shares with its model, prompt templates, and post-processing.

    Args:
        vision_size: Side of the vision tower's square input.
        mask_size: (height, width) of the mask branch's input canvas.
        image_tokens, num_latents, num_queries: Numbers of image tokens, of reference tokens per
            frame, and of mask tokens in a prompt.
        prompts: Template of each task, see `tasks.RELEASED`.
        guided_filter: Whether to move mask edges to image edges; the release does not.
        stretch_levels: Whether to stretch the brightness of images to the full range, which brings
            haze and darkness back to what the model was trained on; the release does not.
        trained_words: Number of words, the first of the tokenizer, that the model was trained with;
            0: all.
        object_words: Number of words after them that name objects the model was not trained with.
            The words after those carry little meaning, such as "because".
        nouns: Nouns for the objects that the model was trained with, in singular and plural.
    """

    vision_size: int
    mask_size: tuple[int, int]
    image_tokens: int
    num_latents: int
    num_queries: int
    prompts: Mapping[str, str] = dataclasses.field(default_factory=lambda: dict(RELEASED))
    guided_filter: bool = False
    stretch_levels: bool = False
    trained_words: int = 0
    object_words: int = 0
    nouns: Sequence[str] = ()

    @classmethod
    def from_model(
        cls,
        config: InstructSegConfig,
        *,
        mask_size: tuple[int, int],
        prompts: Mapping[str, str],
        guided_filter: bool = False,
        stretch_levels: bool = False,
        trained_words: int = 0,
        object_words: int = 0,
        nouns: Iterable[str] = (),
    ) -> ProcessorConfig:
        """Create a configuration with the sizes of a model."""
        return cls(
            vision_size=config.vision_config.image_size,
            mask_size=mask_size,
            image_tokens=config.image_tokens,
            num_latents=config.num_latents,
            num_queries=config.num_queries,
            prompts=dict(prompts),
            guided_filter=guided_filter,
            stretch_levels=stretch_levels,
            trained_words=trained_words,
            object_words=object_words,
            nouns=tuple(nouns),
        )


class InstructSegProcessor:
    """Converts images and instructions to the model's tensors, and logits to masks."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        config: ProcessorConfig,
        look_alikes: Iterable[str] | None = None,
    ) -> None:
        """Create a processor.

        Args:
            tokenizer: Tokenizer of the model.
            config: Sizes and options.
            look_alikes: Words that resemble words of the tokenizer and are no typing errors; other
                unknown words are repaired. None: nothing is repaired, as in the release.
        """
        self.tokenizer = tokenizer
        self.config = config
        self.seg_token_id = int(tokenizer.convert_tokens_to_ids(SEG_TOKEN))
        words = [*tokenizer.get_vocab().items()]
        special = len(tokenizer.all_special_tokens)
        trained = special + (config.trained_words or len(words))
        self._words = frozenset(word for word, number in words if special <= number < trained)
        self._objects = range(trained, trained + config.object_words)
        self._others = frozenset(word for word, number in words if number >= trained)
        self._look_alikes = None if look_alikes is None else frozenset(look_alikes)

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> InstructSegProcessor:
        """Load a processor written by `save_pretrained`."""
        values: dict[str, Any] = json.loads((Path(folder) / PROCESSOR).read_text())
        values['mask_size'] = tuple(values['mask_size'])
        values['nouns'] = tuple(values.get('nouns', ()))
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        alike = Path(folder) / LOOK_ALIKES
        words = alike.read_text().split() if alike.is_file() else None
        return cls(tokenizer, ProcessorConfig(**values), words)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the tokenizer and the configuration to a folder."""
        self.tokenizer.save_pretrained(folder)
        values = dataclasses.asdict(self.config)
        (Path(folder) / PROCESSOR).write_text(json.dumps(values, indent=2) + '\n')
        if self._look_alikes is not None:
            (Path(folder) / LOOK_ALIKES).write_text('\n'.join(sorted(self._look_alikes)) + '\n')

    def vision_values(self, image: np.ndarray | Image.Image) -> torch.Tensor:
        """Prepare an image for the vision tower: (H, W, 3) uint8 RGB -> (3, S, S) in [-1, 1].

        The aspect ratio is not kept, as in the authors' InstructSegDatasets.py.
        """
        side = self.config.vision_size
        squashed = as_pil(image).resize((side, side), Image.Resampling.BICUBIC)
        return _to_tensor(self._stretched(squashed)) / 127.5 - 1

    def pixel_values(
        self, image: np.ndarray | Image.Image, canvas: Size | None = None
    ) -> torch.Tensor:
        """Prepare an image for the mask branch: (H, W, 3) uint8 RGB -> (3, h, w), normalised.

        The image is resized, and put at the top left of a grey canvas, as in the authors'
        IVS_mapper.py.

        Args:
            image: (H, W, 3) uint8 RGB, or a PIL image.
            canvas: (h, w); None: `mask_size`.
        """
        canvas = canvas or self.config.mask_size
        image = as_pil(image)
        height, width = self.resized_size(image.height, image.width, canvas)
        resized = image.resize((width, height), Image.Resampling.BILINEAR)
        values = torch.full((3, *canvas), float(_PADDING))
        values[:, :height, :width] = _to_tensor(self._stretched(resized))
        return normalize(values)

    def scaled_canvas(self, scale: float) -> Size:
        """Return the mask branch's canvas (h, w), scaled and rounded to multiples of 16 pixels."""
        height, width = self.config.mask_size
        return _whole_cells(height * scale), _whole_cells(width * scale)

    def resized_size(self, height: int, width: int, canvas: Size | None = None) -> Size:
        """Return the size of an image on a canvas, with its aspect ratio kept."""
        canvas_height, canvas_width = canvas or self.config.mask_size
        if canvas_height == canvas_width:
            return _released_size(height, width, canvas_height)
        scale = min(canvas_height / height, canvas_width / width)
        return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))

    def prompt(
        self,
        instructions: Sequence[Sequence[str]],
        *,
        task: Task | Sequence[Sequence[Task]] = Task.AUTO,
        reference_frames: int = 0,
        multiple_of: int = 1,
        verbatim: bool = False,
    ) -> Prompt:
        """Tokenise K instructions on each of F frames.

        Args:
            instructions: Instructions of each frame, the same number for every frame.
            task: One task for all instructions, or one for each; AUTO chooses referring or
                reasoning from the text.
            reference_frames: Number of reference frames; 0 for a still image.
            multiple_of: The length of the prompts, and that of the range that covers all
                instructions, are rounded up to a multiple of this.
            verbatim: Whether to use the instructions as they are, without applying `wording`.
        """
        if isinstance(task, Task):
            task = [[task] * len(frame) for frame in instructions]
        rows = [
            self.row(text, each, reference_frames=reference_frames, verbatim=verbatim)
            for texts, tasks in zip(instructions, task, strict=True)
            for text, each in zip(texts, tasks, strict=True)
        ]
        return join_rows(rows, len(instructions[0]), multiple_of)

    def row(
        self,
        instruction: str,
        task: Task,
        *,
        reference_frames: int = 0,
        verbatim: bool = False,
        explanation: str = '',
    ) -> PromptRow:
        """Tokenise one instruction and its expected answer; see `prompt`.

        Args:
            instruction: The text.
            task: Task of the instruction.
            reference_frames: Number of reference frames; 0 for a still image.
            verbatim: Whether to use the instruction as it is, without applying `wording`.
            explanation: Text of the answer before its [SEG].
        """
        task = choose_task(instruction) if task is Task.AUTO else task
        text = instruction if verbatim else self.wording(instruction, task)
        template = self.config.prompts[prompt_name(task, video=reference_frames > 0)]
        row = PromptRow()
        if explanation:
            self._add(row, EXPLAIN, text, 1)
            row.add([*self._encode(explanation), self.seg_token_id], explanation, generated=True)
            template = SEG
        self._add(row, template, text, max(1, reference_frames))
        return row

    def wording(self, instruction: str, task: Task) -> str:
        """Normalise whitespace, and end a referring phrase with a full stop.

        The authors' InstructSegDatasets.py formats referring sentences this way.
        """
        text = ' '.join(instruction.split())
        if task is Task.REFERRING and not text.endswith(('.', '!', '?')):
            return f'{text}.'
        return text

    def dialogue(self, turns: Sequence[tuple[str, str]]) -> PromptRow:
        """Tokenise a conversation about an image: questions and their answers.

        Every answer ends with the end-of-text token; `PromptRow.labels` adds that of the last one.
        """
        row = PromptRow()
        for index, (question, answer) in enumerate(turns):
            if index:
                end = str(self.tokenizer.eos_token)
                row.add(self._encode(end), end, generated=True)
            self._add(row, CHAT if index == 0 else CHAT_ON, question.strip(), 1)
            row.add(self._encode(f' {answer.strip()}'), answer, generated=True)
        return row

    def conversation(self, text: str, *, explain: bool = False) -> Prompt:
        """Tokenise a question about an image; with `explain`, an instruction to be explained."""
        row = PromptRow()
        wording = self.wording(text, Task.REASONING) if explain else text.strip()
        self._add(row, EXPLAIN if explain else CHAT, wording, 1)
        return Prompt(
            input_ids=torch.tensor(row.ids)[None, None],
            refer_mask=torch.tensor(row.refer)[None, None],
            prefix_length=0,
            read_from=0,
            refer_stop=row.refer_stop,
        )

    def known_and_unknown(self, instruction: str) -> tuple[list[str], list[str]]:
        """Split an instruction into known and unknown parts.

        Words without a token and words for objects that the model was not trained with are unknown.
        """
        encoded = self.tokenizer(instruction, add_special_tokens=False, return_offsets_mapping=True)
        parts: tuple[list[str], list[str]] = ([], [])
        for token, (start, end) in zip(
            encoded['input_ids'], encoded['offset_mapping'], strict=True
        ):
            is_unknown = token == self.tokenizer.unk_token_id or token in self._objects
            parts[is_unknown].append(instruction[start:end])
        return parts

    def repair_spelling(
        self, instruction: str, unknown: Sequence[str]
    ) -> tuple[str, dict[str, str]]:
        """Repair typing errors among the unknown words of an instruction, see `spelling.repair`."""
        if self._look_alikes is None:
            return instruction, {}
        return repair(instruction, unknown, self._words, self._look_alikes | self._others)

    def restore_masks(
        self, logits: torch.Tensor, height: int, width: int, canvas: Size | None = None
    ) -> torch.Tensor:
        """Resize mask logits from the canvas to the image: (N, h, w) -> (N, height, width).

        As in the authors' `eval_seg` (llava_phi.py), the logits are resized to the canvas, cropped
        to the part without padding, and resized to the image.
        """
        resized = self.resized_size(height, width, canvas)
        full = resize(logits[None].float(), canvas or self.config.mask_size)
        return resize(full[..., : resized[0], : resized[1]], (height, width))[0]

    def sharpen_mask(
        self,
        logits: torch.Tensor,
        image: np.ndarray | Image.Image,
        grid: Size,
        canvas: Size | None = None,
    ) -> torch.Tensor:
        """Align the edges of a restored mask with the image, if `guided_filter` is on.

        Args:
            logits: (height, width) logits of one mask.
            image: (height, width, 3) uint8 RGB, or a PIL image.
            grid: (h, w) of the mask before it was restored.
            canvas: As passed to `restore_masks`.

        Returns:
            (height, width) logits.
        """
        if not self.config.guided_filter:
            return logits
        image = as_pil(image)
        canvas = canvas or self.config.mask_size
        scale = self.resized_size(image.height, image.width, canvas)[0] / image.height
        return follow_edges(logits, image, cell=canvas[0] / grid[0] / scale)

    def _stretched(self, image: Image.Image) -> Image.Image:
        return stretch_levels(image) if self.config.stretch_levels else image

    def _add(self, row: PromptRow, template: str, text: str, frames: int) -> None:
        """Append a template, filled in with an instruction or a question, and its answer."""
        question, assistant, answer = template.rpartition(ASSISTANT)
        parts = ((question + assistant, False), (answer, True)) if assistant else ((answer, False),)
        for part, said in parts:
            for piece in split_prompt(part):
                row.add(self._encode_piece(piece, text, frames), piece, generated=said)

    def _encode_piece(self, piece: str, text: str, frames: int) -> list[int]:
        config = self.config
        if piece == IMAGE:
            return [IMAGE_ID] * config.image_tokens
        if piece == TEMPORAL:
            return [TEMPORAL_ID] * (config.num_latents * frames)
        if piece == SEG:
            return [SEG_ID] * config.num_queries
        if piece == REFER:
            return [*self._encode(text), self.seg_token_id]
        return self._encode(piece.replace(QUESTION, text))

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)['input_ids'])


def _whole_cells(length: float) -> int:
    return max(_MIN_CELLS, int(length / _CELL + 0.5)) * _CELL


def _released_size(height: int, width: int, side: int) -> Size:
    """Return an image's size after the authors' two resizing steps (IVS_mapper.py).

    For a few sizes, a single step would round differently.
    """
    scale = side / min(height, width)
    tall, wide = (side, scale * width) if height < width else (scale * height, side)
    longest = max(tall, wide)
    if longest > side:
        tall, wide = tall * (side / longest), wide * (side / longest)
    return max(1, int(tall + 0.5)), max(1, int(wide + 0.5))


def stretch_levels(image: Image.Image) -> Image.Image:
    """Stretch an RGB image of low contrast to the full range, alike in all of its colors."""
    pixels = np.asarray(image)
    low, high = np.percentile(pixels[::4, ::4], (_OUTLIERS, 100 - _OUTLIERS))
    if not 0 < high - low < _LOW_CONTRAST:
        return image
    stretched = (pixels.astype(np.float32) - low) * (255 / (high - low))
    return Image.fromarray(stretched.clip(0, 255).round().astype(np.uint8))


def normalize(pixels: torch.Tensor) -> torch.Tensor:
    """Normalise (..., 3, H, W) pixels, 0 to 255, for the mask branch."""
    return (pixels - _MEAN) / _STD


def denormalize(pixel_values: torch.Tensor) -> torch.Tensor:
    """Map (3, H, W) normalised pixels of the mask branch to 0..255."""
    return (pixel_values * _STD + _MEAN).clamp(0, 255)


def as_pil(image: np.ndarray | Image.Image) -> Image.Image:
    """Return an image as a PIL image in RGB.

    Raises:
        ValueError: It is not (H, W, 3) uint8 RGB or a PIL image with 8 bits for each channel.
    """
    if isinstance(image, Image.Image):
        if image.mode[0] not in 'IF' and min(image.size) > 0:
            return image.convert('RGB')
        raise ValueError(
            f'cannot read an image of mode {image.mode} and size {image.size}: convert it to '
            '8 bits, (H, W, 3)'
        )
    if not isinstance(image, np.ndarray):
        raise ValueError(f'an image must be (H, W, 3) uint8 RGB or a PIL image, not {type(image)}')
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(
            f'an image must be (H, W, 3) uint8 RGB or a PIL image, not {image.shape} {image.dtype}'
        )
    return Image.fromarray(image)


def _to_tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float()
