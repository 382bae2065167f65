"""Segmenter: segments images by instructions, in one call or stage by stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import torch

from instructseg_ros.model.camera_motion import remove_camera_motion
from instructseg_ros.model.checkpoints import load_head, load_model
from instructseg_ros.model.device import SideStream, on_device, upload
from instructseg_ros.model.generation import TextGenerator
from instructseg_ros.model.instruction_reader import InstructionReader
from instructseg_ros.model.model_files import ModelError, find_model
from instructseg_ros.model.modeling import InstructSegModel
from instructseg_ros.model.noun_finder import NounFinder
from instructseg_ros.model.openvino_runtime import OpenVinoStages, claim_threads, uses_openvino
from instructseg_ros.model.postprocessor import Postprocessor
from instructseg_ros.model.precision import (
    choose_device,
    choose_precision,
    computes_bfloat16,
    is_large,
    pack_linear_layers,
)
from instructseg_ros.model.prediction import Prediction
from instructseg_ros.model.processor import InstructSegProcessor
from instructseg_ros.model.query import (
    AnyEmbedding,
    CompositeEmbedding,
    FrameFeatures,
    ImageInput,
    InstructionEmbedding,
    PixelBatch,
    Query,
)
from instructseg_ros.model.query_reader import (
    PromptCache,
    QueryBatch,
    QueryReader,
    group,
    in_batches,
    own_rows,
)
from instructseg_ros.model.stage_outputs import Reasoning
from instructseg_ros.model.tasks import Task
from instructseg_ros.model.taught_finder import TaughtFinder
from instructseg_ros.model.taught_network import read_taught

# Prompts of a compiled model are padded to a multiple of this many tokens, so that fewer shapes
# have to be compiled.
PROMPT_BUCKET: Final = 8


def compile_stages(model: InstructSegModel, *, backend: str) -> None:
    """Compile the vision tower, the pixel branch and the language model's layers with torch.

    Each stage is compiled whenever a new shape occurs: a new input size, or a new number or length
    of instructions. Torch stops compiling a stage after eight shapes. The mask decoder is not
    compiled: its shapes change as often, and it takes little time.

    Args:
        model: The model on its device, packed or quantized.
        backend: Backend of `torch.compile`.
    """
    for stage in (model.vision_tower, model.pixel_branch, *model.language_model.layers):
        stage.compile(backend=backend, dynamic=False)


class Segmenter:
    """InstructSeg on one device, for inference only: its model can no longer be trained or saved.

    `segment` runs all stages in one call. `instructseg_ros.model.session.VideoSession` calls each
    stage only if its inputs changed: `prepare` a query, `encode` frames, `reason` about both,
    `encode_pixels` of frames, `decode` the masks. Each stage takes the frames of several cameras
    and gives the same results as for each camera alone. Not thread-safe.

    Attributes:
        name: Name that the model was loaded by.
        postprocessor: Turns decoded masks into predictions.
        reference_frames: Number of earlier frames that the model expects with each frame.
        reference_stride: Seconds between them.
        max_reference_stride: Longest time between them that the model was trained with, s.
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
        release = config.release_threshold
        self.reference_frames = config.reference_frames
        self.reference_stride = config.reference_stride
        self.max_reference_stride = config.max_reference_stride
        self._model = model.to(device).eval()
        self._openvino: OpenVinoStages | None = None
        pack_linear_layers(self._model)
        self._processor = processor
        self._folder = folder
        self._generator: TextGenerator | None = None
        self._side = SideStream(device)
        own_threshold = config.score_threshold
        self._finder, taught = None, None
        if folder is not None:
            names = [noun.name for noun in read_taught(folder)]
            self._finder = NounFinder.from_folder(
                folder, device, threshold=own_threshold, taught=names
            )
        if folder is not None and self._finder is not None:
            taught = TaughtFinder.from_folder(
                folder, self._finder.network, device, threshold=own_threshold
            )
        self._instructions = InstructionReader(processor, self._finder)
        if folder is not None:
            self._instructions.load_parser(folder, self._model.get_input_embeddings().weight)
        self.postprocessor = Postprocessor(
            processor,
            threshold=own_threshold if threshold is None else threshold,
            calibration=(config.score_scale, config.score_offset),
            release=1.0 if release is None else release / max(own_threshold, 1e-6),
            finder=self._finder,
            taught=taught,
        )
        max_length = config.text_config.max_position_embeddings
        self._prompts = PromptCache(processor, device=device, max_length=max_length)
        self._reader = QueryReader(self._model, self._prompts)

    @classmethod
    def from_pretrained(
        cls,
        model: str = 'embedded',
        *,
        device: str = 'auto',
        dtype: str = 'auto',
        threshold: float | None = None,
        runtime: str = 'torch',
        compiled: bool = False,
    ) -> Segmenter:
        """Load a model.

        Args:
            model: `embedded`, a folder, or the hub id of a downloaded model.
            device: `auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1`...
            dtype: `auto`, `float32`, `bfloat16`, `float16`, `float16_weights`, `mixed` or `int8`,
                see `choose_precision`.
            threshold: Minimum score of a target that counts as found; None: the model's own.
            runtime: Library that runs the encoders of frames: `auto`, `torch` or `openvino`, see
                `uses_openvino`. OpenVINO takes a second to start and pays from a hundred frames on.
            compiled: Compile the model, see `compile`; needs a C++ compiler.

        Raises:
            ModelError: The model, the device, the dtype or the runtime is not available; the
                message names the remedy.
        """
        where = choose_device(device)
        folder = find_model(model)
        precision = choose_precision(dtype, where, large=is_large(folder))
        weights, processor = load_model(folder, precision)
        segmenter = cls(
            weights, processor, name=model, device=where, threshold=threshold, folder=folder
        )
        if uses_openvino(runtime, where, precision, weights.config, compiled=compiled):
            segmenter.use_openvino(bfloat16=dtype == 'auto' and computes_bfloat16(where))
        if compiled:
            segmenter.compile()
        return segmenter

    def compile(self, *, backend: str = 'inductor') -> None:
        """Compile most of the model on its first run, see `compile_stages`.

        The first frame then takes minutes; later frames are faster than in an uncompiled model.
        """
        self._prompts.pad(PROMPT_BUCKET)
        compile_stages(self._model, backend=backend)

    def use_openvino(self, *, bfloat16: bool = False) -> None:
        """Run what depends only on images with OpenVINO, in bfloat16 or in float32.

        From then on, torch has one thread in this process, see `claim_threads`.
        """
        self._openvino = OpenVinoStages(self._model, claim_threads(), bfloat16=bfloat16)
        self._reader.read_image = self._openvino.read_image

    @property
    def threshold(self) -> float:
        """Minimum score of a target that counts as found."""
        return self.postprocessor.threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        self.postprocessor.threshold = value

    @property
    def release_threshold(self) -> float:
        """Score below which a found target counts as lost; scales with `threshold`."""
        return self.threshold * self.postprocessor.release

    def segment(
        self,
        image: ImageInput,
        instruction: str,
        references: Sequence[FrameFeatures] = (),
        *,
        task: Task = Task.AUTO,
        features: FrameFeatures | None = None,
    ) -> Prediction:
        """Segment the target of an instruction; if no word is known, the score is 0.

        Args:
            image: (H, W, 3) uint8 RGB, or a PIL image.
            instruction: Natural language.
            references: Features of earlier frames, oldest first, see `aligned`; none for a still
                image.
            task: AUTO chooses referring or reasoning from the text.
            features: Result of `encode` for the image, if it has been computed already.
        """
        return self.segment_all(image, [instruction], references, task=task, features=features)[0]

    def segment_all(
        self,
        image: ImageInput,
        instructions: Sequence[str],
        references: Sequence[FrameFeatures] = (),
        *,
        task: Task = Task.AUTO,
        features: FrameFeatures | None = None,
    ) -> list[Prediction]:
        """Segment several instructions on one image in one pass; see `segment`."""
        if isinstance(instructions, str):
            raise ValueError('instructions must be a list of texts; use `segment` for one text')
        if not instructions:
            return []
        queries = [self.query(text, task) for text in instructions]
        simple = [each for query in queries for each in query.simple()]
        self._prompts([simple], len(references))  # refuses overlong texts before the model runs
        pixels = self.encode_pixels([image])
        [features] = self.encode([image]) if features is None else [features]
        return self.decode(self.reason([queries], [features], [references]), pixels)[0]

    def query(self, text: str, task: Task = Task.AUTO, *, verbatim: bool = False) -> Query:
        """Return a prepared query for a text; see `Query` for the arguments."""
        query = Query(text=text, task=task, verbatim=verbatim)
        self.prepare(query)
        return query

    def prepare(self, query: Query) -> None:
        """Fill in how a query's text is read, unless that was done before."""
        if query.prompt_text is None:
            self._instructions.read(query)

    def aligned(self, earlier: Sequence[ImageInput], image: ImageInput) -> list[ImageInput]:
        """Return earlier frames as the model should see them together with a newer one.

        A model that compares frames cell by cell sees them from where the camera is now, see
        `remove_camera_motion`; others see them as they are.

        Args:
            earlier: (H, W, 3) uint8 RGB or PIL images, oldest first, of one camera.
            image: Its newest frame, likewise.
        """
        if not self._model.config.motion_perceiver:
            return list(earlier)
        return remove_camera_motion(earlier, image)

    @on_device
    def encode(self, images: Sequence[ImageInput]) -> list[FrameFeatures]:
        """Compute the vision tokens of each frame in one pass.

        Args:
            images: (H, W, 3) uint8 RGB or PIL images, of any sizes.
        """
        if not images:
            return []
        values = torch.stack([self._processor.vision_values(image) for image in images])
        tokens = (self._openvino or self._model).encode_frame(upload(values, self.device))
        return [FrameFeatures(vision=each) for each in own_rows(tokens)]

    @on_device
    def reason(
        self,
        queries: Sequence[Sequence[Query]],
        features: Sequence[FrameFeatures],
        references: Sequence[Sequence[FrameFeatures]],
        *,
        keep_references: bool = False,
    ) -> list[list[AnyEmbedding]]:
        """Run the language model on the queries of F frames.

        Frames with equal numbers of queries and of references form one batch.

        Args:
            queries: Prepared queries of each frame.
            features: Features of each frame.
            references: For each frame, the features of earlier frames, oldest first; empty for a
                still image.
            keep_references: Whether later frames will have the same references; each query then
                keeps their key/value cache.

        Returns:
            The embeddings of each frame, in the order of its queries.

        Raises:
            ValueError: An instruction and its reference frames exceed the model's maximum length.
        """
        simple = [[each for query in some for each in query.simple()] for some in queries]
        frames = [
            QueryBatch(queries=some, features=frame, references=tuple(earlier))
            for some, frame, earlier in zip(simple, features, references, strict=True)
        ]
        rows = [iter(row) for row in self._reader.reason(frames, keep_references=keep_references)]
        return [
            [_composed(query, row) for query in some]
            for some, row in zip(queries, rows, strict=True)
        ]

    @on_device
    def encode_pixels(self, images: Sequence[ImageInput], *, scale: float = 1.0) -> PixelBatch:
        """Compute the mask branch's features of frames in one pass.

        Args:
            images: (H, W, 3) uint8 RGB or PIL images, at least one, of any sizes.
            scale: Scale of the mask branch's input side; smaller is faster and coarser.
        """
        processor = self._processor
        canvas = processor.config.mask_size if scale == 1.0 else processor.scaled_canvas(scale)
        values = torch.stack([processor.pixel_values(image, canvas) for image in images])
        stages = self._openvino or self._model
        features = self._side.run(lambda: stages.encode_pixels(upload(values, self.device)))
        return PixelBatch(features=features, images=tuple(images), canvas=canvas)

    @on_device
    def decode(
        self, embeddings: Sequence[Sequence[AnyEmbedding]], pixels: PixelBatch
    ) -> list[list[Prediction]]:
        """Decode the masks of F frames.

        Frames with equal numbers of embeddings are decoded in one batch. Embeddings for one frame
        that were computed on different frames, and so have different image tokens, are decoded in
        separate batches.

        Args:
            embeddings: For each frame, the embeddings computed on that frame or an earlier one; an
                empty list if no mask is wanted.
            pixels: Features of the F frames.

        Returns:
            The predictions of each frame, in the order of the embeddings.

        Raises:
            ValueError: `embeddings` and `pixels` have different numbers of frames.
        """
        if len(embeddings) != len(pixels.images):
            raise ValueError(
                f'got embeddings of {len(embeddings)} frames and pixels of {len(pixels.images)}: '
                f'pass an empty list for a frame without embeddings'
            )
        self._side.join()
        simple = [[each for one in given for each in one.simple()] for given in embeddings]
        return [
            [self.postprocessor.combined(each, row) for each in given]
            for given, row in zip(
                embeddings, map(iter, self._decode_simple(simple, pixels)), strict=True
            )
        ]

    def _decode_simple(
        self, embeddings: Sequence[Sequence[InstructionEmbedding]], pixels: PixelBatch
    ) -> list[list[Prediction]]:
        """Decode embeddings of simple queries, see `decode`."""
        postprocessor = self.postprocessor
        answers: list[dict[int, Prediction]] = [{} for _ in embeddings]
        for frame, given in enumerate(embeddings):
            image = pixels.images[frame]
            if given and postprocessor.is_photograph(image):
                found = postprocessor.of_photograph(image, given)
                answers[frame] = dict(enumerate(found))
        rows = [
            (frame, indices, turn)
            for frame, given in enumerate(embeddings)
            if not answers[frame]
            for indices, turn in _rows(given)
        ]
        decoded = in_batches(
            rows,
            # `turn` differs between rows of one frame, so that no batch contains a frame twice.
            [(len(indices), turn) for _, indices, turn in rows],
            lambda batch: self._decode(
                [frame for frame, _, _ in batch],
                [[embeddings[frame][index] for index in indices] for frame, indices, _ in batch],
                pixels,
            ),
        )
        for (frame, indices, _), predictions in zip(rows, decoded, strict=True):
            answers[frame].update(zip(indices, predictions, strict=True))
        return [[answer[index] for index in range(len(answer))] for answer in answers]

    def forget(self) -> None:
        """Release memory after a DeviceMemoryError.

        Callers must release their features and clear their queries first.
        """
        self._prompts.clear()
        self._reader.clear()
        if self.device.type == 'cuda':
            torch.cuda.empty_cache()

    def generate(
        self,
        image: ImageInput,
        text: str,
        *,
        explain: bool = False,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
    ) -> str:
        """Answer a question about an image in words.

        Args:
            image: (H, W, 3) uint8 RGB, or a PIL image.
            text: Question; with `explain`, the instruction.
            explain, max_new_tokens, temperature, top_p: See `TextGenerator.generate`.

        Raises:
            ModelError: The model has no head for text; the embedded model has none.
            ValueError: The text leaves no room for an answer in the model's context, or a number
                is out of range.
        """
        if self._generator is None:
            if self._folder is None:
                raise ModelError('only a model loaded from a folder can generate text')
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

    def _decode(
        self,
        frames: Sequence[int],
        embeddings: Sequence[Sequence[InstructionEmbedding]],
        pixels: PixelBatch,
    ) -> list[list[Prediction]]:
        """Decode one batch: some frames, each with the same number of embeddings."""
        output = self._model.decode(_join(embeddings), pixels.features.of(frames), final_only=True)
        answer, pointers = output.final, output.pointer_logits
        rows = zip(frames, embeddings, answer.mask_logits, answer.score_logits, strict=True)
        return [
            self.postprocessor.of_masks(
                pixels.images[frame],
                some,
                masks,
                scores,
                pixels.canvas,
                None if pointers is None else pointers[row],
            )
            for row, (frame, some, masks, scores) in enumerate(rows)
        ]


def _composed(query: Query, embeddings: Iterator[InstructionEmbedding]) -> AnyEmbedding:
    """Return a query's embedding, with those of its simple queries taken from an iterator."""
    if query.operation is None:
        return next(embeddings)
    return CompositeEmbedding(
        parts=tuple(_composed(part, embeddings) for part in query.parts),
        texts=tuple(part.text for part in query.parts),
        operation=query.operation,
        repaired=query.repaired,
    )


def _rows(embeddings: Sequence[InstructionEmbedding]) -> Iterator[tuple[list[int], int]]:
    """Yield rows: the indices of embeddings that share image tokens, and a number.

    The number distinguishes rows of equal size on one frame. Rows of different frames that have the
    same size and number are decoded in one batch.
    """
    sizes: Counter[int] = Counter()
    for indices in group(id(embedding.cells) for embedding in embeddings):
        yield indices, sizes[len(indices)]
        sizes[len(indices)] += 1


def _join(embeddings: Sequence[Sequence[InstructionEmbedding]]) -> Reasoning:
    """Combine F rows of K embeddings into one batch; each row shares its image tokens."""
    flat = [embedding for row in embeddings for embedding in row]
    shape = (len(embeddings), -1)
    cells = [row[0].cells for row in embeddings if row[0].cells is not None]
    return Reasoning(
        mask_tokens=torch.stack([each.mask_tokens for each in flat]).unflatten(0, shape),
        pooled=torch.stack([each.pooled for each in flat]).unflatten(0, shape),
        cells=torch.stack(cells) if cells else None,
    )
