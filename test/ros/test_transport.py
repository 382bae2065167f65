from __future__ import annotations

from pathlib import Path

import pytest

from instructseg_ros.ros.transport import CHOICE_VARIABLES, profile_environment

PROFILE = Path('fastdds.xml')


def test_the_profile_is_named_as_the_installed_version_of_fast_dds_reads_it() -> None:
    environment = profile_environment(PROFILE, {})
    assert list(environment.values()) == ['fastdds.xml']
    assert set(environment) < set(CHOICE_VARIABLES)


@pytest.mark.parametrize('variable', CHOICE_VARIABLES)
def test_what_the_user_has_chosen_stays(variable: str) -> None:
    assert profile_environment(PROFILE, {variable: 'mine'}) == {}
