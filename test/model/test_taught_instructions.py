"""Instructions about taught nouns, read by the embedded model with untrained heads."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from instructseg_ros.model.composition import AllOf, InOrder, Nearest, Operation, Without
from instructseg_ros.model.model_files import find_model, write_manifest
from instructseg_ros.model.noun_finder import NounNetwork
from instructseg_ros.model.relations import Related
from instructseg_ros.model.segmenter import Segmenter
from instructseg_ros.model.taught_network import TaughtNetwork, TaughtNoun


@pytest.fixture(scope='module')
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Segmenter:
    folder = tmp_path_factory.mktemp('taught') / 'model'
    shutil.copytree(find_model('embedded'), folder)
    torch.manual_seed(0)
    nouns = [TaughtNoun(name='star'), TaughtNoun(name='paper clip')]
    TaughtNetwork(nouns, NounNetwork.load(folder)).save(folder)
    write_manifest(folder)
    return Segmenter.from_pretrained(str(folder))


@pytest.mark.parametrize(
    ('text', 'fields'),
    [
        ('the star', {}),
        ('where are the paper clips?', {'taught': 'paper clip'}),
        ('please bring me the red star', {'color': 'red'}),
        ('the leftmost star', {'side': 'left'}),
        ('the nearest star', {'side': 'bottom'}),
        ('the biggest of the stars', {'size': 'largest'}),
    ],
)
def test_a_taught_noun_asks_for_every_object_and_chooses_among_them(
    segmenter: Segmenter, text: str, fields: dict[str, str]
) -> None:
    query = segmenter.query(text)
    assert (query.prompt_text, query.parts) == ('every object', ())
    assert query.noun is not None
    wanted = {'taught': 'star', 'color': '', 'side': '', 'size': '', **fields}
    assert {name: getattr(query.noun, name) for name in wanted} == wanted
    assert query.known
    assert query.unknown == ()


@pytest.mark.parametrize(
    ('text', 'parts', 'operation'),
    [
        ('the star in the bowl', ('every star', 'the bowl'), Related('in')),
        ('all the stars on the plate', ('all the stars', 'the plate'), Related('on', True)),
        ('the mug to the left of the star', ('every mug', 'the star'), Related('left')),
        ('the paper clip behind the can', ('every paper clip', 'the can'), Related('behind')),
        ('the star and the red mug', ('the star', 'the red mug'), AllOf()),
        ('the second star from the left', ('every star', None), InOrder('left', 2, 2)),
        ('the mug next to the star', ('every mug', 'the star'), Nearest()),
        ('the star that is not red', (None, 'every star', 'every red star'), Without()),
    ],
)
def test_an_instruction_with_several_objects_is_split(
    segmenter: Segmenter, text: str, parts: tuple[str | None, ...], operation: Operation
) -> None:
    query = segmenter.query(text)
    assert query.operation == operation
    for part, wanted in zip(query.parts, parts, strict=True):
        assert part.verbatim if wanted is None else part.text == wanted


def test_other_instructions_give_the_same_results_as_before_the_teaching(
    segmenter: Segmenter,
) -> None:
    image = np.array(Image.new('RGB', (320, 240), (120, 110, 100)))
    image[80:160, 100:180] = (200, 30, 30)
    before = Segmenter.from_pretrained()
    for text in ('the red box', 'the mug to the left of the plate', 'the thing that is moving'):
        one, other = before.segment(image, text), segmenter.segment(image, text)
        assert one.score == other.score
        assert np.array_equal(one.probability, other.probability)


def test_the_answer_to_a_taught_noun_is_explained_like_any_other(segmenter: Segmenter) -> None:
    image = np.full((240, 320, 3), 128, np.uint8)
    prediction = segmenter.segment(image, 'the purple star')
    assert prediction.mask.shape == (240, 320)
    assert prediction.found or 'nothing in the image matches' in prediction.reason
