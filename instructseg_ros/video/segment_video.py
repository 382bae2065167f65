"""Implements `instructseg video`: segments every frame, then writes the requested formats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from instructseg_ros.streaming.instruction import Instruction, InstructionError, clean_text
from instructseg_ros.streaming.offline_engine import OfflineEngine
from instructseg_ros.streaming.schedule import EngineSettings
from instructseg_ros.streaming.segmentation import Segmentation, State
from instructseg_ros.video.bag_writer import write_bag
from instructseg_ros.video.record import (
    CompleteRecord,
    FrameRecord,
    RecordWriter,
    ReplayWindow,
    TrackNumbering,
    answer_fields,
    read_records,
)
from instructseg_ros.video.run_folder import RunFolder, file_names, locked, write_pngs
from instructseg_ros.video.source import (
    SourceError,
    VideoFrame,
    VideoSource,
    open_source,
    read_from,
)
from instructseg_ros.video.video_file import import_av, write_overlays

if TYPE_CHECKING:
    from instructseg_ros.model.segmenter import Segmenter


FORMATS = ('png', 'rle', 'overlay', 'bag')


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The result of a run.

    Attributes:
        frames: Number of frames that were segmented.
        announced: Number of frames according to the source; None if unknown.
        states: For each text, the number of results of each state.
    """

    frames: int
    announced: int | None
    states: dict[str, Counter[State]]

    @property
    def is_short(self) -> bool:
        """Return whether far fewer frames were read than announced (possibly an estimate)."""
        return self.announced is not None and self.frames < 0.98 * self.announced


def segment_video(
    path: Path,
    texts: Sequence[str],
    folder: Path,
    *,
    load: Callable[[], tuple[Segmenter, EngineSettings]],
    model: str,
    formats: Sequence[str] = ('rle', 'overlay'),
    topic: str | None = None,
    overwrite: bool = False,
) -> Summary:
    """Segment every frame, or resume a run after its last finished frame.

    Args:
        path: A video file, a folder of images or a bag.
        texts: The instructions.
        folder: Output folder.
        load: Returns the model and its settings; called only if frames are left to segment.
        model: Identity of the model, from weights and dtype; a run resumes only with the same one.
        formats: Names from FORMATS; `masks.jsonl` (rle) is always written.
        topic: Image topic of a bag.
        overwrite: Discard an earlier run in the folder.

    Raises:
        InstructionError: A text is not a valid instruction, or is given twice.
        SourceError: Frames cannot be read.
        OutputError: The folder contains the output of another run, or other files.
        LockError: Another process writes to the folder.
        MissingPyAVError: Video files are read or written, and PyAV is not installed.
    """
    texts = _clean(texts)
    source = open_source(path, topic=topic)
    if 'overlay' in formats:
        import_av()  # fails now rather than after hours
    run = {**_identity(source), 'topic': topic, 'instructions': texts, 'model': model}
    with locked(folder):
        output = RunFolder(folder)
        output.begin(run, overwrite=overwrite)
        if output.frames is None:
            output.complete(_answer_all(source, texts, load, output.record))
        record = CompleteRecord(output.record, output.frames or 0)
        _draw(source, record, file_names(texts), output, formats)
        return _summary(record, texts, announced=source.count)


def _identity(source: VideoSource) -> dict[str, str | int]:
    """Identify a source by its location, its size and its modification time."""
    stats = [file.stat() for file in source.files]
    modified = max((stat.st_mtime_ns for stat in stats), default=0)
    return {
        'source': str(source.path.resolve()),
        'bytes': sum(stat.st_size for stat in stats),
        'modified': str(np.datetime64(modified, 'ns')),
    }


def _clean(texts: Sequence[str]) -> list[str]:
    cleaned = [clean_text(text) for text in texts]
    [(text, times)] = Counter(cleaned).most_common(1)
    if times > 1:
        raise InstructionError(f'"{text}" is given {times} times: give it once')
    return cleaned


def _answer_all(
    source: VideoSource,
    texts: Sequence[str],
    load: Callable[[], tuple[Segmenter, EngineSettings]],
    file: Path,
) -> int:
    """Append the results of all missing frames to a record; return its number of frames."""
    model, settings = load()
    engine = OfflineEngine(model, settings)
    for text in texts:
        engine.give(Instruction(text=text))
    with RecordWriter(file) as record:
        history = ReplayWindow(settings)
        for line in read_records(file):
            history.add(line)
        tracks = TrackNumbering(history.tracks)
        number = history.count
        frames = _remaining(source, history, engine, tracks)
        for frame in tqdm(frames, 'segment', initial=number, total=source.count, unit=' frames'):
            record.write(_line(number, frame, _segment(engine, frame), tracks))
            number += 1
    if not number:
        raise SourceError(f'{source.path} holds no frame')
    return number


def _remaining(
    source: VideoSource, history: ReplayWindow, engine: OfflineEngine, tracks: TrackNumbering
) -> Iterator[VideoFrame]:
    """Yield the frames that are not in the record, after replaying the last recorded ones."""
    again = history.frames()
    if not again:
        yield from source.read()
        return
    frames = read_from(source, again[0].info)
    for seen, frame in zip(again, frames, strict=False):
        tracks.learn(_segment(engine, frame), seen.tracks)
    yield from frames


def _segment(engine: OfflineEngine, frame: VideoFrame) -> list[Segmentation]:
    try:
        return engine.segment(frame.image, stamp=frame.info.stamp)
    except MemoryError as error:
        raise RuntimeError(
            f'out of memory ({error}): free some, or choose another --device or --dtype; the '
            f'same command resumes here'
        ) from error


def _line(
    number: int, frame: VideoFrame, results: Sequence[Segmentation], tracks: TrackNumbering
) -> FrameRecord:
    height, width = frame.image.shape[:2]
    return FrameRecord(
        frame=number,
        info=frame.info,
        size=(height, width),
        answers=[
            answer_fields(result, (height, width), track_id=tracks.number(result))
            for result in results
        ],
    )


def _draw(
    source: VideoSource,
    record: CompleteRecord,
    names: Sequence[str],
    output: RunFolder,
    formats: Sequence[str],
) -> None:
    """Write the formats that do not exist yet."""
    if 'png' in formats:
        output.make(output.png, lambda folder: write_pngs(record.read('png'), names, folder))
    if 'overlay' in formats:
        output.make(output.overlay, lambda folder: write_overlays(source, record, names, folder))
    if 'bag' in formats:
        output.make(
            output.bag,
            lambda folder: write_bag(record.read('bag'), names, folder, frames=record.frames),
        )


def _summary(record: CompleteRecord, texts: Sequence[str], *, announced: int | None) -> Summary:
    states: dict[str, Counter[State]] = {text: Counter() for text in texts}
    for line in read_records(record.file):
        for answer in line.answers:
            states[answer['instruction']][State[answer['state']]] += 1
    return Summary(frames=record.frames, announced=announced, states=states)


def load_model(
    name: str, *, device: str, dtype: str, runtime: str = 'torch'
) -> tuple[Segmenter, EngineSettings]:
    """Load a model; return it with settings that run the whole model on every frame.

    Raises:
        ModelError: The model cannot be loaded; the message says how to fix it.
    """
    from instructseg_ros.model.segmenter import Segmenter

    segmenter = Segmenter.from_pretrained(name, device=device, dtype=dtype, runtime=runtime)
    # With one stride for all videos, a resumed run knows how many frames to replay.
    stride = segmenter.reference_stride
    return segmenter, EngineSettings.from_model(segmenter, max_reference_stride=stride)
