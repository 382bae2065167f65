"""Parameters declared once: a frozen dataclass whose fields say everything about them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

T = TypeVar('T')


def parameter(default: bool | int | float | str, description: str, *,
              minimum: float | None = None, maximum: float | None = None,
              dynamic: bool = False, read_only: bool = False) -> Any:
    """Describe one parameter as a dataclass field.

    Args:
        default: Its value when nobody sets it; fixes its type.
        description: Meaning and unit.
        minimum: Least value of a number.
        maximum: Greatest value of a number.
        dynamic: It may change at any time; otherwise only while the node is not configured.
        read_only: It can only be given at the start.
    """
    return dataclasses.field(default=default, metadata={
        'description': description, 'minimum': minimum, 'maximum': maximum,
        'dynamic': dynamic, 'read_only': read_only})


def declare(node: Node, table: type) -> None:
    """Declare every field of a table of parameters on a node."""
    for field in dataclasses.fields(table):
        node.declare_parameter(field.name, field.default, _describe(field))


def read(node: Node, table: type[T]) -> T:
    """Return the values that a node's parameters have now."""
    fields = dataclasses.fields(table)  # type: ignore[arg-type]
    return table(**{field.name: node.get_parameter(field.name).value for field in fields})


def check_change(table: type, changes: Iterable[Parameter], *,
                 is_configured: bool) -> SetParametersResult:
    """Refuse a set of changes as a whole when one of them cannot take effect now."""
    fields = {field.name: field for field in dataclasses.fields(table)}
    for change in changes:
        field = fields.get(change.name)
        if field is not None and is_configured and not field.metadata['dynamic']:
            return SetParametersResult(
                successful=False, reason=f'{change.name} takes effect when the node is '
                f'configured: run the lifecycle transitions deactivate and cleanup first')
    return SetParametersResult(successful=True)


def _describe(field: dataclasses.Field[Any]) -> ParameterDescriptor:
    metadata = field.metadata
    descriptor = ParameterDescriptor(
        description=metadata['description'], read_only=metadata['read_only'])
    if metadata['minimum'] is not None:
        limits = {'from_value': metadata['minimum'], 'to_value': metadata['maximum']}
        if isinstance(field.default, float):
            descriptor.floating_point_range = [FloatingPointRange(**limits)]
        else:
            descriptor.integer_range = [IntegerRange(**limits)]
    return descriptor
