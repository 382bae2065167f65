from __future__ import annotations

import random
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pytest
from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from instructseg_ros.ros import synchronizer
from instructseg_ros.ros.messages import stamp_to_nanoseconds

MS = 10**6
SLOP = 20
QUEUE = 10
COLOR, DEPTH, INFO = range(3)
Classes = tuple[type, type]
FALLBACK = (synchronizer.FallbackFilter, synchronizer.FallbackSynchronizer)


@dataclass(frozen=True)
class Message:
    """The smallest message that the node passes to the synchronizer."""

    header: Header
    number: int


class Inputs:
    """Color, depth and calibration into a synchronizer; times are in milliseconds."""

    def __init__(self, classes: Classes, *, slop: float = SLOP, queue: int = QUEUE) -> None:
        filter_class, synchronizer_class = classes
        self.filters = [filter_class() for _ in range(3)]
        self.synchronizer = synchronizer_class(self.filters, queue, slop / 1000)
        self.sets: list[tuple[Message, ...]] = []
        self.synchronizer.registerCallback(lambda *messages: self.sets.append(messages))
        self.count = 0

    def send(self, time: float, *inputs: int) -> None:
        for index in inputs:
            stamp = Time(sec=int(time // 1000), nanosec=round(time % 1000 * MS))
            self.count += 1
            self.filters[index].signalMessage(Message(Header(stamp=stamp), self.count))

    def play(self, times: Iterable[float]) -> None:
        for time in times:
            self.send(time, COLOR, DEPTH, INFO)

    @property
    def times(self) -> list[tuple[float, ...]]:
        return [
            tuple(stamp_to_nanoseconds(message.header.stamp) / MS for message in messages)
            for messages in self.sets
        ]

    @property
    def waiting(self) -> list[int]:
        return [len(queue) for queue in self.synchronizer.queues]


@pytest.fixture(params=['fallback', 'message_filters'])
def classes(request: pytest.FixtureRequest) -> Classes:
    """The filter and the synchronizer: the fallback, or those based on message_filters."""
    if request.param == 'fallback':
        return FALLBACK
    if synchronizer.message_filters is None:
        pytest.skip('the package message_filters is missing')
    return synchronizer.SimpleFilter, synchronizer.ApproximateTimeSynchronizer


@pytest.fixture
def inputs(classes: Classes) -> Inputs:
    return Inputs(classes)


def test_equal_stamps_match(inputs: Inputs) -> None:
    inputs.play([1000, 1033, 1066])
    assert inputs.times == [(t, t, t) for t in (1000, 1033, 1066)]
    assert inputs.waiting == [0, 0, 0]


def test_nothing_matches_before_each_input_has_come(inputs: Inputs) -> None:
    inputs.send(1000, COLOR, DEPTH)
    assert inputs.sets == []
    inputs.send(1000, INFO)
    assert inputs.times == [(1000, 1000, 1000)]


def test_a_match_is_in_the_order_of_the_inputs(inputs: Inputs) -> None:
    inputs.send(1002, INFO)
    inputs.send(1001, DEPTH)
    inputs.send(1000, COLOR)
    assert inputs.times == [(1000, 1001, 1002)]


def test_stamps_within_the_slop_match(inputs: Inputs) -> None:
    jitter = random.Random(0)
    for time in range(1000, 4000, 100):
        for index in (COLOR, DEPTH, INFO):
            inputs.send(time + jitter.uniform(0, SLOP), index)
    assert len(inputs.sets) == 30
    assert all(max(times) - min(times) <= SLOP for times in inputs.times)


@pytest.mark.parametrize(('offset', 'matches'), [(SLOP, True), (SLOP + 0.000_001, False)])
def test_the_slop_itself_is_the_last_that_matches(
    inputs: Inputs, offset: float, matches: bool
) -> None:
    inputs.send(1000, COLOR, INFO)
    inputs.send(1000 + offset, DEPTH)
    assert bool(inputs.sets) is matches


def test_with_a_slop_of_zero_equal_stamps_match(classes: Classes) -> None:
    inputs = Inputs(classes, slop=0)
    inputs.play([1000, 1033])
    assert inputs.times == [(1000, 1000, 1000), (1033, 1033, 1033)]


def test_the_slop_is_between_any_two_of_a_set(inputs: Inputs) -> None:
    inputs.send(1000 - 15, DEPTH)
    inputs.send(1000 + 15, INFO)
    inputs.send(1000, COLOR)
    assert inputs.sets == []


def test_a_match_is_found_next_to_a_nearer_message_without_a_match(inputs: Inputs) -> None:
    inputs.send(1000 - 18, DEPTH)
    inputs.send(1000 - 15, INFO)
    inputs.send(1000 + 14, INFO)
    inputs.send(1000, COLOR)
    assert inputs.times == [(1000, 982, 985)]


def test_of_several_the_nearest_matches(inputs: Inputs) -> None:
    for offset in (-12, -4, 7, 15):
        inputs.send(1000 + offset, DEPTH)
    inputs.send(1000, INFO)
    inputs.send(1000, COLOR)
    assert inputs.times == [(1000, 996, 1000)]


def test_depth_at_half_the_rate_matches_every_other_image(inputs: Inputs) -> None:
    for number in range(60):
        inputs.send(1000 + 33 * number, COLOR, INFO)
        if number % 2 == 0:
            inputs.send(1000 + 33 * number + 1, DEPTH)
    assert [times[COLOR] for times in inputs.times] == list(range(1000, 1000 + 60 * 33, 66))


def test_depth_that_was_missing_for_a_while_matches_again(inputs: Inputs) -> None:
    inputs.play([1000, 1033])
    for time in range(1066, 9000, 33):
        inputs.send(time, COLOR, INFO)
    inputs.play([9000, 9033])
    assert [times[COLOR] for times in inputs.times] == [1000, 1033, 9000, 9033]


def test_depth_that_comes_late_matches_its_image(inputs: Inputs) -> None:
    for time in (1000, 1033, 1066):
        inputs.send(time, COLOR, INFO)
    inputs.send(1033, DEPTH)
    assert inputs.times == [(1033, 1033, 1033)]


def test_messages_out_of_order_match(inputs: Inputs) -> None:
    stamps = [1000 + 50 * number for number in range(QUEUE)]
    for seed, index in enumerate((COLOR, DEPTH, INFO)):
        for time in random.Random(seed).sample(stamps, len(stamps)):
            inputs.send(time, index)
    assert sorted(inputs.times) == [(t, t, t) for t in stamps]


def test_the_oldest_that_wait_are_forgotten(classes: Classes) -> None:
    inputs = Inputs(classes, queue=2)
    for time in (1000, 1033, 1066):
        inputs.send(time, COLOR)
    for time in (1000, 1033):
        inputs.send(time, DEPTH, INFO)
    assert inputs.times == [(1033, 1033, 1033)]


def test_after_a_jump_back_messages_match_at_once(inputs: Inputs) -> None:
    for time in range(60_000, 61_000, 33):
        inputs.send(time, COLOR, INFO)
    for time in range(61_100, 62_000, 33):
        inputs.send(time, DEPTH)
    inputs.play([100, 133])
    assert inputs.times == [(100, 100, 100), (133, 133, 133)]


def test_inputs_that_jump_back_one_after_the_other_lose_nothing(inputs: Inputs) -> None:
    inputs.play([60_000])
    inputs.send(60_033, COLOR, DEPTH)
    inputs.send(100, COLOR)
    inputs.send(60_033, INFO)
    inputs.send(100, DEPTH)
    inputs.send(133, COLOR)
    inputs.send(60_066, INFO)
    inputs.send(133, DEPTH)
    inputs.send(100, INFO)
    inputs.send(133, INFO)
    assert inputs.times == [(60_000,) * 3, (100,) * 3, (133,) * 3]


def test_messages_before_a_jump_back_match_nothing_after_it(inputs: Inputs) -> None:
    inputs.send(5000, DEPTH, INFO)
    inputs.send(9000, COLOR)
    inputs.send(5000, COLOR)
    assert inputs.sets == []


def test_every_loop_of_a_bag_matches(inputs: Inputs) -> None:
    for _ in range(5):
        inputs.play(range(1000, 4000, 100))
    assert len(inputs.sets) == 5 * 30


def test_one_stamp_from_the_far_future_does_not_end_the_matching(inputs: Inputs) -> None:
    inputs.send(10**9, COLOR)
    inputs.play(range(1000, 4000, 100))
    assert len(inputs.sets) == 30


@pytest.mark.parametrize('time', [0, 1000 * (2**31 - 1)])
def test_images_that_all_have_the_least_or_the_greatest_stamp_match(
    inputs: Inputs, time: int
) -> None:
    inputs.play([time] * 3)
    assert inputs.times == [(time,) * 3] * 3


def test_out_of_10000_messages_no_more_than_the_queues_wait(inputs: Inputs) -> None:
    chance = random.Random(0)
    most = [0, 0, 0]
    for number in range(10_000):
        inputs.send(1000 + 10 * number + chance.uniform(-100, 100), chance.randrange(3))
        most = [max(pair) for pair in zip(most, inputs.waiting, strict=True)]
    assert most == [QUEUE, QUEUE, QUEUE]
    assert len(inputs.sets) > 100


def test_a_message_is_used_at_most_once(inputs: Inputs) -> None:
    chance = random.Random(1)
    for number in range(3000):
        inputs.send(1000 + 5 * number + chance.uniform(-30, 30), chance.randrange(3))
    used = [message.number for messages in inputs.sets for message in messages]
    assert len(used) > 300
    assert len(set(used)) == len(used)


def test_arguments_of_the_callback_follow_the_messages(inputs: Inputs) -> None:
    got: list[tuple[Any, ...]] = []
    inputs.synchronizer.registerCallback(lambda *arguments: got.append(arguments), 'a', 'b')
    inputs.play([1000])
    assert [arguments[3:] for arguments in got] == [('a', 'b')]


def test_an_error_in_a_callback_reaches_the_caller_and_matching_continues(inputs: Inputs) -> None:
    def fail(*_: Message) -> None:
        raise ValueError('refused')

    connection = inputs.synchronizer.registerCallback(fail)
    with pytest.raises(ValueError, match='refused'):
        inputs.play([1000])
    del inputs.synchronizer.callbacks[connection]
    inputs.play([1033])
    assert inputs.times == [(1000,) * 3, (1033,) * 3]


def test_a_callback_may_signal_a_message(inputs: Inputs) -> None:
    inputs.synchronizer.registerCallback(
        lambda *_: inputs.count < 12 and inputs.play([1000 + 33 * inputs.count])
    )
    inputs.play([1000])
    assert len(inputs.sets) == 4


def test_inputs_may_signal_in_threads_of_their_own(classes: Classes) -> None:
    inputs = Inputs(classes, queue=500)

    def signal(index: int) -> None:
        for number in range(500):
            inputs.send(1000 + 100 * number, index)

    threads = [threading.Thread(target=signal, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(inputs.times) == [(1000 + 100 * n,) * 3 for n in range(500)]


@pytest.mark.parametrize('seed', range(20))
def test_both_match_the_same_messages(classes: Classes, seed: int) -> None:
    chance = random.Random(seed)
    both = [Inputs(each, slop=40) for each in (FALLBACK, classes)]
    for number in range(500):
        time, index = 1000 + 7 * number + chance.uniform(-60, 60), chance.randrange(3)
        for inputs in both:
            inputs.send(time, index)
    assert both[0].times == both[1].times != []
