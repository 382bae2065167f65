from __future__ import annotations

from instructseg_ros.ros.node_runner import MAX_KINDS, ThrottledLog


def test_texts_that_differ_only_in_numbers_are_throttled() -> None:
    logged: list[str] = []
    now = [0.0]
    log = ThrottledLog(logged.append, period=5.0, clock=lambda: now[0])
    for second in range(11):
        now[0] = float(second)
        log(f'no image for {second} s')
    assert logged == ['no image for 0 s', 'no image for 5 s', 'no image for 10 s']


def test_a_different_text_is_logged_at_once() -> None:
    logged: list[str] = []
    log = ThrottledLog(logged.append)
    for text in ('one', 'two', 'one'):
        log(text)
    assert logged == ['one', 'two']


def test_ever_new_texts_do_not_fill_the_memory() -> None:
    logged: list[str] = []
    log = ThrottledLog(logged.append)
    for number in range(10 * MAX_KINDS):
        log('x' * number)
    assert len(logged) == 10 * MAX_KINDS
    log('x')
    assert logged[-1] == 'x'


def test_a_text_about_another_topic_is_logged_at_once() -> None:
    logged: list[str] = []
    log = ThrottledLog(logged.append)
    for text in (
        'images on /camera1/image refused: 3 bytes',
        'images on /camera2/image refused: 3',
        'images on /camera1/image refused: 4 bytes',
    ):
        log(text)
    assert [text.split()[2] for text in logged] == ['/camera1/image', '/camera2/image']


def test_texts_that_differ_only_in_addresses_ids_or_names_are_logged_once() -> None:
    logged: list[str] = []
    log = ThrottledLog(logged.append)
    for text in (
        'no image in <BytesIO object at 0x7f3ba>',
        'no image in <BytesIO object at 0x5e>',
        'instruction 3fa9c2d01b is live',
        'instruction bb12c7fa90 is live',
        'camera "left" does not exist',
        'camera "right" does not exist',
    ):
        log(text)
    assert [text.split()[0] for text in logged] == ['no', 'instruction', 'camera']
