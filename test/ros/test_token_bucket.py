from __future__ import annotations

from instructseg_ros.ros.inputs import TokenBucket


def test_a_burst_passes_and_then_the_rate_limits() -> None:
    now = [0.0]
    bucket = TokenBucket(rate=2.0, burst=3, clock=lambda: now[0])
    assert [bucket.take() for _ in range(5)] == [True, True, True, False, False]
    now[0] = 0.49
    assert not bucket.take()
    now[0] = 1.0
    assert [bucket.take() for _ in range(3)] == [True, True, False]


def test_a_long_rest_saves_no_more_than_a_burst() -> None:
    now = [0.0]
    bucket = TokenBucket(rate=100.0, burst=2, clock=lambda: now[0])
    now[0] = 1e6
    assert [bucket.take() for _ in range(3)] == [True, True, False]


def test_rate_and_burst_may_change() -> None:
    now = [0.0]
    bucket = TokenBucket(rate=1.0, burst=1, clock=lambda: now[0])
    assert bucket.take()
    bucket.rate, bucket.burst = 10.0, 5
    now[0] = 0.3
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
