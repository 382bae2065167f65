"""Published results (percent), to stand beside one's own (spec 8)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

_OWN: Final = 'InstructSeg (paper)'

# Benchmark -> figure as `evaluate` names it -> split -> method -> value.
Values = Mapping[str, Mapping[str, float]]


def published(benchmark: str, split: str) -> dict[str, dict[str, float]]:
    """Figures of other methods: method -> name of the figure -> percent."""
    rows: dict[str, dict[str, float]] = {}
    for figure, of_split in _PUBLISHED.get(benchmark, {}).items():
        for method, value in of_split.get(split, {}).items():
            rows.setdefault(method, {})[figure] = value
    return rows


def own_row(figures: Mapping[str, Any], names: Iterable[str]) -> dict[str, float]:
    """The named figures of one's own, in percent; those that only a server gives are left out."""
    found = {name: _at(figures, name) for name in names}
    scale = 1 if 'overall' in figures else 100  # ReVOS' are percent already
    return {name: scale * value for name, value in found.items() if value is not None}


def _at(figures: Mapping[str, Any], name: str) -> float | None:
    value: Any = figures
    for part in name.split('.'):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _row(own: float, **others: float) -> dict[str, float]:
    return {**{name.replace('_', '-'): value for name, value in others.items()}, _OWN: own}


_PUBLISHED: Final[Mapping[str, Mapping[str, Values]]] = {
    'refcoco': {
        'joined.cIoU': {
            'val': _row(85.8, LISA_7B=74.9, GSVA_7B=76.4, GLaMM=79.5, PSALM=83.6),
            'testA': _row(86.6, LISA_7B=79.1, GSVA_7B=77.4, GLaMM=83.2, PSALM=84.7),
            'testB': _row(84.0, LISA_7B=72.3, GSVA_7B=72.8, GLaMM=76.9, PSALM=81.6),
        }
    },
    'refcoco+': {
        'joined.cIoU': {
            'val': _row(80.1, LISA_7B=65.1, GSVA_7B=64.5, GLaMM=72.6, PSALM=72.9),
            'testA': _row(83.8, LISA_7B=70.8, GSVA_7B=67.7, GLaMM=78.7, PSALM=75.5),
            'testB': _row(75.6, LISA_7B=58.1, GSVA_7B=58.6, GLaMM=64.6, PSALM=70.1),
        }
    },
    'refcocog': {
        'joined.cIoU': {
            'val': _row(79.3, LISA_7B=67.9, GSVA_7B=71.1, GLaMM=74.2, PSALM=73.8),
            'test': _row(80.3, LISA_7B=70.6, GSVA_7B=72.0, GLaMM=74.9, PSALM=74.4),
        }
    },
    'reasonseg': {
        'gIoU': {'val': _row(61.9, LISA_7B=52.9, VISA_7B=52.7, GroundHog=56.2)},
        'cIoU': {'val': _row(65.2, LISA_7B=54.0, VISA_7B=57.8)},
    },
    'revos': {
        'referring.JF': {'valid': _row(57.0, LMPM=34.1, TrackGPT_13B=49.5, VISA_13B=54.1)},
        'reasoning.JF': {'valid': _row(51.9, LMPM=18.8, TrackGPT_13B=40.5, VISA_13B=40.9)},
        'overall.JF': {'valid': _row(54.5, LMPM=26.4, TrackGPT_13B=45.0, VISA_13B=47.5)},
    },
    'ref-youtube-vos': {
        'J&F (of the server)': {'valid': _row(67.5, ReferFormer=62.9, VISA_13B=63.0)}
    },
    'ref-davis17': {'J&F-Mean': {'val': _row(71.1, ReferFormer=61.1, VISA_13B=70.4)}},
    'vqav2': {'accuracy (of the server)': {'test-dev': _row(79.0, **{'LLaVA-1.5-7B': 78.5})}},
    'mmbench': {'circular': {'dev': _row(68.6, **{'LLaVA-1.5-7B': 64.3})}},
    'gqa': {'accuracy': {'testdev_balanced': _row(62.3, **{'LLaVA-1.5-7B': 62.0})}},
    'pope': {'F1': {'test': _row(87.0, **{'LLaVA-1.5-7B': 85.9})}},
    'scienceqa': {'accuracy': {'test': _row(69.2, **{'LLaVA-1.5-7B': 66.8})}},
}
