from __future__ import annotations

from instructseg_ros.simulation.instructions import vocabulary
from instructseg_ros.simulation.instructions.synonyms import SYNONYMS


def test_training_has_what_synonyms_are_read_as_and_not_the_synonyms() -> None:
    words = set(vocabulary())
    assert words.isdisjoint(SYNONYMS)
    assert all(words.issuperset(known.split()) for known in SYNONYMS.values())


def test_a_synonym_keeps_its_number() -> None:
    assert SYNONYMS['automobile'] == 'car'
    assert SYNONYMS['automobiles'] == 'cars'
