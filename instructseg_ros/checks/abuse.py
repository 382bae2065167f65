"""Bad input between valid requests, and what the node makes of it."""

from __future__ import annotations

import resource
from dataclasses import dataclass, field
from pathlib import Path

from instructseg_ros.checks.hostile_input import HostileInput
from instructseg_ros.checks.node_tester import Tester

EXPLANATION_TIMEOUT = 10.0  # s


@dataclass(kw_only=True)
class Tally:
    """What happened.

    Attributes:
        valid_requests: Valid images that were shown between the bad inputs.
        unanswered: Those on which the instruction was not answered.
        bad_inputs: Bad inputs that were sent.
        unexplained: Names of those about which the node did not say what was wrong.
        header_mismatches: Results with a header of no image, or another than their mask.
        restarts_survived: Times that the node came back after it was killed.
    """

    valid_requests: int = 0
    unanswered: int = 0
    bad_inputs: int = 0
    unexplained: list[str] = field(default_factory=list)
    header_mismatches: int = 0
    restarts_survived: int = 0


def abuse(tester: Tester, inputs: list[HostileInput], tally: Tally) -> None:
    """Send each input, and look whether it is explained and a valid request still answered."""
    for each in inputs:
        since = len(tester.heard)
        each.send(tester)
        tally.bad_inputs += 1
        if each.explained and not tester.wait(
            lambda: tester.is_explained(each.explained, since),  # noqa: B023
            timeout=EXPLANATION_TIMEOUT,
        ):
            tally.unexplained.append(each.name)
        request(tester, tally)
    tally.header_mismatches = tester.mismatches


def request(tester: Tester, tally: Tally) -> None:
    """Make one valid request."""
    tally.valid_requests += 1
    if not tester.request():
        tally.unanswered += 1


def resident_memory_of(pid: int) -> int:
    """Bytes of another process that are in memory now."""
    return int(Path(f'/proc/{pid}/statm').read_text().split()[1]) * resource.getpagesize()
