"""Opens whatever holds frames."""

from __future__ import annotations

import shlex
from pathlib import Path

from instructseg_ros.model.manifest import is_lfs_pointer
from instructseg_ros.streaming.image_files import is_clutter
from instructseg_ros.video.frame import Source, SourceError, natural_order

STORAGE = ('.mcap', '.db3')  # Files of bags.



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
    _refuse_other_kinds(path)
    if path.suffix in STORAGE or is_bag_folder(path):
        from instructseg_ros.video.bag import Bag

        return Bag(path, topic=topic)
    if topic is not None:
        raise SourceError(f'{path} is not a bag and has no topics: leave --topic out')
    if path.is_dir():
        from instructseg_ros.video.folder import Folder

        return Folder(path)
    from instructseg_ros.video.film import Film

    return Film(path)


def is_bag_folder(path: Path) -> bool:
    """Whether a path is the folder of a bag: a recording that was killed leaves no metadata."""
    return path.is_dir() and ((path / 'metadata.yaml').is_file() or bool(storage_files(path)))


def storage_files(folder: Path) -> list[Path]:
    """Return the storage files in a folder, in the order of the numbers in their names."""
    files = [file for file in folder.iterdir()
             if file.suffix in STORAGE and not is_clutter(file)]
    return sorted(files, key=lambda file: natural_order(file.name))


def _refuse_other_kinds(path: Path) -> None:
    """Raise a SourceError with the remedy for what only looks like frames."""
    if path.suffix == '.bag' and path.is_file():
        source, target = (shlex.quote(str(each)) for each in (path, path.with_suffix('')))
        raise SourceError(
            f'{path} is a ROS 1 bag: convert it with `rosbags-convert --src {source} --dst '
            f'{target} --dst-typestore ros2_humble`, and give that folder')
    for file in storage_files(path) if path.is_dir() else [path]:
        if file.is_file() and is_lfs_pointer(file):
            raise SourceError(f'{file} is only a pointer to its content: run `git lfs pull` in '
                              f'{file.resolve().parent}')
