from __future__ import annotations

import pytest

from instructseg_ros.model.composition import AllOf, InOrder, Nearest, OneOf, Without
from instructseg_ros.model.segmenter import Segmenter


@pytest.fixture(scope='module')
def segmenter() -> Segmenter:
    return Segmenter.from_pretrained()


@pytest.mark.parametrize(
    ('text', 'plain'),
    [
        ('which mug stands to the left of the plate?', 'the mug to the left of the plate'),
        ('I want the ball that is behind the red box', 'the ball behind the red box'),
        ('the spoon in the blue bowl, please', 'the spoon in the blue bowl'),
        ('take the ball that is moving to the left', 'the ball that is moving to the left'),
        ('of the two boxes take the bigger one', 'the largest of the boxes'),
        ('the mug farthest to the right', 'the rightmost mug'),
    ],
)
def test_an_instruction_is_put_in_plain_words(segmenter: Segmenter, text: str, plain: str) -> None:
    query = segmenter.query(text)
    assert (query.prompt_text, query.operation) == (plain, None)


@pytest.mark.parametrize(
    ('text', 'parts', 'operation'),
    [
        ('I need the mug and the bottle', ('the mug', 'the bottle'), AllOf()),
        ('give me the mug or the bottle', ('the mug', 'the bottle'), OneOf()),
        ('the second mug from the left', ('every mug', None), InOrder('left', 2, 2)),
        ('the third largest box', ('every box', None), InOrder('large', 3, 3)),
        ('the two apples on the right', ('all the apples', None), InOrder('right', 1, 2)),
        ('the middle one of the three cans', ('all the cans', None), InOrder('left', 2, 2, 3)),
        ('the pen next to the red book', ('every pen', 'the red book'), Nearest()),
        ('the mug that is not red', (None, 'every mug', 'every red mug'), Without()),
    ],
)
def test_an_instruction_is_split(
    segmenter: Segmenter, text: str, parts: tuple[str | None, ...], operation: object
) -> None:
    query = segmenter.query(text)
    found = tuple(None if part.verbatim else part.text for part in query.parts)
    assert (found, query.operation) == (parts, operation)


@pytest.mark.parametrize(
    'text',
    [
        '?',
        'hello there, how are you today?',
        'the mug to the left of the plate, as the red team says',  # the color is in no slot
    ],
)
def test_without_a_clear_meaning_nothing_is_changed(segmenter: Segmenter, text: str) -> None:
    query = segmenter.query(text)
    assert (query.prompt_text or '').rstrip('.') == text
    assert query.operation is None


def test_parts_have_parts_only_once_more(segmenter: Segmenter) -> None:
    query = segmenter.query('the mug next to the bottle and the second box from the left')
    depths = [0]
    level = [query]
    while level := [part for each in level for part in each.parts]:
        depths.append(len(level))
    assert len(depths) <= 3
