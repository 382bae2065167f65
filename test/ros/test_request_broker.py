from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from color_stream import ColorModel
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from ros_probe import TIMEOUT, wait_until

from instructseg_ros.msg import Command
from instructseg_ros.ros.requests import RequestBroker
from instructseg_ros.streaming.engine import Engine
from instructseg_ros.streaming.instruction import Instruction, InstructionError, Until
from instructseg_ros.streaming.schedule import EngineSettings
from instructseg_ros.streaming.segmentation import Segmentation, State

pytestmark = pytest.mark.ros


@pytest.fixture
def executor(node: Node) -> Iterator[SingleThreadedExecutor]:
    """An executor with one node, which has the parameter that a broker reads."""
    node.declare_parameter('max_text_length', 512)
    made = SingleThreadedExecutor(context=node.context)
    made.add_node(node)
    yield made
    made.shutdown()


def refuse(result: Segmentation) -> None:
    raise RuntimeError('the client is gone')


def test_a_listener_that_fails_keeps_no_answer_from_the_others(
    executor: SingleThreadedExecutor,
) -> None:
    [node] = executor.get_nodes()
    broker = RequestBroker(node)
    engine = Engine(ColorModel(), on_results=broker.dispatch, settings=EngineSettings())
    broker.open(engine, [''])
    tasks = [
        executor.create_task(
            broker.submit(
                Command(instruction=f'find {color}', id=color), until=Until.FOUND, on_result=refuse
            )
        )
        for color in ('red', 'green')
    ]
    wait_until(
        lambda: len(engine.active()) == len(tasks),
        idle=lambda: executor.spin_once(timeout_sec=0.05),
    )
    red, green = engine.active()
    missing = Segmentation(instruction=red, state=State.NOT_FOUND, reason='not there')
    found = Segmentation(
        instruction=green, state=State.FOUND, mask=np.ones((2, 2), bool), final=True
    )
    broker.dispatch([missing, found])
    executor.spin_until_future_complete(tasks[1], timeout_sec=TIMEOUT)
    assert [task.done() for task in tasks] == [False, True]
    assert tasks[1].result() is found


def test_suspended_instructions_can_be_cancelled_while_there_is_no_engine(node: Node) -> None:
    broker = RequestBroker(node)
    engine = Engine(ColorModel(), on_results=broker.dispatch, settings=EngineSettings())
    for color in ('red', 'green', 'blue'):
        engine.give(Instruction(text=f'find {color}', id=color))
    broker.suspended = engine.suspend('the model changes')
    assert broker.cancel('green') == ['green']
    with pytest.raises(InstructionError, match='the node is not configured'):
        broker.cancel('green')
    assert broker.cancel('') == ['red', 'blue']
    assert broker.take_suspended() == []
