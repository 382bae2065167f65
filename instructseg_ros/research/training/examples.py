"""Converts samples of data sets to training examples and batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.model.prompt_builder import IGNORED, PromptRow, join_rows
from instructseg_ros.model.stage_outputs import Prompt
from instructseg_ros.research.data.sample import ImageSource, Sample, SampleTask, joined

_GAPS = range(2, 10)  # frames; the maximum gap is drawn from these for each clip


@dataclasses.dataclass(frozen=True)
class Clip:
    """Frames of a video, by index.

    Args:
        key: The frame that is segmented.
        references: Reference frames, in the order of the prompt.
    """

    key: int
    references: tuple[int, ...]


def draw_clip(
    frames: int,
    references: int,
    rng: np.random.Generator,
    *,
    causal: bool = False,
    reversed_share: float = 0.3,
) -> Clip:
    """Draw a key frame and frames near it, forwards or backwards in time.

    As in the authors' IVS_mapper.py, every frame is at most a random gap away from a frame that was
    drawn before, and the key frame is in the middle of the clip.

    Args:
        frames: Number of frames of the video, at least 1.
        references: Number of reference frames; short videos have fewer.
        causal: Make the last frame the key frame and never reverse time, as on a robot.
        reversed_share: Share of the clips in which time is reversed.
    """
    wanted = min(references + 1, frames)
    drawn = sorted(_walk(frames, wanted, rng))
    if causal:
        return Clip(drawn[-1], tuple(drawn[:-1]))
    if rng.random() < reversed_share:
        drawn.reverse()
    key = drawn.pop(wanted // 2)
    return Clip(key, tuple(drawn))


def _walk(frames: int, wanted: int, rng: np.random.Generator) -> set[int]:
    gap = int(rng.choice(_GAPS))
    drawn = {int(rng.integers(frames))}
    while len(drawn) < wanted:
        near = {
            place
            for frame in drawn
            for place in range(max(0, frame - gap), min(frames, frame + gap + 1))
        }
        drawn.add(int(rng.choice(sorted(near - drawn))))
    return drawn


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch:
    """B samples of one form: images, videos with equally many references, or conversations.

    Args:
        keys: Keys of the samples.
        seeds: Seeds of each sample's random points.
        vision_values: (B, 3, S, S) key frames for the vision tower.
        reference_values: (B, T, 3, S, S) reference frames, or None.
        pixel_values: (B, 3, H, W) key frames for the mask branch; None for conversations.
        prompt: For each sample, an instruction or a conversation, with its answer.
        labels: (B, L) the next token for each token of the prompt, or `IGNORED`.
        targets: For each sample, (M, H, W) bool on the mask branch's canvas: M is 1, or 0 if the
            target is absent. Empty for conversations.
        skipped: Problems of broken samples, which other samples replace.
    """

    keys: tuple[str, ...]
    seeds: tuple[int, ...]
    vision_values: torch.Tensor
    reference_values: torch.Tensor | None
    pixel_values: torch.Tensor | None
    prompt: Prompt
    labels: torch.Tensor
    targets: tuple[torch.Tensor, ...]
    skipped: tuple[str, ...] = ()

    def to(self, device: torch.device) -> Batch:
        """Copy the batch to another device."""
        moved: dict[str, Any] = {
            field.name: value.to(device)
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), torch.Tensor | Prompt)
        }
        targets = tuple(target.to(device) for target in self.targets)
        return dataclasses.replace(self, **moved, targets=targets)


_MAX_CLIPS: Final = 200  # draws for one sample, as in the authors' IVS_mapper.py


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExampleConfig:
    """Settings for the conversion of samples to examples; the defaults are the paper's.

    Args:
        reference_frames: Reference frames of a video, besides its key frame.
        causal: Take reference frames from before the key frame, as on a robot.
        reversed_share: Share of the clips in which time is reversed; never in causal clips.
        explained_share: Among samples with an explanation, the share whose answers contain it.
        key_frame_has_target: Draw clips until the target is in the key frame, as
            `preprocess_refvos` and `preprocess_revos` in the authors' IVS_mapper.py do; false: take
            the first clip, so that the target of a video may be absent.
        authors_labels: Label tokens as the authors' scripts do: from the colon before the first
            answer on, and without the first token of later answers; false: label every answer from
            its first token to its end, which is better for new models.
    """

    reference_frames: int = 4
    causal: bool = False
    reversed_share: float = 0.3
    explained_share: float = 0.5
    key_frame_has_target: bool = True
    authors_labels: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """One sample of a `Batch`, which explains the fields."""

    key: str
    seed: int
    vision_values: torch.Tensor
    reference_values: torch.Tensor | None
    pixel_values: torch.Tensor | None
    row: PromptRow
    has_answer: bool
    target: torch.Tensor | None


def form_of(sample: Sample, config: ExampleConfig) -> tuple[bool, int]:
    """Return a sample's form: whether it is a conversation, and its number of reference frames."""
    conversation = sample.task is SampleTask.CONVERSATION
    references = min(config.reference_frames, len(sample.frames) - 1) if sample.task.is_video else 0
    return conversation, references


class ExampleMaker:
    """Loads images, draws clips and sentences, and tokenises the sentences."""

    def __init__(self, processor: InstructSegProcessor, config: ExampleConfig) -> None:
        self.processor = processor
        self.config = config

    def make(self, sample: Sample, seed: int) -> Example:
        """Create an example from a sample; all random choices depend on the seed alone.

        Raises:
            OSError: An image or target is missing.
            ValueError: An image or target is damaged.
        """
        rng = np.random.default_rng(seed)
        if sample.task is SampleTask.CONVERSATION:
            return self._conversation(sample, seed)
        return self._segmentation(sample, seed, rng)

    def batch(self, examples: Sequence[Example]) -> Batch:
        """Combine examples of one form."""
        end = self.processor.tokenizer.eos_token_id
        prompt = join_rows([example.row for example in examples], instructions=1)
        labels = torch.full((len(examples), prompt.input_ids.shape[-1]), IGNORED)
        for row, example in zip(labels, examples, strict=True):
            if example.has_answer and end is not None:
                answer = example.row.labels(end, as_authors=self.config.authors_labels)
                row[: len(answer)] = torch.tensor(answer)
        targets = [example.target for example in examples]
        return Batch(
            keys=tuple(example.key for example in examples),
            seeds=tuple(example.seed for example in examples),
            vision_values=torch.stack([example.vision_values for example in examples]),
            reference_values=_stack([example.reference_values for example in examples]),
            pixel_values=_stack([example.pixel_values for example in examples]),
            prompt=prompt,
            labels=labels,
            targets=tuple(target for target in targets if target is not None),
        )

    def _conversation(self, sample: Sample, seed: int) -> Example:
        turns = [(turn.question, turn.answer) for turn in sample.turns]
        return Example(
            key=sample.key,
            seed=seed,
            vision_values=self.processor.vision_values(sample.frames[0].load()),
            reference_values=None,
            pixel_values=None,
            row=self.processor.dialogue(turns),
            has_answer=True,
            target=None,
        )

    def _segmentation(self, sample: Sample, seed: int, rng: np.random.Generator) -> Example:
        key, references, target = self._draw_frames(sample, rng)
        image = sample.frames[key].load()
        return Example(
            key=sample.key,
            seed=seed,
            vision_values=self.processor.vision_values(image),
            reference_values=self._reference_values(references),
            pixel_values=self.processor.pixel_values(image),
            row=self._row(sample, len(references), rng),
            has_answer=sample.task is SampleTask.IMAGE_REASONING,
            target=self._on_canvas(target, image),
        )

    def _draw_frames(
        self, sample: Sample, rng: np.random.Generator
    ) -> tuple[int, tuple[ImageSource, ...], np.ndarray]:
        """Draw key frame and references; return them and the key frame's (H, W) bool target."""
        if not sample.task.is_video:
            return 0, (), _mask(sample, 0)
        empty: set[int] = set()
        for _ in range(_MAX_CLIPS):
            clip = self._draw_clip(sample, rng)
            if clip.key in empty:
                continue
            mask = _mask(sample, clip.key)
            if self._shown(mask).any() or not self.config.key_frame_has_target:
                return clip.key, tuple(sample.frames[index] for index in clip.references), mask
            empty.add(clip.key)
        raise ValueError(
            f'{sample.key} has no target in the key frames of {_MAX_CLIPS} random clips'
        )

    def _draw_clip(self, sample: Sample, rng: np.random.Generator) -> Clip:
        return draw_clip(
            len(sample.frames),
            self.config.reference_frames,
            rng,
            causal=self.config.causal,
            reversed_share=self.config.reversed_share,
        )

    def _reference_values(self, pictures: Sequence[ImageSource]) -> torch.Tensor | None:
        values = [self.processor.vision_values(picture.load()) for picture in pictures]
        return torch.stack(values) if values else None

    def _row(self, sample: Sample, references: int, rng: np.random.Generator) -> PromptRow:
        if sample.joined:
            text = joined(sample.instructions)
        else:
            text = sample.instructions[rng.integers(len(sample.instructions))]
        explained = bool(sample.explanation) and rng.random() < self.config.explained_share
        return self.processor.row(
            text,
            sample.task.prompt,
            reference_frames=references,
            verbatim=sample.joined or sample.verbatim,
            explanation=sample.explanation if explained else '',
        )

    def _on_canvas(self, mask: np.ndarray, image: Image.Image) -> torch.Tensor:
        """Place a mask on the mask branch's canvas: (M, H, W) bool; M is 0 for an empty mask."""
        if mask.shape != (image.height, image.width):
            raise ValueError(f'a mask of {mask.shape} for an image of {image.height, image.width}')
        canvas = torch.zeros(self.processor.config.mask_size, dtype=torch.bool)
        shown = self._shown(mask)
        canvas[: shown.shape[0], : shown.shape[1]] = torch.from_numpy(shown)
        return canvas[None] if canvas.any() else canvas[None][:0]

    def _shown(self, mask: np.ndarray) -> np.ndarray:
        """Resize a mask as its image is resized on the canvas; small objects may vanish."""
        height, width = self.processor.resized_size(*mask.shape)
        return np.array(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))


def _mask(sample: Sample, frame: int) -> np.ndarray:
    """Return the (H, W) bool target of a frame."""
    target = sample.targets[frame]
    if target is None:
        raise ValueError(f'{sample.key} has no target in frame {frame}')
    return target.mask()


def _stack(values: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    given = [value for value in values if value is not None]
    return torch.stack(given) if given else None
