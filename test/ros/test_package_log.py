from __future__ import annotations

import logging

import pytest
from rclpy.logging import LoggingSeverity
from rclpy.node import Node

from instructseg_ros.ros.node_runner import PackageLog

pytestmark = pytest.mark.ros

logger = logging.getLogger('instructseg_ros.streaming.engine')


def test_python_log_records_are_in_the_log_of_the_node_at_their_level(
    node: Node, capfd: pytest.CaptureFixture[str]
) -> None:
    log = PackageLog(node)
    for level in (LoggingSeverity.DEBUG, LoggingSeverity.INFO):
        node.get_logger().set_level(level)
        logger.debug('a detail at %s', level.name)
        logger.info('a notice at %s', level.name)
    logger.warning('a warning')
    for _ in range(2):
        logger.error('an error')
    log.close()
    logger.info('nobody hears this')
    output = ''.join(capfd.readouterr())
    assert [
        output.count(text)
        for text in (
            'a detail at DEBUG',
            'a notice at DEBUG',
            'a detail at INFO',
            'a notice at INFO',
            'a warning',
            'an error',
            'nobody',
        )
    ] == [1, 1, 0, 1, 1, 1, 0]


def test_a_traceback_is_in_the_log_at_debug(node: Node, capfd: pytest.CaptureFixture[str]) -> None:
    log = PackageLog(node)
    node.get_logger().set_level(LoggingSeverity.DEBUG)
    logger.debug('it failed', exc_info=OSError('no space left'))
    node.get_logger().set_level(LoggingSeverity.INFO)  # of all nodes of this name in this process
    log.close()
    assert 'OSError: no space left' in ''.join(capfd.readouterr())


def test_a_record_that_ros_cannot_log_raises_nothing_and_is_reported_on_stderr(
    node: Node, capfd: pytest.CaptureFixture[str]
) -> None:
    log = PackageLog(node)
    logger.error('file \udcff missing')
    logger.warning('what follows is logged')
    log.close()
    output = ''.join(capfd.readouterr())
    assert '--- Logging error ---' in output
    assert 'what follows is logged' in output
