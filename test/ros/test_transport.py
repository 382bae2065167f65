from __future__ import annotations

from pathlib import Path

import pytest

from instructseg_ros.ros.transport import keep_image_memory, profile_environment

PROFILE = Path('fastdds.xml')


def test_the_profile_is_named_for_every_version_of_fast_dds() -> None:
    assert profile_environment(PROFILE, {}) == {
        'FASTDDS_DEFAULT_PROFILES_FILE': 'fastdds.xml',
        'FASTRTPS_DEFAULT_PROFILES_FILE': 'fastdds.xml',
    }


@pytest.mark.parametrize('variable', [
    'FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE',
    'FASTDDS_BUILTIN_TRANSPORTS'])
def test_what_the_user_has_chosen_stays(variable: str) -> None:
    assert profile_environment(PROFILE, {variable: 'mine'}) == {}


def test_keeping_image_memory_can_be_asked_for_twice() -> None:
    keep_image_memory()
    keep_image_memory()
