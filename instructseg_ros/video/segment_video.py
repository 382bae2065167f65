"""Implements `instructseg video`: segments every frame, then renders what was asked for."""

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
from instructseg_ros.streaming.segmentation import Segmentation, State
from instructseg_ros.streaming.settings import EngineSettings
from instructseg_ros.video.bag_messages import write_bag
from instructseg_ros.video.frame import Source, SourceError, VideoFrame, read_from
from instructseg_ros.video.overlay_video import write_overlays
from instructseg_ros.video.record import (
    CompleteRecord,
    History,
    Line,
    RecordWriter,
    Tracks,
    answer_fields,
    read_lines,
)
from instructseg_ros.video.run_folder import Output, locked, short_names, write_pngs
from instructseg_ros.video.source import open_source
from instructseg_ros.video.video_file import import_av

if TYPE_CHECKING:
    from instructseg_ros.model.segmenter import Segmenter
    from instructseg_ros.model.session import StagedModel


FORMATS = ('png', 'rle', 'overlay', 'bag')


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The result of a run.

    Attributes:
        frames: How many frames were answered.
        announced: How many frames the source says it has; None where it does not.
        states: For each text, how often which state.
    """

    frames: int
    announced: int | None
    states: dict[str, Counter[State]]

    @property
    def is_short(self) -> bool:
        """Whether clearly less was read than announced: some containers only estimate it."""
        return self.announced is not None and self.frames < 0.98 * self.announced


def segment_video(
    path: Path,
    texts: Sequence[str],
    folder: Path,
    *,
    load: Callable[[], tuple[StagedModel, EngineSettings]],
    model: str,
    formats: Sequence[str] = ('rle', 'overlay'),
    topic: str | None = None,
    overwrite: bool = False,
) -> Summary:
    """Answer instructions on every frame, or go on with that where it was cut off.

    Args:
        path: A film, a folder of pictures or a bag.
        texts: The instructions.
        folder: Where everything goes.
        load: Gives the model, and how it is to be run; called only if frames are left to answer.
        model: Hash of its weights and the dtype, the same when a run is resumed.
        formats: Of FORMATS; `masks.jsonl` (rle) is always written.
        topic: Which images of a bag.
        overwrite: Begin anew.

    Raises:
        InstructionError: A text is no instruction, or given twice.
        SourceError: Frames cannot be read.
        OutputError: The folder holds another run, or something else.
        LockError: Another process writes to the folder.
        MissingPyAVError: Films are read or written, and PyAV is not installed.
    """
    texts = _clean(texts)
    source = open_source(path, topic=topic)
    if 'overlay' in formats:
        import_av()  # rather than after hours
    run = {**_identity(source), 'topic': topic, 'instructions': texts, 'model': model}
    with locked(folder):
        output = Output(folder)
        output.begin(run, overwrite=overwrite)
        if output.frames is None:
            output.complete(_answer_all(source, texts, load, output.record))
        record = CompleteRecord(output.record, output.frames or 0)
        _draw(source, record, short_names(texts), output, formats)
        return _summary(record, texts, announced=source.count)


def _identity(source: Source) -> dict[str, str | int]:
    """Tell a source from another one of its name: where it is, its size, and when it changed."""
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
    source: Source,
    texts: Sequence[str],
    load: Callable[[], tuple[StagedModel, EngineSettings]],
    file: Path,
) -> int:
    """Append to a record the answers to all frames that are not in it; return their number."""
    model, settings = load()
    engine = OfflineEngine(model, settings)
    for text in texts:
        engine.add(Instruction(text=text))
    with RecordWriter(file) as record:
        history = History(settings)
        for line in read_lines(file):
            history.add(line)
        tracks = Tracks(history.tracks)
        number = history.frames
        frames = _remaining(source, history, engine, tracks)
        for frame in tqdm(frames, 'segment', initial=number, total=source.count, unit=' frames'):
            record.write(_line(number, frame, _follow(engine, frame), tracks))
            number += 1
    if not number:
        raise SourceError(f'{source.path} holds no frame')
    return number


def _remaining(
    source: Source, history: History, engine: OfflineEngine, tracks: Tracks
) -> Iterator[VideoFrame]:
    """Yield the frames that are not in the record, after showing the last ones in it again."""
    again = history.again()
    if not again:
        yield from source.read()
        return
    frames = read_from(source, again[0].place)
    for seen, frame in zip(again, frames, strict=False):
        tracks.learn(_follow(engine, frame), seen.tracks)
    yield from frames


def _follow(engine: OfflineEngine, frame: VideoFrame) -> list[Segmentation]:
    try:
        return engine.segment(frame.image, stamp=frame.place.stamp)
    except MemoryError as error:
        raise RuntimeError(
            f'no memory is left ({error}): free some, or choose another --device or --dtype; the '
            f'same command goes on from here'
        ) from error


def _line(number: int, frame: VideoFrame, results: Sequence[Segmentation], tracks: Tracks) -> Line:
    height, width = frame.image.shape[:2]
    return Line(
        frame=number,
        place=frame.place,
        size=(height, width),
        answers=[
            answer_fields(result, (height, width), track_id=tracks.number(result))
            for result in results
        ],
    )


def _draw(
    source: Source,
    record: CompleteRecord,
    names: Sequence[str],
    output: Output,
    formats: Sequence[str],
) -> None:
    """Make what is not there yet."""
    if 'png' in formats:
        output.make(output.png, lambda folder: write_pngs(record.lines('png'), names, folder))
    if 'overlay' in formats:
        output.make(output.overlay, lambda folder: write_overlays(source, record, names, folder))
    if 'bag' in formats:
        output.make(
            output.bag,
            lambda folder: write_bag(record.lines('bag'), names, folder, frames=record.frames),
        )


def _summary(record: CompleteRecord, texts: Sequence[str], *, announced: int | None) -> Summary:
    states: dict[str, Counter[State]] = {text: Counter() for text in texts}
    for line in read_lines(record.file):
        for answer in line.answers:
            states[answer['instruction']][State[answer['state']]] += 1
    return Summary(frames=record.frames, announced=announced, states=states)


def load_model(name: str, *, device: str, dtype: str) -> tuple[Segmenter, EngineSettings]:
    """Load a model, to be run whole on every frame and with the reference frames that it wants.

    Raises:
        ModelError: The model cannot be loaded; the message names the remedy.
    """
    from instructseg_ros.model.segmenter import Segmenter

    segmenter = Segmenter.from_pretrained(name, device=device, dtype=dtype)
    # One stride for all films, so that a run that goes on knows how far back it has to begin.
    stride = segmenter.reference_stride
    return segmenter, EngineSettings.from_model(segmenter, max_reference_stride=stride)
