"""Converts samples to training examples."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from PIL import Image

from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.model.prompt_rows import IGNORED, PromptRow, join_rows
from instructseg_ros.model.states import Prompt
from instructseg_ros.model.tasks import Task
from instructseg_ros.research.data.sample import ImageSource, Sample, SampleTask, joined

_REACHES = range(2, 10)  # frames; drawn for each clip


@dataclasses.dataclass(frozen=True)
class Clip:
    """Frames of a video, by index.

    Args:
        key: the frame that is segmented.
        references: in the order in which they are shown.
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
    """Draw a key frame and frames near it, in one order of time or the other.

    The authors walk at random: every frame is within a reach of one that was drawn before. The key
    frame is in the middle of the clip.

    Args:
        frames: of the video, at least 1.
        references: wanted; a shorter video gives what it has.
        causal: the key frame is the last, and time is not reversed: what a robot sees.
        reversed_share: of the clips, in which time runs backwards.
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
    reach = int(rng.choice(_REACHES))
    drawn = {int(rng.integers(frames))}
    while len(drawn) < wanted:
        near = {
            place
            for frame in drawn
            for place in range(max(0, frame - reach), min(frames, frame + reach + 1))
        }
        drawn.add(int(rng.choice(sorted(near - drawn))))
    return drawn


@dataclasses.dataclass(frozen=True, kw_only=True)
class Batch:
    """B samples of one form: all still images, all videos of as many frames, or conversations.

    Args:
        keys: of the samples.
        seeds: of each sample's random points.
        vision_values: (B, 3, S, S) key frames of the vision tower.
        reference_values: (B, T, 3, S, S) reference frames, or None.
        pixel_values: (B, 3, H, W) key frames of the mask branch; None for conversations.
        prompt: one instruction or conversation each, with its answer.
        labels: (B, L) for each token of the prompt the one to be said after it, or `IGNORED`.
        targets: of each sample (M, H, W) bool on the mask branch's canvas: one mask, or none where
            the target is not there. Empty for conversations.
        skipped: what was wrong with samples in whose places others are.
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
        """The same batch on another device."""
        moved: dict[str, Any] = {
            field.name: value.to(device)
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), torch.Tensor | Prompt)
        }
        targets = tuple(target.to(device) for target in self.targets)
        return dataclasses.replace(self, **moved, targets=targets)


_TASKS: Final = {
    SampleTask.IMAGE_REFERRING: Task.REFERRING,
    SampleTask.VIDEO_REFERRING: Task.REFERRING,
    SampleTask.IMAGE_REASONING: Task.REASONING,
    SampleTask.VIDEO_REASONING: Task.REASONING,
}
_CLIPS: Final = 200  # of a video that are drawn at most, by the authors too


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExampleConfig:
    """How samples are made into examples; the defaults are the paper's.

    Args:
        reference_frames: of a video beside its key frame.
        causal: references come before the key frame, as on a robot.
        reversed_share: of the clips whose time runs backwards; never of causal ones.
        explained_share: of the samples with an explanation, in which the answer gives it.
        key_frame_has_target: clips of a video are drawn until the target is in the key frame, as
            by `preprocess_refvos` and `preprocess_revos` of the authors' IVS_mapper.py; false: the
            first clip is taken, so that videos also teach that a target is not there.
        authors_labels: answers are learned from the colon before the first of them on, and later
            ones without their first token, as the authors' scripts count; false: every answer is
            learned from its first token to its end, which is the better choice for new models.
    """

    reference_frames: int = 4
    causal: bool = False
    reversed_share: float = 0.3
    explained_share: float = 0.5
    key_frame_has_target: bool = True
    authors_labels: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """One sample of a `Batch`; see there."""

    key: str
    seed: int
    vision_values: torch.Tensor
    reference_values: torch.Tensor | None
    pixel_values: torch.Tensor | None
    row: PromptRow
    says: bool
    target: torch.Tensor | None


def form_of(sample: Sample, config: ExampleConfig) -> tuple[bool, int]:
    """What samples of one batch have in common: whether they are conversations, and references."""
    conversation = sample.task is SampleTask.CONVERSATION
    references = min(config.reference_frames, len(sample.frames) - 1) if sample.task.is_video else 0
    return conversation, references


class ExampleMaker:
    """Opens pictures, draws clips and sentences, and tokenises them."""

    def __init__(self, processor: InstructSegProcessor, config: ExampleConfig) -> None:
        self.processor = processor
        self.config = config

    def make(self, sample: Sample, seed: int) -> Example:
        """An example of a sample; what is drawn for it depends on the seed alone.

        Raises:
            OSError, ValueError: a picture or target is missing or damaged.
        """
        rng = np.random.default_rng(seed)
        if sample.task is SampleTask.CONVERSATION:
            return self._conversation(sample, seed)
        return self._segmentation(sample, seed, rng)

    def batch(self, examples: Sequence[Example]) -> Batch:
        """Put examples of one form side by side."""
        end = self.processor.tokenizer.eos_token_id
        prompt = join_rows([example.row for example in examples], instructions=1)
        labels = torch.full((len(examples), prompt.input_ids.shape[-1]), IGNORED)
        for row, example in zip(labels, examples, strict=True):
            if example.says and end is not None:
                said = example.row.labels(end, as_authors=self.config.authors_labels)
                row[: len(said)] = torch.tensor(said)
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
            says=True,
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
            says=sample.task is SampleTask.IMAGE_REASONING,
            target=self._on_canvas(target, image),
        )

    def _draw_frames(
        self, sample: Sample, rng: np.random.Generator
    ) -> tuple[int, tuple[ImageSource, ...], np.ndarray]:
        """The key frame, its references, and (H, W) bool where the target is in it."""
        if not sample.task.is_video:
            return 0, (), _mask(sample, 0)
        empty: set[int] = set()
        for _ in range(_CLIPS):
            clip = self._draw_clip(sample, rng)
            if clip.key in empty:
                continue
            mask = _mask(sample, clip.key)
            if self._shown(mask).any() or not self.config.key_frame_has_target:
                return clip.key, tuple(sample.frames[index] for index in clip.references), mask
            empty.add(clip.key)
        raise ValueError(f'{sample.key} has its target in the key frame of none of {_CLIPS} clips')

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
            _TASKS[sample.task],
            reference_frames=references,
            verbatim=sample.joined or sample.verbatim,
            explanation=sample.explanation if explained else '',
        )

    def _on_canvas(self, mask: np.ndarray, image: Image.Image) -> torch.Tensor:
        """(M, H, W) bool, where the image is on the mask branch's canvas; M = 0 if it is empty."""
        if mask.shape != (image.height, image.width):
            raise ValueError(f'a mask of {mask.shape} for a picture of {image.height, image.width}')
        canvas = torch.zeros(self.processor.config.mask_size, dtype=torch.bool)
        shown = self._shown(mask)
        canvas[: shown.shape[0], : shown.shape[1]] = torch.from_numpy(shown)
        return canvas[None] if canvas.any() else canvas[None][:0]

    def _shown(self, mask: np.ndarray) -> np.ndarray:
        """(h, w) bool, a mask as large as its image is on the canvas: small things may vanish."""
        height, width = self.processor.resized_size(*mask.shape)
        return np.array(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))


def _mask(sample: Sample, frame: int) -> np.ndarray:
    """(H, W) bool, where a sample's target is in a frame."""
    target = sample.targets[frame]
    if target is None:
        raise ValueError(f'{sample.key} has no target in frame {frame}')
    return target.mask()


def _stack(values: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    given = [value for value in values if value is not None]
    return torch.stack(given) if given else None
