"""Opens whatever holds frames."""

from __future__ import annotations

from pathlib import Path

from instructseg_ros.video.frame import Source, SourceError

BAGS = ('.mcap', '.db3')


def open_source(path: Path, *, topic: str | None = None) -> Source:
    """Return the frames of a film, of a folder of pictures, or of a bag (MCAP or rosbag2).

    Args:
        path: The file, or a folder.
        topic: Which images of a bag; None where it holds only one topic of images.

    Raises:
        SourceError: It cannot be read, or it is not clear which images are meant.
        FileNotFoundError: There is no such file.
    """
    if not path.exists():
        raise FileNotFoundError(f'{path} does not exist')
    if path.suffix in BAGS or (path / 'metadata.yaml').is_file():
        from instructseg_ros.video.bag import Bag

        return Bag(path, topic=topic)
    if topic is not None:
        raise SourceError(f'{path} is not a bag and has no topics: leave --topic out')
    if path.is_dir():
        from instructseg_ros.video.folder import Folder

        return Folder(path)
    from instructseg_ros.video.film import Film

    return Film(path)
