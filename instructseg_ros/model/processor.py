"""Images and instructions to tensors, and masks back to the image's size (spec 1, 3, 4)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from instructseg_ros.model.configuration import InstructSegConfig
from instructseg_ros.model.guided_filter import follow_edges
from instructseg_ros.model.prompt_rows import PromptRow, join_rows
from instructseg_ros.model.states import Prompt
from instructseg_ros.model.tasks import (
    ANSWERS,
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

_FILE = 'processor_config.json'
_CELL = 16  # pixels; the masks' own grid of 4 divides it
_LEAST_CELLS = 4  # so that the coarsest features are more than one
_PADDING = 128  # raw value, before normalising
_MEAN = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
_STD = torch.tensor([58.395, 57.12, 57.375])[:, None, None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProcessorConfig:
    """Sizes that the processor shares with its model.

    Args:
        vision_size: side of the square that the vision tower sees.
        mask_size: (height, width) of the canvas that the mask branch sees.
        image_tokens, num_latents, num_queries: how many places of each kind a prompt has.
        prompts: template of each task, see `prompts.RELEASED`.
        guided_filter: the edges of masks are moved to those of the picture; not in the release.
    """

    vision_size: int
    mask_size: tuple[int, int]
    image_tokens: int
    num_latents: int
    num_queries: int
    prompts: Mapping[str, str] = dataclasses.field(default_factory=lambda: dict(RELEASED))
    guided_filter: bool = False

    @classmethod
    def from_model(
        cls,
        config: InstructSegConfig,
        *,
        mask_size: tuple[int, int],
        prompts: Mapping[str, str],
        guided_filter: bool = False,
    ) -> ProcessorConfig:
        """What the processor of a model has to know of it."""
        return cls(
            vision_size=config.vision_config.image_size,
            mask_size=mask_size,
            image_tokens=config.image_tokens,
            num_latents=config.num_latents,
            num_queries=config.num_queries,
            prompts=dict(prompts),
            guided_filter=guided_filter,
        )


class InstructSegProcessor:
    """Turns images and instructions into the model's tensors and logits into masks."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, config: ProcessorConfig) -> None:
        self.tokenizer = tokenizer
        self.config = config
        self.seg_token_id = int(tokenizer.convert_tokens_to_ids(SEG_TOKEN))

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> InstructSegProcessor:
        """Load the processor that `save_pretrained` wrote to a folder."""
        values: dict[str, Any] = json.loads((Path(folder) / _FILE).read_text())
        values['mask_size'] = tuple(values['mask_size'])
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        return cls(tokenizer, ProcessorConfig(**values))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write tokenizer and configuration to a folder."""
        self.tokenizer.save_pretrained(folder)
        values = dataclasses.asdict(self.config)
        (Path(folder) / _FILE).write_text(json.dumps(values, indent=2) + '\n')

    def vision_values(self, image: np.ndarray | Image.Image) -> torch.Tensor:
        """(H, W, 3) uint8 RGB -> (3, S, S) in [-1, 1]: bicubic, aspect not kept (spec 4.1)."""
        side = self.config.vision_size
        squashed = _as_pil(image).resize((side, side), Image.Resampling.BICUBIC)
        return _to_tensor(squashed) / 127.5 - 1

    def pixel_values(
        self, image: np.ndarray | Image.Image, canvas: Size | None = None
    ) -> torch.Tensor:
        """(H, W, 3) uint8 RGB -> (3, h, w) normalised, letterboxed at the top left (spec 4.2).

        Args:
            canvas: (h, w); None: the model's own.
        """
        canvas = canvas or self.config.mask_size
        picture = _as_pil(image)
        height, width = self.resized_size(picture.height, picture.width, canvas)
        resized = picture.resize((width, height), Image.Resampling.BILINEAR)
        values = torch.full((3, *canvas), float(_PADDING))
        values[:, :height, :width] = _to_tensor(resized)
        return (values - _MEAN) / _STD

    def scaled_canvas(self, scale: float) -> Size:
        """(h, w) of the mask branch's canvas, smaller or larger by a factor, in whole cells."""
        height, width = self.config.mask_size
        return _whole_cells(height * scale), _whole_cells(width * scale)

    def resized_size(self, height: int, width: int, canvas: Size | None = None) -> Size:
        """Size of an image on the mask branch's canvas, its aspect kept."""
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
            instructions: for each frame its instructions, the same number for every frame.
            task: of all, or for each frame those of its instructions; AUTO chooses referring or
                reasoning from the text.
            reference_frames: 0 for a still image.
            multiple_of: prompts are padded to a multiple of so many tokens, and so is the span
                of the instructions in them.
            verbatim: the instructions are worded already, see `wording`.
        """
        if isinstance(task, Task):
            task = [[task] * len(frame) for frame in instructions]
        rows = [
            self.row(text, kind, reference_frames=reference_frames, verbatim=verbatim)
            for texts, kinds in zip(instructions, task, strict=True)
            for text, kind in zip(texts, kinds, strict=True)
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
        """Tokenise one instruction, and the answer that it is to get; see `prompt`.

        Args:
            explanation: what the answer says before its [SEG].
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
        """An instruction as the model reads it (spec 1.2).

        Whitespace is normalised; a referring phrase ends with a full stop.
        """
        text = ' '.join(instruction.split())
        if task is Task.REFERRING and not text.endswith(('.', '!', '?')):
            return f'{text}.'
        return text

    def dialogue(self, turns: Sequence[tuple[str, str]]) -> PromptRow:
        """Tokenise a conversation about an image: questions and their answers (spec 7.6).

        Every answer ends with the end of text, which the last one's `labels` add.
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
        """Tokenise a question on an image, or an instruction whose reasons are asked for."""
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
        """The parts of an instruction that the tokenizer has tokens for, and the others."""
        encoded = self.tokenizer(instruction, add_special_tokens=False, return_offsets_mapping=True)
        parts: tuple[list[str], list[str]] = ([], [])
        for token, (start, end) in zip(
            encoded['input_ids'], encoded['offset_mapping'], strict=True
        ):
            parts[token == self.tokenizer.unk_token_id].append(instruction[start:end])
        return parts

    def restore_masks(
        self, logits: torch.Tensor, height: int, width: int, canvas: Size | None = None
    ) -> torch.Tensor:
        """(N, h, w) mask logits of a canvas -> (N, height, width), the two resizes of spec 3."""
        resized = self.resized_size(height, width, canvas)
        full = _resize(logits[None].float(), canvas or self.config.mask_size)
        return _resize(full[..., : resized[0], : resized[1]], (height, width))[0]

    def sharpen_mask(
        self,
        logits: torch.Tensor,
        image: np.ndarray | Image.Image,
        grid: Size,
        canvas: Size | None = None,
    ) -> torch.Tensor:
        """(height, width) logits of one mask of an image, by `follow_edges` where that is on.

        Args:
            image: (height, width, 3) uint8 RGB, or of PIL.
            grid: (h, w) of the mask before it was restored.
            canvas: that of `restore_masks`.
        """
        if not self.config.guided_filter:
            return logits
        picture = _as_pil(image)
        canvas = canvas or self.config.mask_size
        shrunk = self.resized_size(picture.height, picture.width, canvas)[0] / picture.height
        return follow_edges(logits, picture, cell=canvas[0] / grid[0] / shrunk)

    def _add(self, row: PromptRow, template: str, text: str, frames: int) -> None:
        """Add what a template asks, with an instruction or question in it, and what it answers."""
        asked, name, answer = template.rpartition(ANSWERS)
        for part, said in ((asked + name, False), (answer, True)) if name else ((answer, False),):
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
    return max(_LEAST_CELLS, int(length / _CELL + 0.5)) * _CELL


def _released_size(height: int, width: int, side: int) -> Size:
    """The authors' two steps, whose rounding differs from one step's for a few sizes (spec 4.2)."""
    scale = side / min(height, width)
    tall, wide = (side, scale * width) if height < width else (scale * height, side)
    longest = max(tall, wide)
    if longest > side:
        tall, wide = tall * (side / longest), wide * (side / longest)
    return max(1, int(tall + 0.5)), max(1, int(wide + 0.5))


def shown(pixel_values: torch.Tensor) -> torch.Tensor:
    """(3, H, W) normalised values of the mask branch -> 0..255."""
    return (pixel_values * _STD + _MEAN).clamp(0, 255)


def _as_pil(image: np.ndarray | Image.Image) -> Image.Image:
    if isinstance(image, Image.Image):
        if image.mode[0] not in 'IF' and min(image.size) > 0:
            return image.convert('RGB')
        raise ValueError(
            f'an image of mode {image.mode} and size {image.size}: bring it to 8 bits, (H, W, 3)'
        )
    if not isinstance(image, np.ndarray):
        raise ValueError(f'an image is (H, W, 3) uint8 RGB or of PIL, this one is {type(image)}')
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(
            f'an image is (H, W, 3) uint8 RGB or of PIL, this one is {image.shape} {image.dtype}'
        )
    return Image.fromarray(image)


def _to_tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float()


def _resize(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return functional.interpolate(x, size=size, mode='bilinear', align_corners=False)
