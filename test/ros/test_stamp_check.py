from __future__ import annotations

from instructseg_ros.ros.inputs import MAX_EQUAL_STAMPS, StampCheck
from instructseg_ros.ros.node_runner import ThrottledLog


def warnings(stamps: list[int]) -> list[str]:
    logged: list[str] = []
    check = StampCheck('/front/image', logged.append)
    for stamp in stamps:
        check.note(stamp)
    return logged


def test_images_without_a_stamp_are_reported_once() -> None:
    [warning] = warnings([0] * 50)
    assert warning.startswith('images on /front/image have no stamp (all zeros)')


def test_images_that_all_have_one_stamp_are_reported_once() -> None:
    [warning] = warnings([7] * 50)
    assert warning.startswith('images on /front/image all have the same stamp')
    assert warning.endswith('let the camera driver set header.stamp to the time of exposure')


def test_stamps_that_advance_or_repeat_now_and_then_are_right() -> None:
    assert warnings(list(range(1, 100))) == []
    assert warnings([stamp // MAX_EQUAL_STAMPS + 1 for stamp in range(1000)]) == []


def test_two_cameras_whose_names_differ_only_in_numbers_are_both_reported() -> None:
    logged: list[str] = []
    log = ThrottledLog(logged.append)
    for topic in ('/camera1/image', '/camera2/image'):
        StampCheck(topic, log).note(0)
    assert [text.split()[2] for text in logged] == ['/camera1/image', '/camera2/image']
