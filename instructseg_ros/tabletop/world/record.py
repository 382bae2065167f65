"""Records simulated scenes to a rosbag2 file: `python -m instructseg_ros.tabletop.world.record`.

Half a minute of 640x480 color, depth and labels at 15 Hz takes a few megabytes. zstd compresses
long chunks, in which most pixels are the same in all frames; colors are rounded to six bits,
and depth to steps of 4 mm.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rosbags.rosbag2 import Writer
from rosbags.rosbag2.enums import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2.storage_mcap import McapWriter, zstd

from instructseg_ros import interruption
from instructseg_ros.tabletop.world.recording import SCENE_SECONDS, SHIPPED, TOPICS, to_messages
from instructseg_ros.tabletop.world.simulator import Observation, Tabletop
from instructseg_ros.video.bag import standard_types

SCENES = (684, 1749, 2191, 2422)
CHUNK = 24 * 2**20
LEVEL, WINDOW = 19, 26


class _LongChunks(McapWriter):
    """The MCAP writer of rosbags with chunks of many frames, each compressed as a whole."""

    def __init__(self, path: Path, compression: CompressionMode) -> None:
        super().__init__(path, compression)
        self._last = False
        parameter = zstd.CompressionParameter
        options: dict[int, int] = {
            parameter.compression_level: LEVEL,
            parameter.window_log: WINDOW,
            parameter.enable_long_distance_matching: 1,
        }
        self.compressor = lambda data: zstd.compress(data, options=options)

    def close_chunk(self) -> None:
        if self._last or self.chunk.bio.tell() > CHUNK:
            super().close_chunk()

    def close(self, version: int, metadata: str) -> None:
        self._last = True
        super().close(version, metadata)


class _BagWriter(Writer):
    STORAGE_PLUGINS = {StoragePlugin.MCAP: _LongChunks}


def quantized(seen: Observation) -> Observation:
    """Quantize an observation: colors in steps of 4, depth in steps of 4 mm."""
    assert seen.depth is not None
    depth = np.rint(seen.depth * 250).astype(np.float32) / 250
    return replace(seen, rgb=(seen.rgb & 0xFC) | 2, depth=depth)


def frames(
    scenes: Sequence[int], *, seconds: float, rate: float, width: int, height: int
) -> Iterator[tuple[int, Observation]]:
    """Render `seconds` of each scene at `rate` frames/s; yields the seed and the observation."""
    with Tabletop(width=width, height=height, seed=scenes[0]) as tabletop:
        for scene in scenes:
            tabletop.reset(scene)
            for number in range(round(seconds * rate)):
                yield scene, quantized(tabletop.observe(number / rate))


def record(
    path: Path,
    *,
    scenes: Sequence[int] = SCENES,
    seconds: float = SCENE_SECONDS,
    rate: float = 15.0,
    width: int = 640,
    height: int = 480,
) -> None:
    """Record scenes one after the other; an existing file is replaced."""
    with tempfile.TemporaryDirectory() as folder:
        bag = Path(folder) / 'tabletop'
        writer = _BagWriter(bag, version=9, storage_plugin=StoragePlugin.MCAP)
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        with writer:
            connections = {
                topic: writer.add_connection(topic, message_type, typestore=standard_types())
                for topic, message_type in TOPICS.items()
            }
            taken = frames(scenes, seconds=seconds, rate=rate, width=width, height=height)
            for number, (scene, seen) in enumerate(taken):
                stamp = 10**9 + round(number * 1e9 / rate)
                for topic, data in to_messages(seen, stamp, scene).items():
                    writer.write(connections[topic], stamp, data)
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(bag / 'tabletop.mcap', path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Record to a file and return the exit status."""
    interruption.raise_again()
    parser = argparse.ArgumentParser(
        prog='python -m instructseg_ros.tabletop.world.record',
        description='Record simulated scenes with ground truth to a rosbag2 file.',
    )
    parser.add_argument(
        '--output',
        type=Path,
        default=SHIPPED,
        help='.mcap file to write (default: the one in the package)',
    )
    parser.add_argument(
        '--scenes', type=int, nargs='+', default=list(SCENES), help='seeds of the scenes'
    )
    parser.add_argument('--rate', type=float, default=15.0, help='frames per second')
    options = parser.parse_args(arguments)
    try:
        record(options.output, scenes=options.scenes, rate=options.rate)
    except KeyboardInterrupt:
        return 130
    size = options.output.stat().st_size
    sys.stdout.write(f'{options.output}: {size / 1e6:.1f} MB\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
