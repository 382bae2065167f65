"""Writes docs/parameters.md and config/segmentation.yaml from the tables of parameters.

python document_parameters.py [--check]: with --check it only says whether they are up to date.
"""

from __future__ import annotations

import dataclasses
import sys
import textwrap
from pathlib import Path
from typing import Any

import yaml

from instructseg_ros.ros.parameters import default_of
from instructseg_ros.ros.qos import MAX_DEPTH
from instructseg_ros.ros.segmentation_parameters import SegmentationParameters
from instructseg_ros.tabletop.sim_camera import SimCameraParameters

ROOT = Path(__file__).resolve().parents[1]
TABLES = {'segmentation_node': SegmentationParameters, 'sim_camera': SimCameraParameters}
HEAD = """# Parameters

`ros2 param describe` tells the same of a running node. A set of changes of which one is refused is
refused as a whole, with a reason. What may change while the node is unconfigured takes effect with
the lifecycle transition configure.

This file is written by `scripts/document_parameters.py`.
"""
TAIL = f"""
## Quality of service

Every topic takes it from parameters `qos_overrides.<resolved topic>.publisher.<policy>` and
`qos_overrides.<resolved topic>.subscription.<policy>`, given at the start:

| policy | type | values |
|---|---|---|
| `history` | string | `keep_last`; no queue may grow without bounds |
| `depth` | integer | 1 to {MAX_DEPTH} |
| `reliability` | string | `reliable`, `best_effort` |
| `durability` | string | `volatile`, `transient_local` |

The resolved topic is the name behind namespace and remapping, and a camera that is listened to
compressed has that in its name:

```yaml
/**/segmentation_node:
  ros__parameters:
    qos_overrides:
      /front/image_raw/compressed:
        subscription:
          reliability: reliable
```
"""
TYPES = {bool: 'bool', int: 'integer', float: 'double', str: 'string', list: 'string[]'}
YAML_HEAD = """\
# Parameters of segmentation_node with their defaults, see docs/parameters.md. Arguments that are
# given to a launch file win over them.
# This file is written by scripts/document_parameters.py.
/**/segmentation_node:
  ros__parameters:
"""


def main() -> None:
    """Write both files, or exit with 1 where --check finds them out of date."""
    outdated = {
        path: text
        for path, text in documents().items()
        if not path.is_file() or path.read_text() != text
    }
    if '--check' in sys.argv[1:]:
        sys.exit(f'Out of date: {", ".join(map(str, outdated))}' if outdated else 0)
    for path, text in outdated.items():
        path.write_text(text)


def documents() -> dict[Path, str]:
    """Return each file with what belongs into it."""
    return {
        ROOT / 'docs' / 'parameters.md': markdown(),
        ROOT / 'config' / 'segmentation.yaml': parameter_file(),
    }


def markdown() -> str:
    """Return the tables of all nodes."""
    parts = [HEAD]
    for node, table in TABLES.items():
        parts.append(
            f'\n## {node}\n\n| name | type | default | values | may change | '
            'meaning |\n|---|---|---|---|---|---|\n'
        )
        parts += [_row(field) for field in dataclasses.fields(table)]
    return ''.join([*parts, TAIL])


def parameter_file() -> str:
    """Return the parameter file with every default."""
    parts = [YAML_HEAD]
    for field in dataclasses.fields(SegmentationParameters):
        comment = textwrap.fill(
            field.metadata['description'] + _values_in_words(field),
            width=100,
            initial_indent='    # ',
            subsequent_indent='    # ',
        )
        parts.append(f'{comment}.\n    {field.name}: {_yaml(default_of(field))}\n')
    return ''.join(parts)


def _row(field: dataclasses.Field[Any]) -> str:
    metadata = field.metadata
    changes = (
        'at the start'
        if metadata['read_only']
        else 'any time'
        if metadata['dynamic']
        else 'while unconfigured'
    )
    default = default_of(field)
    return (
        f'| `{field.name}` | {TYPES[type(default)]} | `{_yaml(default)}` | {_values(field)} | '
        f'{changes} | {metadata["description"]} |\n'
    )


def _values(field: dataclasses.Field[Any]) -> str:
    metadata = field.metadata
    if metadata['choices']:
        return ', '.join(f'`{choice}`' for choice in metadata['choices'])
    if metadata['minimum'] is not None:
        return f'{metadata["minimum"]} to {metadata["maximum"]}'
    return '`true`, `false`' if isinstance(default_of(field), bool) else 'any'


def _values_in_words(field: dataclasses.Field[Any]) -> str:
    choices = ', '.join(field.metadata['choices'])
    is_said = all(choice in field.metadata['description'] for choice in field.metadata['choices'])
    return '' if is_said else f': {choices}'


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True).removesuffix('\n...\n').strip()


if __name__ == '__main__':
    main()
