"""InstructSeg on ROS 2: segments what an instruction means in camera images.

`Segmenter` runs the model in this process; `SegmentationClient` uses a running node. Both are
imported when they are first used, so that importing the package stays cheap.
"""

import importlib
from typing import TYPE_CHECKING, Any

from instructseg_ros import interruption

if TYPE_CHECKING:
    from instructseg_ros.model.segmenter import Segmenter
    from instructseg_ros.ros.client import SegmentationClient

__all__ = ['SegmentationClient', 'Segmenter', '__version__']
__version__ = '0.1.0'

_MODULES = {
    'SegmentationClient': 'instructseg_ros.ros.client',
    'Segmenter': 'instructseg_ros.model.segmenter',
}

interruption.exit_quietly()


def __getattr__(name: str) -> Any:
    """Import a public class on first use (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
