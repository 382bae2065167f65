"""A ROS domain of the test session's own."""

from __future__ import annotations

import functools
import random
import socket
from collections.abc import Iterator

import pytest

from instructseg_ros.ros.transport import localhost_setting, profile_environment


def is_free(domain: int) -> bool:
    """Tell whether no participant uses the first port that DDS gives to a domain."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(('', 7400 + 250 * domain + 10))
        except OSError:
            return False
    return True


@functools.cache
def own_domain() -> int:
    """Choose a free domain, once for all test folders of this process.

    A node that one folder's tests started must be in the domain of the others' probes.
    """
    return next(number for number in random.sample(range(1, 101), 100) if is_free(number))


@pytest.fixture(scope='session', autouse=True)
def domain() -> Iterator[None]:
    """Use this process's ROS domain, on this machine only, and the package's transport."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('ROS_DOMAIN_ID', str(own_domain()))
        patch.setenv(*localhost_setting())
        for name, value in profile_environment().items():
            patch.setenv(name, value)
        yield
