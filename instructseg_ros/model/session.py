"""VideoSession: one batch per step for the frames and queries of all streams."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakSet

from instructseg_ros.model.prediction import Prediction
from instructseg_ros.model.query import Query
from instructseg_ros.model.video_stream import AnyQuery, FrameTask, ReferencePolicy, VideoStream

if TYPE_CHECKING:
    from instructseg_ros.model.segmenter import Segmenter

logger = logging.getLogger(__name__)
Results: TypeAlias = list[tuple[FrameTask[AnyQuery], AnyQuery, Prediction | Exception]]


class VideoSession:
    """Segments the frames of any number of streams, and keeps what later frames can reuse.

    Each stream keeps its recent frames with their features and chooses reference frames; each query
    keeps its key/value prefix and its last embedding. `step` runs the model, one batch per stage
    for all streams, and needs no lock. Threads that share a stream must
    plan and change it under a lock of their own.

    Attributes:
        model: The model; only `step` and `clear` use it.
    """

    def __init__(
        self,
        model: Segmenter,
        policy: ReferencePolicy | None = None,
        *,
        queries_per_pass: int | None = None,
    ) -> None:
        """Create a session without streams.

        Args:
            model: The model.
            policy: How all streams choose reference frames.
            queries_per_pass: Maximum number of queries per frame in one batch; None: no limit.
        """
        self.model = model
        self._policy = policy or ReferencePolicy()
        self._queries_per_pass = queries_per_pass
        self._streams: WeakSet[VideoStream] = WeakSet()
        self._queries: WeakSet[Query] = WeakSet()

    def open_stream(self) -> VideoStream:
        """Return a new stream; it closes when nothing refers to it."""
        stream = VideoStream(self._policy)
        self._streams.add(stream)
        return stream

    def step(self, tasks: Sequence[FrameTask[AnyQuery]]) -> Iterator[Results[AnyQuery]]:
        """Run the tasks of one or more streams, with all their queries in one batch.

        If the model fails on a query, the exception is yielded in place of a prediction. The query
        then runs in a batch of its own until it works again, so that the other queries get theirs.

        Yields:
            Each query of a batch, with its task and prediction; only one batch if no query fails.

        Raises:
            MemoryError: The device is out of memory.
        """
        healthy = [
            task.for_queries([query for query in task.queries if not query.failed])
            for task in tasks
        ]
        alone = [
            task.for_queries([query]) for task in tasks for query in task.queries if query.failed
        ]
        for batch in ([task for task in healthy if task.queries], *([task] for task in alone)):
            if batch:
                yield from self._run(batch)

    def clear(self) -> None:
        """Release everything that the model computed for streams and queries."""
        for stream in self._streams:
            stream.clear()
        for query in self._queries:
            query.clear()

    def _run(self, tasks: Sequence[FrameTask[AnyQuery]]) -> Iterator[Results[AnyQuery]]:
        pairs = [(task, query) for task in tasks for query in task.queries]
        try:
            predictions = self._infer(tasks)
        except MemoryError:
            raise
        except Exception as error:
            logger.debug('the model failed', exc_info=True)
            failure = _without_traceback(error)
        else:
            for _, query in pairs:
                query.failed = False
            yield [(*pair, each) for pair, each in zip(pairs, predictions, strict=True)]
            return
        if len(pairs) > 1:
            for task, query in pairs:
                yield from self._run([task.for_queries([query])])
            return
        [(task, query)] = pairs
        query.failed, query.embedding = True, None
        yield [(task, query, failure)]

    def _infer(self, tasks: Sequence[FrameTask[AnyQuery]]) -> list[Prediction]:
        """Return the predictions of all queries, in the order of the tasks."""
        tasks = [self._aligned(task) for task in tasks]
        # Started first, because a GPU runs it in parallel with the rest.
        pixels = self.model.encode_pixels(
            [task.frame.image for task in tasks], scale=tasks[0].scale
        )
        self._encode([task for task in tasks if task.to_reason])
        most = max(len(task.queries) for task in tasks)
        size = self._queries_per_pass or most
        predictions: list[list[Prediction]] = [[] for _ in tasks]
        for start in range(0, most, size):
            parts = tasks
            if size < most:
                parts = [task.for_queries(task.queries[start : start + size]) for task in tasks]
            self._reason([part for part in parts if part.to_reason])
            embeddings = [
                [query.embedding for query in part.queries if query.embedding is not None]
                for part in parts
            ]
            decoded = self.model.decode(embeddings, pixels)
            for row, some in zip(predictions, decoded, strict=True):
                row += some
        return [prediction for row in predictions for prediction in row]

    def _aligned(self, task: FrameTask[AnyQuery]) -> FrameTask[AnyQuery]:
        """Replace the reference frames of a task by frames as the camera would see them now."""
        images = self.model.aligned([frame.image for frame in task.references], task.frame.image)
        references = [
            frame if image is frame.image else replace(frame, image=image, features=None)
            for frame, image in zip(task.references, images, strict=True)
        ]
        return replace(task, references=references)

    def _encode(self, tasks: Sequence[FrameTask[AnyQuery]]) -> None:
        frames = dict.fromkeys(
            frame
            for task in tasks
            for frame in (*task.references, task.frame)
            if frame.features is None
        )
        if frames:
            features = self.model.encode([frame.image for frame in frames])
            for frame, its_features in zip(frames, features, strict=True):
                frame.features = its_features

    def _reason(self, tasks: Sequence[FrameTask[AnyQuery]]) -> None:
        if not tasks:
            return
        for query in (query for task in tasks for query in task.to_reason):
            self._queries.add(query)
            self.model.prepare(query)
        embeddings = self.model.reason(
            [task.to_reason for task in tasks],
            [task.frame.features for task in tasks if task.frame.features is not None],
            [
                [frame.features for frame in task.references if frame.features is not None]
                for task in tasks
            ],
            keep_references=tasks[0].keep_references,
        )
        for task, row in zip(tasks, embeddings, strict=True):
            for query, embedding in zip(task.to_reason, row, strict=True):
                query.embedding = embedding
                query.reasoned_at = task.frame.stamp
                query.reference_frames = len(task.references)


def _without_traceback(error: Exception) -> Exception:
    """Return the error without its traceback, which would keep the tensors alive."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error
