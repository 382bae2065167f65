"""Node parameters declared as the fields of a frozen dataclass, with checks of their values."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import itertools
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

T = TypeVar('T')
Value = bool | int | float | str | Sequence[str]


class ParameterError(ValueError):
    """A parameter has an invalid value; the message names the valid ones."""


def parameter(
    default: Value,
    description: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Sequence[str] = (),
    dynamic: bool = False,
    read_only: bool = False,
) -> Any:
    """Return a dataclass field that describes one parameter.

    Args:
        default: Default value, which also fixes the type.
        description: Meaning and unit.
        minimum: Lowest value of a number.
        maximum: Highest value of a number.
        choices: Valid values of a string, or of each string in a list; () for any.
        dynamic: True if it may change at any time, False if only while the node is unconfigured.
        read_only: Whether it can be set at startup only.
    """
    metadata = {
        'description': description,
        'minimum': minimum,
        'maximum': maximum,
        'choices': tuple(choices),
        'dynamic': dynamic,
        'read_only': read_only,
    }
    if isinstance(default, (list, tuple)):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def default_of(field: dataclasses.Field[Any]) -> Value:
    """Return the default value of a parameter."""
    if field.default is not dataclasses.MISSING:
        return field.default
    assert field.default_factory is not dataclasses.MISSING
    return field.default_factory()


def declare(node: Node, table: type) -> None:
    """Declare every field of a parameter dataclass on a node."""
    for field in dataclasses.fields(table):
        node.declare_parameter(field.name, default_of(field), _describe(field))


def warn_of_unknown(node: Node) -> None:
    """Warn of each parameter given at startup that the node does not have.

    Call it when all parameters are declared. QoS overrides are skipped, because they are declared
    later, with their topics.
    """
    given = [name for name in node._parameter_overrides if not name.startswith('qos_overrides.')]
    warn_of_undeclared(node, given, list(node._parameters))


def warn_of_undeclared(node: Node, names: Iterable[str], declared: Sequence[str]) -> None:
    """Warn of each parameter that is not declared, and suggest the nearest declared name."""
    for name in sorted(set(names).difference(declared)):
        nearest = difflib.get_close_matches(name, declared, n=1)
        remedy = (
            f'did you mean "{nearest[0]}"?'
            if nearest
            else f'"{node.get_name()} --help" lists all parameters'
        )
        node.get_logger().warning(
            f'the parameter "{name}" has no effect: the node has no parameter of that name; '
            f'{remedy}'
        )


def warn_of_files_for_others(node: Node, arguments: Sequence[str]) -> None:
    """Warn of each parameter file that has no parameters for a node.

    Args:
        node: The node.
        arguments: Its command line.
    """
    mine = node.get_fully_qualified_name()
    for flag, file in itertools.pairwise(arguments):
        # A pipe cannot be read a second time.
        if flag != '--params-file' or not Path(file).is_file():
            continue
        with contextlib.suppress(OSError, yaml.YAMLError):  # rcl has accepted it already
            # Files written by launch have Python tags, which this loader ignores.
            names = list(_nodes_in(yaml.load(Path(file).read_bytes(), yaml.BaseLoader)))
            if not any(_is_name_of(mine, name) for name in names):
                node.get_logger().warning(
                    f'{file} has no effect: it has parameters for {", ".join(names) or "no node"}'
                    f', and this node is {mine}'
                )


def _nodes_in(content: Any, name: str = '') -> Iterator[str]:
    """Yield the node names, with wildcards, in a parameter file."""
    for key, value in content.items() if isinstance(content, Mapping) else ():
        if key == 'ros__parameters':
            yield name
        else:
            yield from _nodes_in(value, f'{name}/{key.strip("/")}')


def _is_name_of(node: str, name: str) -> bool:
    wildcards = {'*': r'/\w+', '**': r'(/\w+)*'}
    parts = [wildcards.get(part, f'/{part}') for part in name.split('/')[1:]]
    return re.fullmatch(''.join(parts), node) is not None


def describe_all(table: type) -> str:
    """Return a description of all parameters for a terminal."""
    return '\n'.join(
        textwrap.fill(
            f'{field.name} (default {default_of(field)!r}): '
            f'{field.metadata["description"]}{_values(field)}',
            width=98,
            initial_indent='  ',
            subsequent_indent='      ',
        )
        for field in dataclasses.fields(table)
    )


def _values(field: dataclasses.Field[Any]) -> str:
    metadata = field.metadata
    if metadata['choices']:
        return f' [{", ".join(metadata["choices"])}]'
    if metadata['minimum'] is not None:
        return f' [{metadata["minimum"]} to {metadata["maximum"]}]'
    return ''


def read(node: Node, table: type[T]) -> T:
    """Return the current values of a node's parameters.

    Raises:
        ParameterError: A value is not one of the choices.
    """
    fields = dataclasses.fields(table)  # type: ignore[arg-type]
    values = {field.name: node.get_parameter(field.name).value for field in fields}
    for field in fields:
        _check_choice(field, values[field.name])
    return table(**values)


def check_change(
    table: type, changes: Iterable[Parameter], *, is_configured: bool
) -> SetParametersResult:
    """Check changes; all are rejected if one is invalid or not possible in this state."""
    fields = {field.name: field for field in dataclasses.fields(table)}
    for change in changes:
        field = fields.get(change.name)
        if field is None:
            continue
        if is_configured and not field.metadata['dynamic']:
            return SetParametersResult(
                successful=False,
                reason=f'{change.name} takes effect when the node is configured: run the '
                f'lifecycle transitions deactivate and cleanup first',
            )
        try:
            _check_choice(field, change.value)
        except ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
    return SetParametersResult(successful=True)


def _check_choice(field: dataclasses.Field[Any], value: Any) -> None:
    choices = field.metadata['choices']
    if not choices:
        return
    for text in [value] if isinstance(value, str) else value or ():
        if text not in choices:
            raise ParameterError(f'{field.name} "{text}" is not one of {", ".join(choices)}')


def _describe(field: dataclasses.Field[Any]) -> ParameterDescriptor:
    metadata = field.metadata
    descriptor = ParameterDescriptor(
        description=metadata['description'],
        read_only=metadata['read_only'],
        additional_constraints=', '.join(metadata['choices']),
    )
    if metadata['minimum'] is not None:
        limits = {'from_value': metadata['minimum'], 'to_value': metadata['maximum']}
        if isinstance(default_of(field), float):
            descriptor.floating_point_range = [FloatingPointRange(**limits)]
        else:
            descriptor.integer_range = [IntegerRange(**limits)]
    return descriptor
