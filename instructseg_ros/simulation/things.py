"""The kinds, colours and sizes of the things that can be on the table."""

from __future__ import annotations

KINDS = (
    'mug', 'bowl', 'bottle', 'can', 'box', 'ball', 'plate', 'spoon', 'knife', 'banana', 'apple',
    'book', 'car', 'hammer', 'pen', 'teapot',
)  # fmt: skip

COLORS: dict[str, tuple[float, float, float]] = {
    'red': (0.80, 0.06, 0.06),
    'green': (0.10, 0.58, 0.14),
    'blue': (0.08, 0.22, 0.80),
    'yellow': (0.95, 0.83, 0.06),
    'orange': (1.00, 0.49, 0.02),
    'purple': (0.46, 0.12, 0.66),
    'pink': (0.98, 0.52, 0.72),
    'brown': (0.33, 0.17, 0.075),
    'white': (0.93, 0.93, 0.92),
    'black': (0.05, 0.05, 0.06),
}

SIZES: dict[str, float] = {'small': 0.75, 'medium': 1.0, 'large': 1.3}
