"""Implements `instructseg benchmark stream`: cost and accuracy of each schedule."""

from __future__ import annotations

import dataclasses
import functools
import gc
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from tqdm import tqdm

from instructseg_ros.research.benchmark.measure import PeakMemory, device_name
from instructseg_ros.research.benchmark.stream_runs import (
    EMBEDDED,
    Answer,
    Clip,
    StreamModel,
    Timed,
    dropped,
    run,
    straightforward,
    straightforward_model,
    stream_model,
    streamed,
)
from instructseg_ros.research.evaluation.metrics import region_and_boundary
from instructseg_ros.streaming.schedule import EngineSettings, Schedule

Figures = dict[str, Any]
NAIVE: Final = 'naive'
# The authors' procedure and four instructions at once are slow: only few frames are timed.
_NAIVE: Final = 3
_FOUR: Final = 4
_NAIVE_STEP: Final = 4  # the authors' procedure is scored on every fourth frame
_WARM_UP: Final = 6
_AUTO_ROUND: Final = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the benchmark.

    Args:
        size: `embedded`, or one of `random_model.SIZES`.
        dtype: Name of the number format, see `choose_precision`.
        device: Device of the model.
        schedules: Schedules to measure.
        frames: Minimum number of timed frames; rounded up to whole rounds of the schedule.
        reason_every, refresh_every: Parameters of `two_rate` and `fixed_references`.
        target_rate: Parameter of `auto`.
        scenes: Number of `scored_clips` to measure J&F on; only for the embedded model.
        naive: Also measure the authors' procedure.
        runtime: What runs the encoders, except for the authors' procedure; see `uses_openvino`.
        compiled: Compile the model with torch, except for the authors' procedure.
        timing_clip: (frames, rate in frames per second) -> a clip.
        scored_clips: (number of scenes) -> clips with true masks.
    """

    size: str
    dtype: str
    device: torch.device
    schedules: Sequence[Schedule]
    frames: int
    reason_every: int
    refresh_every: int
    target_rate: float
    scenes: int
    naive: bool
    runtime: str
    compiled: bool
    timing_clip: Callable[..., Clip]
    scored_clips: Callable[..., Iterable[Clip]]

    def settings(self, model: StreamModel, schedule: Schedule) -> EngineSettings:
        """Return the engine's settings for a schedule."""
        return EngineSettings.from_model(
            model.segmenter,
            schedule=schedule,
            reason_every=self.reason_every,
            refresh_every=self.refresh_every,
            target_rate=self.target_rate,
        )


@torch.inference_mode()
def benchmark_stream(options: Options) -> Figures:
    """Measure schedules on the same frames and instructions, one after the other.

    Returns:
        The content of the JSON file. `jf` is the mean of J and F in percent, or None for random
        weights or without scenes. The authors' procedure is scored on every fourth frame.
    """
    figures, videos = _measure_schedules(options)
    if options.naive:
        gc.collect()  # frees the model that was measured
        torch.set_num_threads(figures['threads'])
        span = Span(warm_up=1, timed=_NAIVE, counted=1)
        answer = _straightforward(options)
        naive = videos.measure(lambda: answer, span, step=_NAIVE_STEP)
        naive_fps = videos.four_fps(answer, Span(warm_up=1, timed=1, counted=0))
        figures['schedules'] = {NAIVE: naive} | figures['schedules']
        figures['four_instructions'] = {'naive_fps': naive_fps} | figures['four_instructions']
    return figures


def _measure_schedules(options: Options) -> tuple[Figures, Videos]:
    """Measure everything but the authors' procedure; return the videos too."""
    threads = torch.get_num_threads()  # before OpenVINO takes them
    model = stream_model(
        options.size,
        options.dtype,
        options.device,
        runtime=options.runtime,
        compiled=options.compiled,
    )
    references = model.segmenter.reference_frames
    videos = Videos(options, references=references, rate=model.rate)
    schedules: Figures = {}
    for schedule in options.schedules:
        start = functools.partial(streamed, model.segmenter, options.settings(model, schedule))
        schedules[schedule.value] = videos.measure(start, videos.span(schedule))
        if model.runtime == 'openvino':  # torch counts only its own operations
            schedules[schedule.value]['gflop_per_frame'] = None
    exact = streamed(model.segmenter, options.settings(model, Schedule.EXACT))
    several = dataclasses.replace(videos.span(Schedule.EXACT), timed=_FOUR, counted=0)
    figures = {
        'size': options.size,
        'dtype': model.dtype,
        'device': device_name(options.device),
        'threads': threads,
        'parameters': model.parameters,
        'reference_frames': references,
        'frames': options.frames,
        'reason_every': options.reason_every,
        'refresh_every': options.refresh_every,
        'runtime': model.runtime,
        'compiled': options.compiled,
        'schedules': schedules,
        'four_instructions': {'exact_fps': videos.four_fps(exact, several)},
    }
    return figures, videos


def table(figures: Figures) -> str:
    """Format the figures as a table."""
    lines = [
        f'{figures["size"]}, {figures["dtype"]}, {figures["reference_frames"]} reference '
        f'frames, one instruction, {figures["threads"]} threads',
        f'{"":18}{"frames/s":>10}{"p50 ms":>9}{"p95 ms":>9}{"p99 ms":>9}{"GFLOP":>9}'
        f'{"drops":>7}{"GB":>6}{"x naive":>9}{"J&F":>7}',
    ]
    naive = figures['schedules'].get(NAIVE)
    for name, row in figures['schedules'].items():
        ratio = f'{row["fps"] / naive["fps"]:.2f}' if naive else '-'
        accuracy = '-' if row['jf'] is None else f'{row["jf"]:.1f}'
        lines.append(
            f'{name:18}{row["fps"]:10.2f}{row["latency_p50_ms"]:9.0f}{row["latency_p95_ms"]:9.0f}'
            f'{row["latency_p99_ms"]:9.0f}{_gflop(row):>9}{row["drops"]:7.0%}'
            f'{row["peak_memory_gb"]:6.1f}{ratio:>9}{accuracy:>7}'
        )
    for name, value in figures['four_instructions'].items():
        lines.append(f'four instructions, {name}: {value:.3f}')
    return '\n'.join(lines)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Span:
    """Numbers of frames: to warm up, to time, and to count the operations of."""

    warm_up: int
    timed: int
    counted: int

    def __len__(self) -> int:
        return self.warm_up + self.timed + self.counted


class Videos:
    """Test videos that all measurements share."""

    def __init__(self, options: Options, *, references: int, rate: float) -> None:
        self._options = options
        self._references = references
        spans = [self.span(schedule) for schedule in {Schedule.EXACT, *options.schedules}]
        self._clip = options.timing_clip(max(map(len, spans)), rate=rate)

    def span(self, schedule: Schedule) -> Span:
        """Return a span that warms up until all references exist, then times whole rounds."""
        options = self._options
        rounds = {
            Schedule.TWO_RATE: options.reason_every,
            Schedule.AUTO: _AUTO_ROUND,
            Schedule.FIXED_REFERENCES: options.refresh_every,
        }
        a_round = rounds.get(schedule, 1)
        between = 1 if schedule is Schedule.FIXED_REFERENCES else a_round
        return Span(
            warm_up=max(_WARM_UP, self._references * between + 1),
            timed=-(-options.frames // a_round) * a_round,
            counted=a_round,
        )

    def measure(self, start: Callable[[], Answer], span: Span, *, step: int = 1) -> Figures:
        """Measure one segmentation method.

        Args:
            start: Starts a stream.
            span: Numbers of frames.
            step: Score J&F on every `step`-th frame.
        """
        memory = PeakMemory(self._options.device)
        costs = _costs(self._run(start(), self._clip.instructions[:1], span))
        peak = round(memory.read(), 2)
        return {**costs, 'peak_memory_gb': peak, 'jf': self._accuracy(start, step)}

    def four_fps(self, answer: Answer, span: Span) -> float:
        """Return the frames per second with all instructions of the clip at once."""
        timed = self._run(answer, self._clip.instructions, span)
        return round(len(timed.seconds) / sum(timed.seconds), 4)

    def _run(self, answer: Answer, instructions: Sequence[str], span: Span) -> Timed:
        return run(
            answer,
            self._clip,
            instructions,
            first=len(self._clip) - len(span),
            warm_up=span.warm_up,
            counted=span.counted,
        )

    def _accuracy(self, start: Callable[[], Answer], step: int) -> float | None:
        """Return the mean J&F in percent; a missed target counts as an empty mask."""
        if self._options.size != EMBEDDED or not self._options.scenes:
            return None
        scenes = self._options.scenes
        clips = self._options.scored_clips(scenes=scenes)
        values = [
            np.mean(region_and_boundary(_shown(start(), film, text, step), truths[::step]))
            for film in tqdm(clips, 'J&F', total=scenes, leave=False)
            for text, truths in zip(film.instructions, film.truths, strict=True)
        ]
        return round(100 * float(np.mean(values)), 2)


def _shown(answer: Answer, film: Clip, text: str, step: int) -> list[np.ndarray]:
    empty = np.zeros(film.images[0].shape[:2], bool)
    masks = run(answer, film, [text], step=step).masks
    return [empty if mask is None else mask for mask in masks]


def _costs(timed: Timed) -> Figures:
    milliseconds = 1e3 * np.array(timed.seconds)
    p50, p95, p99 = np.percentile(milliseconds, [50, 95, 99])
    return {
        'fps': round(1e3 / float(milliseconds.mean()), 4),
        'latency_p50_ms': round(float(p50), 2),
        'latency_p95_ms': round(float(p95), 2),
        'latency_p99_ms': round(float(p99), 2),
        'gflop_per_frame': round(timed.gflop, 4),
        'drops': round(dropped(timed.seconds), 4),
    }


def _gflop(row: Figures) -> str:
    count = row['gflop_per_frame']
    return '-' if count is None else f'{count:.1f}'


def _straightforward(options: Options) -> Answer:
    plain = straightforward_model(options.size, options.dtype, options.device)
    return straightforward(
        plain.model,
        plain.processor,
        stride=plain.model.config.reference_stride,
        threshold=plain.model.config.score_threshold,
    )


def import_figure() -> Any:
    """Import matplotlib's Figure.

    Raises:
        RuntimeError: Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RuntimeError('drawing needs matplotlib: pip install matplotlib') from error
    return Figure


def plot_stream(figures: dict[str, Any], file: Path) -> None:
    """Draw the latency of each schedule and, if measured, its accuracy against its frame rate.

    Args:
        figures: Result of `benchmark_stream`.
        file: PNG to write.

    Raises:
        RuntimeError: Matplotlib is not installed.
    """
    schedules = figures['schedules']
    measured = all(row['jf'] is not None for row in schedules.values())
    figure = import_figure()(figsize=(9 if measured else 5, 3.6), layout='constrained')
    axes = figure.subplots(1, 2 if measured else 1, squeeze=False)[0]
    _draw_latency(axes[0], schedules)
    if measured:
        _draw_accuracy(axes[1], schedules)
    figure.suptitle(f'{figures["size"]}, {figures["dtype"]}, {figures["threads"]} threads')
    figure.savefig(file, dpi=120, format='png')


def _draw_latency(axes: Any, schedules: dict[str, Any]) -> None:
    names = list(schedules)
    for quantile, shade in (('p99', '#c6dbef'), ('p95', '#6baed6'), ('p50', '#08519c')):
        axes.bar(
            names,
            [row[f'latency_{quantile}_ms'] for row in schedules.values()],
            color=shade,
            label=quantile,
        )
    axes.set_ylabel('latency of a frame, ms')
    axes.tick_params(axis='x', labelrotation=20)
    axes.legend()


def _draw_accuracy(axes: Any, schedules: dict[str, Any]) -> None:
    for name, row in schedules.items():
        axes.plot(row['fps'], row['jf'], 'o')
        axes.annotate(name, (row['fps'], row['jf']), xytext=(5, 5), textcoords='offset points')
    axes.set_xlabel('frames per second')
    axes.set_ylabel('J&F, %')
    axes.margins(x=0.4, y=0.25)
