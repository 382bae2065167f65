"""Advice where a node that runs is not found."""

from __future__ import annotations

import os

from instructseg_ros.ros.distribution import localhost_setting


def discovery_advice() -> str:
    """Return a remedy for networks without multicast, or '' where it is in use already."""
    name, value = localhost_setting()
    if os.environ.get(name) == value:
        return ''
    return (f'. DDS discovery needs multicast; without it, set {name}={value} for every process on '
            'this machine')
